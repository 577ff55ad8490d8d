//! Standard output, which is for results.
//!
//! A result that cannot be written is a failure ([`put`]); a reader that has gone away (`| head`) is not. If the result
//! is one JSON document, a job binary keeps standard output for it: output of user code then goes to stderr, in this
//! process and its children.

use rustix::io::fcntl_dupfd_cloexec;
use std::fs::File;
use std::io::{self, Write};
use std::sync::OnceLock;
use windrow_format::space;
use windrow_model::{Code, Failure};

/// The original standard output, once [`reserve`] was called.
static RESERVED: OnceLock<File> = OnceLock::new();

/// Least file descriptor of the copy: lower numbers have meanings between processes.
const COPY_MIN: i32 = 10;

/// Writes bytes to standard output and flushes. Returns false if the reader has gone away, so that further output is
/// useless.
///
/// # Errors
/// `NO_SPACE` or `IO_ERROR`; a part may have been written.
pub fn put(bytes: &[u8]) -> Result<bool, Failure> {
    check_written(match RESERVED.get() {
        Some(mut file) => file.write_all(bytes),
        None => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes).and_then(|()| stdout.flush())
        }
    })
}

/// Writes a line to standard output as [`put`] does.
///
/// # Errors
/// As [`put`].
pub fn put_line(text: &str) -> Result<bool, Failure> {
    put(format!("{text}\n").as_bytes())
}

/// Flushes buffered output.
///
/// # Errors
/// As [`put`].
pub fn flush() -> Result<bool, Failure> {
    check_written(io::stdout().lock().flush())
}

fn check_written(written: io::Result<()>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => {
            let code = if space::is_full(&e) { Code::NoSpace } else { Code::IoError };
            Err(Failure::new(code, format!("cannot write to standard output: {e}")))
        }
    }
}

/// Reserves standard output for [`put`]: from now on all other output goes to stderr. May be repeated.
///
/// # Errors
/// `IO_ERROR` if the process has no file descriptor left.
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
    // SAFETY: no memory is involved. Descriptors 1 and 2 are open in every Rust program and owned by no value that
    // closes them, and users of `io::stdout` print to wherever descriptor 1 leads.
    if unsafe { libc::dup2(2, 1) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // A concurrent second caller closes its copy, and standard output leads to stderr already.
    let _ = RESERVED.set(copy);
    Ok(())
}
