//! The lease of a worker's session: how long the worker may assume that the coordinator has not reassigned its tasks.
//!
//! The coordinator reassigns the tasks of a worker when it has not heard from it for `lease_ms`. A worker that was cut off or paused
//! for as long comes to the same conclusion by its own clock: the session is over, and the next one says which attempts are still
//! needed. Contact counts from the time at which a beat was *sent* that was answered later, so the worker's lease never ends after
//! the coordinator's. Times are monotonic.

use crate::planted::{self, Planted};
use std::sync::atomic::{AtomicU64, Ordering};
use windrow_model::Time;

/// The lease of one session.
#[derive(Debug)]
pub struct Lease {
    lease_ms: u64,
    contact_ms: AtomicU64,
}

impl Lease {
    /// A lease that begins now.
    pub fn new(lease_ms: u64, now: Time) -> Self {
        Lease { lease_ms: lease_ms.max(1), contact_ms: AtomicU64::new(now.0) }
    }

    /// The coordinator has answered a message that was sent at this time.
    pub fn contact(&self, sent: Time) {
        self.contact_ms.fetch_max(sent.0, Ordering::Relaxed);
    }

    /// Whether the coordinator may have given this worker up.
    pub fn has_run_out(&self, now: Time) -> bool {
        self.left_ms(now) == 0 && !planted::has(Planted::LeaseForgotten)
    }

    /// Milliseconds until it expires without further contact.
    pub fn left_ms(&self, now: Time) -> u64 {
        self.lease_ms.saturating_sub(now.since_ms(Time(self.contact_ms.load(Ordering::Relaxed))))
    }

    /// Milliseconds between two beats.
    pub fn beat_every_ms(&self) -> u64 {
        (self.lease_ms / 3).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_expires_and_old_answers_do_not_extend_it() {
        let lease = Lease::new(300, Time(1000));
        assert!(!lease.has_run_out(Time(1299)));
        assert!(lease.has_run_out(Time(1300)));
        lease.contact(Time(1200));
        assert!(!lease.has_run_out(Time(1499)));
        lease.contact(Time(1100));
        assert!(!lease.has_run_out(Time(1499)));
        assert!(lease.has_run_out(Time(1500)));
        assert_eq!(lease.beat_every_ms(), 100);
    }
}
