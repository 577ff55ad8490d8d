//! A file that a job reads.

use std::path::PathBuf;
use windrow_model::{Digest, FileIdentity};

/// A file to read, at its position in the input order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// Path of the file.
    pub path: PathBuf,
    /// Identity of the file when it was listed.
    pub identity: FileIdentity,
    /// Index of the named input that it came from.
    pub argument_index: usize,
    /// Whether its bytes are read as stored: the file was cut when it was put, so its first bytes cannot show a
    /// compression.
    pub as_is: bool,
    /// Digest of the content if this is a chunk of a dataset; `path` is then only its name.
    pub content: Option<Digest>,
}
