//! An outgoing edge of a task: pairs in, one shuffle file out, in a fixed amount of memory.
//!
//! Two kinds: [`PlainEdge`] keeps every pair, [`CombinedEdge`] folds pairs of equal keys. Both fill memory, spill a sorted run when it
//! is full, and merge runs and memory at the end. What the file holds depends on the pairs and their order alone, never on memory.

mod combined;
mod plain;

pub use combined::CombinedEdge;
pub use plain::PlainEdge;

use crate::partition::Partitioning;
use std::path::PathBuf;
use windrow_format::block::Identity;
use windrow_format::codec::Codec;
use windrow_format::shuffle::ShuffleWriter;
use windrow_model::{Order, Segment};

/// What an edge is told.
#[derive(Clone, Debug)]
pub struct EdgeSpec {
    /// Where runs may be written; made when the first one is.
    pub folder: PathBuf,
    /// The final shuffle file.
    pub file: PathBuf,
    /// Of the attempt and its output; the partition is filled in.
    pub identity: Identity,
    /// Which partition a key belongs to.
    pub partitioning: Partitioning,
    /// Order of records inside a partition. A combined edge always writes key order.
    pub order: Order,
    /// For the file and its runs.
    pub codec: Codec,
    /// Bytes that the edge may hold, one record and about 200 KiB of block buffers aside.
    pub memory: usize,
}

/// What an edge has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeResult {
    /// Segments of the file, by ascending partition; empty partitions have none.
    pub segments: Vec<Segment>,
    /// Runs that were spilled on the way.
    pub runs: u64,
    /// Bytes of those runs.
    pub spilled_bytes: u64,
}

/// How an edge divides its memory.
#[derive(Clone, Copy, Debug)]
struct Shares {
    /// Pairs, with everything that sorts them.
    data: usize,
    /// Block buffers of runs while pairs are still in memory.
    merge: usize,
    /// Block buffers of runs after the pairs have left memory.
    merge_alone: usize,
    /// Write buffer.
    write: usize,
}

impl Shares {
    fn of(spec: &EdgeSpec) -> Shares {
        let write = (spec.memory / 16).clamp(64 << 10, 1 << 20);
        let writer = ShuffleWriter::memory_bytes(spec.codec, write);
        let merge = spec.memory / 8;
        let data = spec.memory.saturating_sub(writer + merge).max(spec.memory / 4);
        Shares { data, merge, merge_alone: spec.memory.saturating_sub(writer), write }
    }
}
