//! Errors of files and blocks of this format, and their stable codes.

use windrow_model::Code;

/// Why stored bytes, or bytes to be stored, are refused.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The checksum or the identity differs.
    #[error("a block at byte {offset} is damaged or belongs to another attempt")]
    Checksum {
        /// Offset of the block in the file, in bytes.
        offset: u64,
    },
    /// The bytes of a block changed after their checksum was verified.
    #[error("a block at byte {offset} has changed while it was read")]
    Changed {
        /// Offset of the block in the file, in bytes.
        offset: u64,
    },
    /// The bytes end within a block, an index or a footer.
    #[error("the file ends too early")]
    Truncated,
    /// The bytes are not a file or block of this format.
    #[error("{0}")]
    Malformed(&'static str),
    /// The file is missing or not readable: the task that made it must run again.
    #[error("the file is no longer available: {0}")]
    Gone(std::io::Error),
    /// The bytes were written by a newer binary.
    #[error("the format version is {found}, this binary reads {reads}")]
    Version {
        /// The version of the bytes.
        found: u8,
        /// The version that this binary reads.
        reads: u8,
    },
    /// A key or value exceeds its limit.
    #[error("a {what} of {length} bytes is too large (at most {limit})")]
    RecordTooLarge {
        /// `key` or `value`.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A read or write failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl FormatError {
    /// Whether a file that could not be opened counts as [`Gone`](Self::Gone): it is missing, or its path leads to nothing that
    /// this process may read as a file.
    pub fn is_gone(e: &std::io::Error) -> bool {
        // The last one is `regular_file`'s, of something else than a file.
        use std::io::ErrorKind::{InvalidInput, NotADirectory, NotFound, PermissionDenied};
        matches!(e.kind(), NotFound | PermissionDenied | NotADirectory | InvalidInput)
    }

    /// The stable code of this error.
    pub fn code(&self) -> Code {
        match self {
            FormatError::RecordTooLarge { .. } => Code::RecordTooLarge,
            FormatError::Io(e) => io_code(e),
            _ => Code::SegmentCorrupt,
        }
    }
}

/// The stable code of an IO error on a node's own files.
pub fn io_code(error: &std::io::Error) -> Code {
    if crate::quota::is_exceeded(error) {
        Code::ScratchQuotaExceeded
    } else if crate::space::is_full(error) {
        Code::NoSpace
    } else {
        Code::IoError
    }
}
