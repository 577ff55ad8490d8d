//! Ctrl-C and SIGTERM as calls of a function, so that a run cleans up after itself.
//!
//! The process has one handler and one thread for both signals. The handler writes a byte into a pipe, which is all that a
//! handler may do safely; the thread reads it and calls the function of the run that is under way. Runs of a driver follow
//! each other, so at most one is. Without a run the process ends with exit code 130.

use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use windrow_model::EXIT_INTERRUPTED;

const WATCHED: [i32; 2] = [libc::SIGINT, libc::SIGTERM];

/// The writing end of the pipe, once the handler is installed.
static WRITER: AtomicI32 = AtomicI32::new(-1);
static STATE: Mutex<State> = Mutex::new(State { installed: false, current: None });

struct State {
    installed: bool,
    /// What the run that is under way does at a signal.
    current: Option<Box<dyn Fn() + Send>>,
}

/// A run that is called at every signal, for as long as this lives.
#[must_use]
pub(super) struct Watched(());

impl Drop for Watched {
    fn drop(&mut self) {
        state().current = None;
    }
}

/// Calls `interrupt` at each signal, on another thread.
///
/// # Errors
/// The system gives no pipe or no thread.
pub(super) fn watch(interrupt: impl Fn() + Send + 'static) -> io::Result<Watched> {
    let mut state = state();
    if !state.installed {
        install()?;
        state.installed = true;
    }
    state.current = Some(Box::new(interrupt));
    Ok(Watched(()))
}

fn state() -> MutexGuard<'static, State> {
    // Only whole values are put there.
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn install() -> io::Result<()> {
    let flags = rustix::pipe::PipeFlags::CLOEXEC;
    let (reader, writer) = rustix::pipe::pipe_with(flags)?;
    // A handler that waits for room would hold up its thread; a full pipe says enough already.
    rustix::io::ioctl_fionbio(&writer, true)?;
    let serve = move || serve(reader);
    std::thread::Builder::new().name("signals".to_string()).spawn(serve)?;
    // Kept to the end of the process, as the handler is.
    WRITER.store(writer.into_raw_fd(), Ordering::SeqCst);
    let handler: extern "C" fn(i32) = notify;
    for signal in WATCHED {
        // SAFETY: the structure is plain data, of which zeros are valid, and the handler only calls what signal(7) allows.
        unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = handler as libc::sighandler_t;
            action.sa_flags = libc::SA_RESTART;
            if libc::sigaction(signal, &action, ptr::null_mut()) == -1 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

extern "C" fn notify(_: i32) {
    // SAFETY: the location of this thread's `errno`, which a handler must leave as it was; `write` to a descriptor that stays
    // open, of one byte that lives as long as the call.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let _ = libc::write(WRITER.load(Ordering::SeqCst), [1u8].as_ptr().cast(), 1);
        *errno = before;
    }
}

fn serve(reader: OwnedFd) {
    let mut reader = File::from(reader);
    let mut byte = [0];
    // The writing end is never closed.
    while reader.read_exact(&mut byte).is_ok() {
        match &state().current {
            Some(interrupt) => interrupt(),
            None => std::process::exit(EXIT_INTERRUPTED.into()),
        }
    }
}
