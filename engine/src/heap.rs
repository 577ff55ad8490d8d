//! Returns freed heap memory to the system.
//!
//! The C library keeps freed memory for the thread that used it. Other threads and mappings cannot use it: without
//! this, a consumer that spills would return its bytes in the accounts only.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Least number of freed bytes that is worth a call.
const LEAST: usize = 4 << 20;

/// Bytes freed since the last trim.
static FREED: AtomicUsize = AtomicUsize::new(0);
/// Number of freed bytes at which the heap is trimmed.
static ENOUGH: AtomicUsize = AtomicUsize::new(LEAST);

/// Sets how many bytes may be free in the heap without being returned (at least a few megabytes).
pub(crate) fn keep_at_most(bytes: usize) {
    ENOUGH.store(bytes.max(LEAST), Relaxed);
}

/// Records that this many bytes of the heap were freed, in large pieces.
pub(crate) fn freed(bytes: usize) {
    if bytes > 0 && FREED.fetch_add(bytes, Relaxed) + bytes >= ENOUGH.load(Relaxed) {
        FREED.store(0, Relaxed);
        trim();
    }
}

#[cold]
fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu", not(miri)))]
    // SAFETY: the call is allowed at any time from any thread, and returns only unused pages.
    unsafe {
        libc::malloc_trim(0);
    }
}
