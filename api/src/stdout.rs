//! Standard output, which is for results.
//!
//! A result that cannot be written is a failure ([`put`]); a reader that has gone away (`| head`) is none. Where the result
//! is one JSON document, [`reserve`] keeps standard output for it: what user code prints then goes to stderr, here and in
//! whatever it starts.

use rustix::io::fcntl_dupfd_cloexec;
use std::fs::File;
use std::io::{self, Write};
use std::sync::OnceLock;
use windrow_format::space;
use windrow_model::{Code, Failure};

/// Standard output as it was when [`reserve`] was called.
static RESERVED: OnceLock<File> = OnceLock::new();

/// The lowest file descriptor for the copy: those below have meanings between processes.
const COPY_MIN: i32 = 10;

/// Writes bytes to standard output, at once. False: its reader has gone away, so nothing more is of use.
///
/// # Errors
/// `NO_SPACE` or `IO_ERROR`; a part may have been written.
pub fn put(bytes: &[u8]) -> Result<bool, Failure> {
    told(match RESERVED.get() {
        Some(mut file) => file.write_all(bytes),
        None => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes).and_then(|()| stdout.flush())
        }
    })
}

/// [`put`] of a text and the end of its line.
pub fn put_line(text: &str) -> Result<bool, Failure> {
    put(format!("{text}\n").as_bytes())
}

/// Writes what has been printed and lies in a buffer.
///
/// # Errors
/// As [`put`].
pub fn flush() -> Result<bool, Failure> {
    told(io::stdout().lock().flush())
}

fn told(written: io::Result<()>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => {
            let code = if space::is_full(&e) { Code::NoSpace } else { Code::IoError };
            Err(Failure::new(code, format!("cannot write to standard output: {e}")))
        }
    }
}

/// Keeps standard output for [`put`]: everything else that is printed goes to stderr from now on. May be repeated.
///
/// # Errors
/// `IO_ERROR`: the process has no file descriptor left.
pub(crate) fn reserve() -> Result<(), Failure> {
    let failed = |e| Failure::new(Code::IoError, format!("cannot keep standard output for the result: {e}"));
    if RESERVED.get().is_none() {
        redirect().map_err(failed)?;
    }
    Ok(())
}

fn redirect() -> io::Result<()> {
    io::stdout().lock().flush()?;
    let copy = File::from(fcntl_dupfd_cloexec(io::stdout(), COPY_MIN)?);
    // SAFETY: no memory is involved. Descriptors 1 and 2 are open in every Rust program, belong to no value that closes
    // them, and what holds the first by `io::stdout` wants to print to wherever it leads.
    if unsafe { libc::dup2(2, 1) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // A second caller at the same time closes its copy, and standard output leads to stderr already.
    let _ = RESERVED.set(copy);
    Ok(())
}
