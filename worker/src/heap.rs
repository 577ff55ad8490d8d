//! Returns freed memory to the system when jobs have ended.
//!
//! The C library keeps what a thread has freed for later allocations of that thread's arena. A worker serves a large shuffle on
//! dozens of threads, and needs next to nothing between jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What a job has used is freed by several tasks, shortly after its end; and jobs may follow each other fast.
const DELAY: Duration = Duration::from_secs(1);

/// At most one trim is due at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heap(Arc<AtomicBool>);

impl Heap {
    /// A job has ended: trims the heap a second later, unless that is due already. Must be called in a runtime.
    pub(crate) fn job_ended(&self) {
        if self.0.swap(true, Ordering::Relaxed) {
            return;
        }
        let due = self.0.clone();
        tokio::spawn(async move {
            tokio::time::sleep(DELAY).await;
            due.store(false, Ordering::Relaxed);
            // A heap of gigabytes takes milliseconds.
            let _ = tokio::task::spawn_blocking(trim).await;
        });
    }
}

fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu", not(miri)))]
    // SAFETY: the call is allowed at any time from any thread, and returns only unused pages.
    unsafe {
        libc::malloc_trim(0);
    }
}
