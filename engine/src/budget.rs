//! Memory of one process: how much each running task may use, and how much is in use.
//!
//! Tasks are given equal shares, one for each slot, so that none waits for another and a job that fits once fits always. The share is
//! split among a task's buffers by whoever makes them; each buffer keeps to its number by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The memory that tasks of this process may use together.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    slots: usize,
    used: AtomicUsize,
    peak: AtomicUsize,
}

impl Budget {
    /// `limit` bytes for `slots` tasks at a time.
    pub fn new(limit_bytes: usize, slots: usize) -> Arc<Budget> {
        let slots = slots.max(1);
        Arc::new(Budget { limit: limit_bytes, slots, used: AtomicUsize::new(0), peak: AtomicUsize::new(0) })
    }

    /// Bytes that one task may use for its buffers.
    pub fn task_share(&self) -> usize {
        self.limit / self.slots
    }

    /// Accounts for `bytes` until the grant is dropped. Never waits and never refuses: shares are fixed.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Grant {
        let used = self.used.fetch_add(bytes, Relaxed) + bytes;
        self.peak.fetch_max(used, Relaxed);
        Grant { budget: self.clone(), bytes }
    }

    /// Bytes granted now.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Most bytes ever granted at once.
    pub fn peak(&self) -> usize {
        self.peak.load(Relaxed)
    }

    /// Bytes of all shares.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

/// A part of the budget in use.
#[derive(Debug)]
pub struct Grant {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_no_longer_used_but_still_the_peak() {
        let budget = Budget::new(1000, 4);
        assert_eq!(budget.task_share(), 250);
        let a = budget.take(250);
        drop(budget.take(100));
        assert_eq!((budget.used(), budget.peak()), (250, 350));
        drop(a);
        assert_eq!((budget.used(), budget.peak()), (0, 350));
    }
}
