//! How often a task publishes the number of records that it has read: about ten times a second, or after each record if one takes
//! longer.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The aim between two times.
const AIM: Duration = Duration::from_millis(100);

/// Most records between two times.
const EVERY_MAX: u64 = 1 << 20;

/// The number of records between two times. It follows from how long the last ones took.
pub(crate) struct PublishPace {
    every: Cell<u64>,
    last: Cell<Instant>,
}

impl Default for PublishPace {
    fn default() -> Self {
        PublishPace { every: Cell::new(1), last: Cell::new(Instant::now()) }
    }
}

impl PublishPace {
    /// Records until the next time.
    pub(crate) fn every(&self) -> u64 {
        self.every.get()
    }

    /// The number was published now. Returns the number of records until the next time.
    pub(crate) fn published(&self) -> u64 {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.last.replace(now));
        self.every.set(next(self.every.get(), took));
        self.every.get()
    }
}

/// Doubles while it is too often, and falls at once to what takes as long as the aim.
fn next(every: u64, took: Duration) -> u64 {
    if took < AIM / 2 {
        return (every * 2).min(EVERY_MAX);
    }
    let within_aim = u128::from(every) * AIM.as_nanos() / took.as_nanos().max(1);
    u64::try_from(within_aim).unwrap_or(every).clamp(1, every)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_records_are_published_rarely_and_slow_ones_singly() {
        let after = |record: Duration, from: u64| {
            (0..40).fold(from, |every, _| next(every, record * u32::try_from(every).unwrap_or(u32::MAX)))
        };
        assert_eq!(after(Duration::from_nanos(1), 1), EVERY_MAX);
        let every = after(Duration::from_micros(10), 1);
        assert!((5_000..=20_000).contains(&every), "{every}");
        for from in [1, 1_000, EVERY_MAX] {
            assert_eq!(after(Duration::from_secs(1), from), 1);
        }
    }
}
