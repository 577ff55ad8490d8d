//! Heap memory that was freed goes back to the system.
//!
//! The C library keeps what is freed for the thread that had it. Other threads, and mappings, cannot use it: a consumer that has
//! spilled would have given back its bytes in the books alone.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Less than this is not worth the call.
const LEAST: usize = 4 << 20;

/// Bytes that were freed since the last time.
static FREED: AtomicUsize = AtomicUsize::new(0);
/// From so many on they are given back.
static ENOUGH: AtomicUsize = AtomicUsize::new(LEAST);

/// From now on so many bytes may be free and not yet given back (or a few megabytes).
pub fn keep_at_most(bytes: usize) {
    ENOUGH.store(bytes.max(LEAST), Relaxed);
}

/// So many bytes of the heap were freed, in large pieces.
pub fn freed(bytes: usize) {
    if bytes > 0 && FREED.fetch_add(bytes, Relaxed) + bytes >= ENOUGH.load(Relaxed) {
        FREED.store(0, Relaxed);
        trim();
    }
}

#[cold]
fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu", not(miri)))]
    // SAFETY: it may be called at any time from any thread, and gives back pages that hold nothing.
    unsafe {
        libc::malloc_trim(0);
    }
}
