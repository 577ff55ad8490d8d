//! Why a worker does not start or must end, and how disk errors become failures.

use crate::damaged_note::remedy;
use std::io;
use std::path::{Path, PathBuf};
use windrow_format::in_place::Displaced;
use windrow_format::space::{is_full, with_free_and_needed_space, with_free_space};
use windrow_model::{ClusterId, Code, Escape, Failure};

/// Why a worker does not start, or ended without a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two workers on one folder would delete each other's files.
    #[error("{} is in use by process {pid}", folder.escaped())]
    DataDirInUse {
        folder: PathBuf,
        /// As the holder wrote it down; empty before that.
        pid: String,
    },
    #[error("cannot use the data folder {}: {}{}", path.escaped(), with_free_space(source, path), remedy(path, source))]
    DataDir { path: PathBuf, source: io::Error },
    /// The data folder left its path: the next start would not find later writes, and another worker may use the path.
    #[error("{0}: the cluster loses its content unless it is put back")]
    Displaced(Displaced),
    /// The disk with the chunks does not belong to this data folder.
    #[error("{} holds chunks of {chunks}, the data folder belongs to {cluster}: is the right disk mounted?", folder.escaped())]
    OtherClustersChunks { folder: PathBuf, chunks: ClusterId, cluster: ClusterId },
    /// The coordinator refuses this worker permanently: a wrong token, another protocol version.
    #[error("the coordinator at {url} refuses this worker: {failure}")]
    Refused { url: String, failure: Box<Failure> },
    /// The worker cannot make the connection: its own files or flags are wrong, or it does not trust the server.
    #[error("cannot connect to the coordinator at {url}: {failure}")]
    Unconnected { url: String, failure: Box<Failure> },
    /// The port for peers does not work.
    #[error("cannot serve other workers: {0}")]
    Serve(Box<Failure>),
    /// A limit on processes was requested, and this process may not set one.
    #[error("cannot keep to --max-processes: {0}")]
    NoGroups(String),
    /// The system refused a basic resource.
    #[error("cannot start: {0}")]
    System(io::Error),
}

impl Error {
    /// The stable code of this error.
    pub fn code(&self) -> Code {
        match self {
            Error::DataDirInUse { .. } => Code::DataDirInUse,
            Error::DataDir { source, .. } if is_full(source) => Code::NoSpace,
            Error::DataDir { .. } | Error::Displaced(_) | Error::System(_) => Code::IoError,
            Error::OtherClustersChunks { .. } => Code::ClusterMismatch,
            Error::NoGroups(_) => Code::BadRequest,
            Error::Refused { failure, .. } | Error::Unconnected { failure, .. } | Error::Serve(failure) => failure.code,
        }
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        match e {
            Error::Refused { ref failure, .. } | Error::Unconnected { ref failure, .. } | Error::Serve(ref failure) => {
                Failure { message: e.to_string(), ..(**failure).clone() }
            }
            _ => Failure::new(e.code(), e.to_string()),
        }
    }
}

/// The failure for an error of the disk at `path`. A full disk is `NO_SPACE`, with the needed and the free bytes.
pub(crate) fn disk_failure(what: &str, path: &Path, need_bytes: u64, e: &io::Error) -> Failure {
    let code = if is_full(e) { Code::NoSpace } else { Code::IoError };
    Failure::new(code, format!("cannot {what} {}: {}", path.escaped(), with_free_and_needed_space(e, path, need_bytes)))
}
