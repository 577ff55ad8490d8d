//! Segments: one partition inside one map output.

use crate::ids::{AttemptId, WorkerId};
use serde::{Deserialize, Serialize};

/// Where one partition lies inside an attempt's output file. Empty partitions have no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub partition: u32,
    /// First byte in the file.
    pub offset: u64,
    /// Bytes in the file, headers included.
    pub length: u64,
    pub records: u64,
    /// Bytes of the records before compression.
    pub raw_length: u64,
    /// A checksum of the records in order, before compression; on a combining edge one of all keys of the edge. Zero where
    /// the order of the records does not follow from the records alone.
    pub digest: u32,
}

/// A segment, and who holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRef {
    pub worker: WorkerId,
    pub attempt: AttemptId,
    /// Which output of the attempt's stage.
    pub output: u32,
    pub segment: Segment,
}
