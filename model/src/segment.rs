//! Segments: the records of one partition within one map output.

use crate::ids::{AttemptId, WorkerId};
use serde::{Deserialize, Serialize};

/// The location of one partition in an attempt's output file. Empty partitions have no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Index of the partition.
    pub partition: u32,
    /// Offset of its first byte in the file.
    pub offset: u64,
    /// Length in the file in bytes, including block headers.
    pub length: u64,
    /// Number of records.
    pub records: u64,
    /// Bytes of the records before compression.
    pub raw_length: u64,
    /// A digest of the records in order, before compression; on a combining edge a digest of all keys of the edge. Zero
    /// where the order of the records is not deterministic.
    pub digest: u32,
}

/// What one attempt has written to one output, and its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputRef {
    /// The worker that holds it.
    pub worker: WorkerId,
    /// The attempt that wrote it.
    pub attempt: AttemptId,
    /// Index of the output within the attempt's stage.
    pub output: u32,
}
