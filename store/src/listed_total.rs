//! The memory that the lists of inputs of several jobs take together while the jobs are planned.
//!
//! One job is bounded by its own [`Steps`](crate::Steps). Jobs that are planned at the same time share one process, so
//! their lists share a bound as well.

use std::sync::atomic::{AtomicU64, Ordering};

/// Most bytes of memory of all lists: two lists of the largest size, or many ordinary ones.
const BYTES_MAX: u64 = 4 << 30;

/// Bytes of all lists of inputs that share it.
#[derive(Debug)]
pub struct ListedTotal {
    bytes: AtomicU64,
    bytes_max: u64,
}

impl Default for ListedTotal {
    fn default() -> Self {
        ListedTotal::limited(BYTES_MAX)
    }
}

impl ListedTotal {
    /// Creates a total with this limit.
    pub fn limited(bytes_max: u64) -> Self {
        ListedTotal { bytes: AtomicU64::new(0), bytes_max }
    }

    /// Bytes at present.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The limit.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Adds to the total. Returns whether it is within the limit; the bytes count in either case.
    pub(crate) fn add(&self, bytes: u64) -> bool {
        self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.bytes_max
    }

    pub(crate) fn subtract(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
