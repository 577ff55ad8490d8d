//! Why a file of records is refused.

use crate::error::FormatError;
use windrow_model::Code;

/// A file that is no file of records, or a damaged one.
#[derive(Debug, thiserror::Error)]
pub enum RecordFileError {
    /// The file does not begin like one.
    #[error("this is not a file of records: `records_sink` writes such files")]
    Foreign,
    /// A newer release wrote the file.
    #[error("the file has format version {found}; this binary reads versions up to {reads}")]
    Newer {
        /// The version of the file.
        found: u32,
        /// The newest version that this binary reads.
        reads: u32,
    },
    /// The bytes are not those that were written.
    #[error("the file is damaged at byte {offset}: {what}")]
    Damaged {
        /// Where the damaged part begins, in bytes.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// The file cannot be read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl RecordFileError {
    pub(super) fn damaged(offset: usize, what: impl Into<String>) -> Self {
        RecordFileError::Damaged { offset: offset as u64, what: what.into() }
    }

    /// The error of the block at this offset.
    pub(super) fn of_block(offset: usize, e: &FormatError) -> Self {
        match e {
            FormatError::Checksum { .. } | FormatError::Changed { .. } => {
                Self::damaged(offset, "the checksum of a block does not match")
            }
            other => Self::damaged(offset, other.to_string()),
        }
    }

    /// The stable code of this error.
    pub fn code(&self) -> Code {
        match self {
            RecordFileError::Foreign => Code::InputMalformed,
            RecordFileError::Newer { .. } => Code::VersionMismatch,
            RecordFileError::Damaged { .. } => Code::InputCorrupt,
            RecordFileError::Io(_) => Code::InputUnreadable,
        }
    }
}
