//! What `_SUCCESS` says: the output describes itself.

use crate::ids::JobId;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub name: String,
    pub bytes: u64,
    pub records: u64,
    /// CRC-32C of the file, eight hexadecimal digits.
    pub crc32c: String,
}

/// Written as JSON into `_SUCCESS`, the last file of an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub version: u32,
    pub job: JobId,
    pub name: String,
    pub format: String,
    pub records: u64,
    pub bytes: u64,
    pub parts: Vec<Part>,
}

impl Manifest {
    pub const VERSION: u32 = 1;
}
