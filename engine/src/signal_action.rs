//! Passes a signal that a handler of this crate does not resolve to the action that was set before the handler.

use std::mem::MaybeUninit;
use std::ptr;

/// A handler that is set with `SA_SIGINFO`.
pub(crate) type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);

/// Restores the action `before` (the default action without one). A fault is raised again when the handler returns, because
/// the instruction is repeated; a signal that was sent is raised again here. Async-signal-safe: the system calls `sigaction`
/// and `raise`, which POSIX allows in a handler.
///
/// # Safety
/// Call it only in a handler that was set with `SA_SIGINFO`, with the `signal` and `info` that the handler got. `before` must
/// come from the system, for this signal.
pub(crate) unsafe fn pass_on(signal: i32, info: *mut libc::siginfo_t, before: Option<&libc::sigaction>) {
    // SAFETY: a zeroed `sigaction` is valid and is the default action; `info` and `before` are valid as the caller promises.
    unsafe {
        let default: libc::sigaction = MaybeUninit::zeroed().assume_init();
        libc::sigaction(signal, before.unwrap_or(&default), ptr::null_mut());
        if (*info).si_code <= 0 {
            libc::raise(signal);
        }
    }
}
