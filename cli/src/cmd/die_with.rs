//! Ties a process to the one that has started it.

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use windrow_model::{Code, Failure};

/// Makes the kernel send this process a signal when the thread that has started it ends, and checks that its parent is still alive.
///
/// # Errors
/// `INTERRUPTED` if the parent is gone, or has another id.
pub(crate) fn die_with(parent: i32, signal: Signal) -> Result<(), Failure> {
    let set = set_parent_process_death_signal(Some(signal));
    set.map_err(|e| Failure::new(Code::IoError, format!("cannot be tied to process {parent}: {e}")))?;
    match getppid().map(|pid| pid.as_raw_nonzero().get()) {
        Some(pid) if pid == parent => Ok(()),
        _ => Err(Failure::new(Code::Interrupted, format!("process {parent}, which started this one, is gone"))),
    }
}
