//! Turns the limit on file sizes (`ulimit -f`) into an error of the write that exceeds it.
//!
//! By default the kernel sends SIGXFSZ, which ends the process without a message. With a handler the write fails with `EFBIG`,
//! and the failure names the file. `exec` resets handlers, so commands that a job starts keep the default behaviour.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// Installs the handler for the whole process.
///
/// # Errors
/// Those of `sigaction`.
pub fn survive() -> io::Result<()> {
    let handler: extern "C" fn(i32) = ignore;
    // SAFETY: all fields are set or zero, which is valid; the handler does nothing, which is async-signal-safe, and has the
    // signature of a handler without SA_SIGINFO.
    let set = unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGXFSZ, &action, ptr::null_mut())
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

extern "C" fn ignore(_: i32) {}
