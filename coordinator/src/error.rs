//! Why a coordinator does not start, or stops.

use std::io;
use std::path::{Path, PathBuf};
use windrow_format::in_place::Displaced;
use windrow_model::{Code, Escape, Failure};

/// A coordinator that cannot continue. An error of one job or one call is a `Failure`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process holds the data folder's lock.
    #[error("{}: in use by another coordinator (process {pid})", .path.escaped())]
    DataDirInUse {
        /// The data folder.
        path: PathBuf,
        /// What the lock file says about its holder.
        pid: String,
    },
    /// Something in the data folder cannot be made, read or written.
    #[error("{}: cannot {what}: {source}", .path.escaped())]
    DataDir {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The journal is there but does not read.
    #[error("{}: the journal cannot be used: {what}", .path.escaped())]
    Journal {
        /// The journal's file.
        path: PathBuf,
        /// Whether its content is wrong, or only the access to it.
        corrupt: bool,
        /// What is wrong with it.
        what: String,
    },
    /// The journal or its data folder left its path: the next start would not find later writes.
    #[error("{0}; nothing is acknowledged since then: put it back or restore a backup, then start again")]
    Displaced(Displaced),
    /// The server could not start, or broke.
    #[error("{0}")]
    Serve(Failure),
    /// The task that owns all state ended by itself: a bug.
    #[error("the coordinator's driver stopped: {0}")]
    Driver(String),
}

impl Error {
    pub(crate) fn data_dir(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::DataDir { path, what, source }
    }

    /// The stable code of this error.
    pub fn code(&self) -> Code {
        match self {
            Error::DataDirInUse { .. } => Code::DataDirInUse,
            Error::DataDir { source, .. } if windrow_format::space::is_full(source) => Code::NoSpace,
            Error::DataDir { .. } | Error::Displaced(_) => Code::IoError,
            Error::Journal { corrupt: true, .. } => Code::JournalCorrupt,
            Error::Journal { corrupt: false, .. } => Code::IoError,
            Error::Serve(failure) => failure.code,
            Error::Driver(_) => Code::Internal,
        }
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        match e {
            Error::Serve(failure) => failure,
            other => Failure::new(other.code(), other.to_string()),
        }
    }
}
