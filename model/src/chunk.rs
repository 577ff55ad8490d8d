//! Chunks: record-aligned byte ranges of input files.

use crate::ids::{Digest, WorkerId};
use crate::total::total;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The state of a file when it was split: if any of it differs after reading, the input changed while the task ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Device number of the file system.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Length in bytes.
    pub length: u64,
    /// Modification time, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Time of the last change of content or metadata, nanoseconds since 1970. It cannot be set back. 0 if unknown, as
    /// in records of earlier releases.
    #[serde(default)]
    pub changed_ns: i64,
}

impl FileIdentity {
    /// Returns whether this is the same file, possibly seen from another machine, where a network file system has
    /// another device number.
    pub fn is_same_anywhere(&self, other: &FileIdentity) -> bool {
        let unchanged = self.changed_ns == other.changed_ns || self.changed_ns == 0 || other.changed_ns == 0;
        (self.inode, self.length, self.modified_ns) == (other.inode, other.length, other.modified_ns) && unchanged
    }

    /// Returns whether this is the same file, seen from the same machine.
    pub fn is_same(&self, other: &FileIdentity) -> bool {
        self.device == other.device && self.is_same_anywhere(other)
    }
}

/// A byte range of one file that begins and ends at record boundaries. For a compressed text file it is the whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRange {
    /// Path of the file as the job names it.
    pub path: PathBuf,
    /// Offset of the first byte.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// State of the file when it was split.
    pub identity: FileIdentity,
    /// Digest if this is a chunk of a dataset: the worker provides a file with this content, and `path` is
    /// `windrow://NAME/NUMBER`.
    pub content: Option<Digest>,
    /// Path of that file on a worker. It must not appear in outputs.
    pub local: Option<PathBuf>,
    /// Whether the bytes are read as stored: even readers of text never decompress them.
    pub as_is: bool,
}

impl FileRange {
    /// The file to read.
    pub fn file(&self) -> &Path {
        self.local.as_deref().unwrap_or(&self.path)
    }
}

/// A record of a chunk that the job leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SkippedRecord {
    /// Index of its range in the chunk.
    pub range: u32,
    /// Offset of its first byte in the file (in the decompressed bytes of a compressed file).
    pub offset: u64,
}

/// The input of one source task: usually one range, or many small files, in input order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Ranges in input order.
    pub ranges: Vec<FileRange>,
    /// Index of the contiguous part of the whole input that contains this chunk: the partition that a map-only stage
    /// writes.
    pub part: u32,
    /// Records to leave out because they made tasks fail, in ascending order.
    pub skip: Vec<SkippedRecord>,
    /// Workers that hold all of it. Known to the scheduler only, not sent to workers.
    pub holders: Vec<WorkerId>,
}

impl Chunk {
    /// Bytes of all ranges.
    pub fn length(&self) -> u64 {
        total(self.ranges.iter().map(|r| r.length))
    }
}
