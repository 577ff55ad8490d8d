//! Errors about inputs and outputs: a stable code, and a message that names the path.

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
}

/// Result of a call of this crate.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

impl StoreError {
    /// Creates an error.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        StoreError { code, message: message.into() }
    }

    /// The error of an operation on an output's path; a full disk has its own code.
    pub(crate) fn output(path: &Path, what: &str, source: &io::Error) -> Self {
        let code = if space::is_full(source) { Code::NoSpace } else { Code::OutputFailed };
        StoreError::new(code, format!("{}: {what}: {}", path.escaped(), space::with_free_space(source, path)))
    }
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
