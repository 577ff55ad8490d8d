//! Errors of the engine: what happened to which file, with a stable code.

use std::io;
use std::path::{Path, PathBuf};
use windrow_format::block::{FormatError, io_code};
use windrow_format::space;
use windrow_model::{ByteSize, Code, Escape, Failure};

/// Result of an engine call.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// An error of the engine. Failures of user code travel through it unchanged.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A system call failed on this path.
    #[error("cannot {what} {}: {source}", path.escaped())]
    Io {
        /// The operation, as a verb.
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A file that this attempt writes or has written is damaged or cannot be written.
    #[error("{}: {source}", path.escaped())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// An input segment is damaged.
    #[error("segment {index} in {}: {source}", path.escaped())]
    Segment {
        /// Position of the segment in the list that was opened.
        index: usize,
        /// Path of its file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// A record exceeds the limits.
    #[error("{0}")]
    Record(FormatError),
    /// Stored bytes do not decode as the type that the job declares.
    #[error("a stored value does not decode: {0}")]
    Decode(String),
    /// A failure from above the engine, such as one of user code.
    #[error("{0}")]
    Failed(Failure),
}

impl EngineError {
    /// Converts the error of a system call in `map_err`.
    pub fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EngineError {
        move |source| EngineError::Io { what, path: path.to_path_buf(), source }
    }

    /// Converts the error of a file of this attempt in `map_err`.
    pub fn file(path: &Path) -> impl FnOnce(FormatError) -> EngineError {
        move |source| match source {
            FormatError::RecordTooLarge { .. } => EngineError::Record(source),
            source => EngineError::File { path: path.to_path_buf(), source },
        }
    }

    /// The path whose disk is full or whose file has reached the limit on sizes, if that is the cause.
    fn full_disk(&self) -> Option<&Path> {
        match self {
            EngineError::Io { source, path, .. } | EngineError::File { source: FormatError::Io(source), path } => {
                (space::is_full(source) || space::is_file_limit(source)).then_some(path)
            }
            _ => None,
        }
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            EngineError::Io { source, .. } => io_code(source),
            EngineError::File { source, .. } | EngineError::Segment { source, .. } | EngineError::Record(source) => {
                source.code()
            }
            EngineError::Decode(_) => Code::Internal,
            EngineError::Failed(f) => f.code,
        }
    }
}

impl From<EngineError> for Failure {
    fn from(e: EngineError) -> Failure {
        match e {
            EngineError::Failed(f) => f,
            e => {
                let free = e.full_disk().and_then(space::free_bytes);
                let free = free.map(|bytes| format!("; {} free", ByteSize(bytes))).unwrap_or_default();
                Failure::new(e.code(), format!("{e}{free}"))
            }
        }
    }
}

impl From<Failure> for EngineError {
    fn from(f: Failure) -> EngineError {
        EngineError::Failed(f)
    }
}
