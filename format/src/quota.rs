//! The disk quota of an attempt for its own files, and its use.
//!
//! Sorted runs are unlinked while they are used, so no other process could add them up: the writer counts its bytes
//! here. An attempt runs on a thread; its quota belongs to that thread while it runs, and to helper threads that write
//! a piece for it.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static CURRENT: RefCell<Option<Arc<Quota>>> = const { RefCell::new(None) };
}

/// The quota of one attempt.
#[derive(Debug)]
pub struct Quota {
    limit: u64,
    used: AtomicU64,
}

impl Quota {
    /// Creates a quota of `limit` bytes, of which none are used.
    pub fn new(limit: u64) -> Arc<Quota> {
        Arc::new(Quota { limit, used: AtomicU64::new(0) })
    }

    /// Counts the writes of this thread until the guard is dropped.
    pub fn enter(self: Arc<Self>) -> Entered {
        enter(Some(self))
    }
}

/// The quota of this thread, for a helper thread that writes on its behalf.
pub fn current() -> Option<Arc<Quota>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Counts the writes of this helper thread until the guard is dropped.
pub fn enter(quota: Option<Arc<Quota>>) -> Entered {
    Entered { before: CURRENT.replace(quota) }
}

/// Restores the thread's previous quota when it is dropped.
#[must_use]
pub struct Entered {
    before: Option<Arc<Quota>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}

/// Bytes of one file, counted until this is dropped.
#[derive(Debug)]
pub struct Charged {
    quota: Option<Arc<Quota>>,
    bytes: u64,
}

impl Charged {
    /// Creates a charge of no bytes against the quota of this thread.
    pub fn new() -> Charged {
        Charged { quota: current(), bytes: 0 }
    }

    /// Counts bytes that are about to be written.
    ///
    /// # Errors
    /// [`QuotaExceeded`], wrapped in an IO error. The bytes are counted nevertheless.
    pub fn add(&mut self, bytes: u64) -> io::Result<()> {
        let Some(quota) = &self.quota else { return Ok(()) };
        let used = quota.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes += bytes;
        match used <= quota.limit {
            true => Ok(()),
            false => Err(io::Error::other(QuotaExceeded { used, limit: quota.limit })),
        }
    }

    /// Counts a file up to this size in bytes.
    pub fn grow_to(&mut self, bytes: u64) -> io::Result<()> {
        self.add(bytes.saturating_sub(self.bytes))
    }

    /// Returns the bytes after the file has been emptied.
    pub fn clear(&mut self) {
        if let Some(quota) = &self.quota {
            quota.used.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
        }
    }

    /// Keeps the bytes counted until the attempt ends, for a file that stays.
    pub fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Default for Charged {
    fn default() -> Self {
        Charged::new()
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.clear();
    }
}

/// An attempt needs more disk than its quota.
#[derive(Debug)]
pub struct QuotaExceeded {
    /// Bytes, including those that were about to be written.
    pub used: u64,
    /// The quota in bytes.
    pub limit: u64,
}

impl fmt::Display for QuotaExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [used, limit] = [self.used, self.limit].map(windrow_model::ByteSize);
        write!(f, "the attempt's own files would need {used}, and its quota is {limit}")
    }
}
impl std::error::Error for QuotaExceeded {}

/// Returns whether this error is an exceeded quota.
pub fn is_exceeded(e: &io::Error) -> bool {
    e.get_ref().is_some_and(|inner| inner.is::<QuotaExceeded>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_until_dropped_and_kept_ones_for_good() {
        let entered = Quota::new(100).enter();
        let mut first = Charged::new();
        first.add(60).unwrap();
        let mut second = Charged::new();
        let e = second.add(41).unwrap_err();
        assert!(is_exceeded(&e) && e.to_string().contains("101 B") && e.to_string().contains("100 B"), "{e}");
        drop(second);
        first.keep();
        let mut third = Charged::new();
        third.grow_to(30).unwrap();
        third.grow_to(40).unwrap();
        third.clear();
        third.add(40).unwrap();
        assert!(third.add(1).is_err());
        drop(entered);
        Charged::new().add(u64::MAX).unwrap();
    }

    #[test]
    fn nested_quota_counts_separately() {
        let _outer = Quota::new(10).enter();
        {
            let _inner = Quota::new(1000).enter();
            Charged::new().add(500).unwrap();
        }
        assert!(Charged::new().add(11).is_err());
    }
}
