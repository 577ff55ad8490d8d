//! Chunks: record-aligned byte ranges of input files.

use crate::ids::{Digest, WorkerId};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What a file was when it was split: if any of it differs after reading, the input changed under the task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileIdentity {
    pub device: u64,
    pub inode: u64,
    pub length: u64,
    /// Modification time, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Time of the last change of the content or of what is known of the file, nanoseconds since 1970. It cannot be set back. 0: not
    /// known, as in records of earlier releases.
    #[serde(default)]
    pub changed_ns: i64,
}

impl FileIdentity {
    /// Whether it is the same file, perhaps seen from another machine: there a network file system has another device number.
    pub fn is_same_anywhere(&self, other: &FileIdentity) -> bool {
        let unchanged = self.changed_ns == other.changed_ns || self.changed_ns == 0 || other.changed_ns == 0;
        (self.inode, self.length, self.modified_ns) == (other.inode, other.length, other.modified_ns) && unchanged
    }

    /// Whether it is the same file, seen from the same machine.
    pub fn is_same(&self, other: &FileIdentity) -> bool {
        self.device == other.device && self.is_same_anywhere(other)
    }
}

/// A byte range of one file that begins and ends at record boundaries. For a compressed file of text it is the whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRange {
    pub path: PathBuf,
    pub offset: u64,
    pub length: u64,
    pub identity: FileIdentity,
    /// A chunk of a dataset: the worker provides a file of this content, and `path` is `windrow://NAME/NUMBER`.
    pub content: Option<Digest>,
    /// That file, once a worker has it: no name for anybody who will read the output.
    pub local: Option<PathBuf>,
    /// The bytes are records as they are stored, also for readers of text: they are never decompressed.
    pub as_is: bool,
}

impl FileRange {
    /// The file to read.
    pub fn file(&self) -> &Path {
        self.local.as_deref().unwrap_or(&self.path)
    }
}

/// A record of a chunk that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SkippedRecord {
    /// Position of its range in the chunk.
    pub range: u32,
    /// Of its first byte in the file (in the decompressed bytes for a compressed file).
    pub offset: u64,
}

/// The input of one source task: usually one range, or many small files together, in input order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    pub ranges: Vec<FileRange>,
    /// Which contiguous part of the whole input this chunk lies in: the partition that a map-only stage writes.
    pub part: u32,
    /// Records that are left out, because they made tasks fail; ascending.
    pub skip: Vec<SkippedRecord>,
    /// Workers that have all of it: known to who decides where its task runs, and not told to others.
    pub holders: Vec<WorkerId>,
}

impl Chunk {
    pub fn length(&self) -> u64 {
        self.ranges.iter().map(|r| r.length).sum()
    }
}
