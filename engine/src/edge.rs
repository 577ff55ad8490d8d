//! An outgoing edge of a task: pairs in, one shuffle file out, in bounded memory.
//!
//! Two kinds: [`PlainEdge`] keeps every pair, [`CombinedEdge`] folds pairs of equal keys. Neither sorts: pairs go to the open block
//! of their partition, full blocks are kept until the end or spilled, and the file has them partition after partition. Whoever reads
//! an edge sorts, folds or looks up as it needs, with all of a partition at hand.

mod combined;
mod log;
mod plain;

pub use combined::CombinedEdge;
pub use plain::PlainEdge;

use crate::memory::Share;
use crate::partition::Partitioning;
use crate::resident::Residents;
use std::path::PathBuf;
use std::sync::Arc;
use windrow_format::block::Identity;
use windrow_format::codec::Codec;
use windrow_model::Segment;

/// What an edge is told.
#[derive(Clone, Debug)]
pub struct EdgeSpec {
    /// Where spilled blocks may be written; made when the first one is.
    pub folder: PathBuf,
    /// The final shuffle file.
    pub file: PathBuf,
    /// Of the attempt and its output; the partition is filled in.
    pub identity: Identity,
    /// Which partition a key belongs to.
    pub partitioning: Partitioning,
    /// For the file and what is spilled.
    pub codec: Codec,
    /// What the edge may hold is a part of this, one record and a few hundred bytes for each partition aside.
    pub share: Share,
    /// Whether pairs come in an order that does not follow from the task's input: digests are then the same for any.
    pub any_order: bool,
    /// Where the output is kept instead of in the file, if there is room.
    pub residents: Option<Arc<Residents>>,
}

/// What an edge has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeResult {
    /// Segments of the file, by ascending partition; empty partitions have none.
    pub segments: Vec<Segment>,
    /// Times that blocks were written because there was no more memory for them.
    pub runs: u64,
    /// Bytes that were written because of that.
    pub spilled_bytes: u64,
}
