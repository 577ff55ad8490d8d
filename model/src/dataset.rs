//! Datasets: named chunks that live in the cluster.

use crate::code::Code;
use crate::failure::Failure;
use crate::ids::Digest;
use crate::plan::Framing;
use serde::{Deserialize, Serialize};

/// How a job names a dataset among its inputs: this, and the name.
pub const SCHEME: &str = "windrow://";
const NAME_MAX: usize = 200;

/// Some whole records: a file of this content on one or more workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetChunk {
    pub digest: Digest,
    /// Bytes.
    pub length: u64,
}

/// One version of a named dataset: immutable once it is visible. Who holds its chunks is not part of it: workers tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    pub name: String,
    /// 1 for the first under its name.
    pub version: u64,
    /// Where records begin in a chunk. `Whole`: each chunk is a file by itself.
    pub framing: Framing,
    /// Copies that each chunk should have, on as many workers.
    pub replicas: u32,
    /// In input order.
    pub chunks: Vec<DatasetChunk>,
}

impl Dataset {
    /// Bytes of all chunks.
    pub fn length(&self) -> u64 {
        self.chunks.iter().fold(0, |sum, c| sum.saturating_add(c.length))
    }
}

/// A dataset as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetStatus {
    pub name: String,
    pub version: u64,
    pub framing: Framing,
    pub bytes: u64,
    pub chunks: u64,
    pub replicas: u32,
    /// Copies that the chunk with the fewest has on workers that are there now.
    pub copies_min: u32,
}

/// The name in `windrow://NAME`; `None` for what is no such input.
pub fn dataset_name(input: &str) -> Option<&str> {
    input.strip_prefix(SCHEME)
}

/// Names are short and mean the same in a shell, a URL and a file name.
///
/// # Errors
/// `BAD_REQUEST` with what is wrong.
pub fn check_dataset_name(name: &str) -> Result<(), Failure> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && name.len() <= NAME_MAX && name.chars().all(fits) {
        return Ok(());
    }
    let what = format!(
        "`{name}` is no name for a dataset: up to {NAME_MAX} letters, digits, `.`, `_` and `-`, the first a letter or digit"
    );
    Err(Failure::new(Code::BadRequest, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths_and_checked() {
        assert_eq!(dataset_name("windrow://logs"), Some("logs"));
        assert_eq!(dataset_name("/data/logs"), None);
        for good in ["logs", "2026-11.raw_3"] {
            assert!(check_dataset_name(good).is_ok());
        }
        for bad in ["", ".hidden", "-o", "a/b", "a b", "é", &"x".repeat(201)] {
            assert!(check_dataset_name(bad).is_err(), "{bad}");
        }
    }
}
