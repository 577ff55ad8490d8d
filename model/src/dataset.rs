//! Datasets: named lists of chunks that are stored in the cluster.

use crate::code::Code;
use crate::failure::Failure;
use crate::framing::Framing;
use crate::ids::Digest;
use crate::total::total;
use serde::{Deserialize, Serialize};

const NAME_MAX: usize = 200;

/// A file of whole records, stored on one or more workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetChunk {
    /// Digest of the content.
    pub digest: Digest,
    /// Length in bytes.
    pub length: u64,
}

/// One version of a named dataset, immutable once it is visible. The holders of its chunks are not part of it: workers
/// report them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    /// Name of the dataset.
    pub name: String,
    /// Version; 1 for the first under its name.
    pub version: u64,
    /// Framing of the records in a chunk. `Whole`: each chunk is a file of its own.
    pub framing: Framing,
    /// Number of copies that each chunk should have, on as many workers.
    pub replicas: u32,
    /// Chunks in input order.
    pub chunks: Vec<DatasetChunk>,
}

impl Dataset {
    /// Bytes of all chunks.
    pub fn length(&self) -> u64 {
        total(self.chunks.iter().map(|c| c.length))
    }
}

/// A dataset as shown in lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetStatus {
    /// Name of the dataset.
    pub name: String,
    /// Version under this name.
    pub version: u64,
    /// Framing of the records.
    pub framing: Framing,
    /// Bytes of all chunks.
    pub bytes: u64,
    /// Number of chunks.
    pub chunks: u64,
    /// Wanted number of copies of each chunk.
    pub replicas: u32,
    /// Least number of copies of a chunk on the present workers.
    pub copies_min: u32,
}

/// Checks that a dataset name is short and needs no quoting in a shell, a URL or a file name.
///
/// # Errors
/// `BAD_REQUEST` with the rule.
pub fn check_dataset_name(name: &str) -> Result<(), Failure> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && name.len() <= NAME_MAX && name.chars().all(fits) {
        return Ok(());
    }
    let what = format!(
        "invalid dataset name `{name}`: use up to {NAME_MAX} letters, digits, `.`, `_` and `-`, starting with a letter or digit"
    );
    Err(Failure::new(Code::BadRequest, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_datasets_are_checked() {
        for good in ["logs", "2026-11.raw_3"] {
            assert!(check_dataset_name(good).is_ok());
        }
        for bad in ["", ".hidden", "-o", "a/b", "a b", "é", &"x".repeat(201)] {
            assert!(check_dataset_name(bad).is_err(), "{bad}");
        }
    }
}
