//! Logs refused callers with the reason, at a bounded rate.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Interval between log lines; refusals in between are counted.
const INTERVAL: Duration = Duration::from_secs(5);

/// The refusals of one server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals(Arc<Mutex<Pace>>);

#[derive(Debug, Default)]
struct Pace {
    last: Option<Instant>,
    suppressed: u64,
}

impl Pace {
    /// The number of refusals since the last line, if it is time for one.
    fn next_line(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < INTERVAL) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

impl Refusals {
    /// Logs that a caller from `peer` was refused.
    pub(crate) fn note(&self, peer: IpAddr, why: &dyn std::fmt::Display) {
        let line = self.0.lock().unwrap_or_else(PoisonError::into_inner).next_line(Instant::now());
        match line {
            Some(0) => tracing::warn!(%peer, "refused a caller: {why}"),
            Some(suppressed) => tracing::warn!(%peer, suppressed, "refused a caller: {why}"),
            None => tracing::debug!(%peer, "refused a caller: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flood_of_refusals_is_one_line_with_a_count() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.next_line(start), Some(0));
        for _ in 0..1000 {
            assert_eq!(pace.next_line(start + INTERVAL / 2), None);
        }
        assert_eq!(pace.next_line(start + INTERVAL), Some(1000));
        assert_eq!(pace.next_line(start + 2 * INTERVAL), Some(0));
    }
}
