//! Errors about inputs and outputs: a stable code, and a message that names the path.

use rustix::io::Errno;
use std::io;
use std::path::Path;
use windrow_format::manifest::ManifestError;
use windrow_format::space;
use windrow_model::{Code, Escape, Failure};

/// A failure of this crate; converts into a [`Failure`] with the same code and message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct StoreError {
    /// The stable code.
    pub code: Code,
    /// The message, which names the path.
    pub message: String,
    /// The file system is not there, or its server does not answer: the same operation may succeed later.
    pub away: bool,
}

/// Result of a call of this crate.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

impl StoreError {
    /// Creates an error.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        StoreError { code, message: message.into(), away: false }
    }

    /// The error of an operation on an output's path; a full disk has its own code.
    pub(crate) fn output(path: &Path, what: &str, source: &io::Error) -> Self {
        let code = if space::is_full(source) { Code::NoSpace } else { Code::OutputFailed };
        let message = format!("{}: {what}: {}", path.escaped(), space::with_free_space(source, path));
        StoreError { away: is_away(source), ..StoreError::new(code, message) }
    }
}

/// Whether this is the error of a mount whose server or device is gone. `EIO` is not among them: a write that failed with it may
/// be lost although the next one succeeds.
fn is_away(e: &io::Error) -> bool {
    let Some(errno) = Errno::from_io_error(e) else { return false };
    [
        Errno::TIMEDOUT,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::NOTCONN,
        Errno::CONNREFUSED,
        Errno::CONNRESET,
        Errno::CONNABORTED,
        Errno::SHUTDOWN,
        Errno::STALE,
        Errno::NODEV,
        Errno::NXIO,
    ]
    .contains(&errno)
}

impl From<StoreError> for Failure {
    fn from(e: StoreError) -> Failure {
        Failure::new(e.code, e.message)
    }
}

impl From<ManifestError> for StoreError {
    fn from(e: ManifestError) -> StoreError {
        StoreError::new(e.code(), e.to_string())
    }
}
