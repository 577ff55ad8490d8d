//! The manifest in `_SUCCESS`, by which an output describes itself.

use crate::ids::JobId;
use serde::{Deserialize, Serialize};

/// A part file of an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// File name.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Number of records.
    pub records: u64,
    /// CRC-32C of the file, eight hexadecimal digits.
    pub crc32c: String,
}

/// Describes an output. Written as JSON into `_SUCCESS`, the last file of an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub version: u32,
    /// The job that wrote the output.
    pub job: JobId,
    /// Name of the job.
    pub name: String,
    /// Format of the parts: `tsv`, `text`, `jsonl`, …
    pub format: String,
    /// Number of records of all parts.
    pub records: u64,
    /// Size of all parts in bytes.
    pub bytes: u64,
    /// The parts, in order.
    pub parts: Vec<Part>,
}

impl Manifest {
    /// The version that this release writes.
    pub const VERSION: u32 = 1;
}
