//! An outgoing edge of a task: pairs in, one shuffle file out, in bounded memory.
//!
//! There are two kinds: [`PlainEdge`] keeps every pair, [`CombinedEdge`] folds pairs of equal keys. Neither sorts:
//! pairs go to the open block of their partition, full blocks are kept until the end or spilled, and the file holds
//! them partition by partition. With thousands of partitions, or little memory, pairs go to groups of partitions first
//! (`plain/two_level.rs`). The reader of an edge sees a whole partition at once, and sorts, folds or looks up as it
//! needs.

mod combined;
mod log;
mod plain;

pub use combined::CombinedEdge;
pub use plain::PlainEdge;

use crate::memory::Share;
use crate::partition::Partitioning;
use crate::resident::InMemoryOutputs;
use std::path::PathBuf;
use std::sync::Arc;
use windrow_format::block::Identity;
use windrow_format::codec::Codec;
use windrow_format::spool::{Place, Spool};
use windrow_model::Segment;

/// The settings of an edge.
#[derive(Clone, Debug)]
pub struct EdgeSpec {
    /// Folder for spilled blocks; created with the first one.
    pub folder: PathBuf,
    /// The final shuffle file.
    pub file: PathBuf,
    /// Identity of the attempt and its output; the partition is filled in.
    pub identity: Identity,
    /// Assigns keys to partitions.
    pub partitioning: Partitioning,
    /// Codec of the file and of spilled blocks.
    pub codec: Codec,
    /// The memory that the edge may use a part of. On top come one record, and for each partition 90 bytes, or a few
    /// hundred if there are less than 5,000.
    pub share: Share,
    /// Whether the order of the pairs does not follow from the task's input. Digests are then independent of the order.
    pub any_order: bool,
    /// Keeps the output in memory instead of in the file, if there is room.
    pub in_memory_outputs: Option<Arc<InMemoryOutputs>>,
    /// Takes the output instead of the file, if the output is small and was not spilled.
    pub spool: Option<Arc<Spool>>,
}

/// The output of an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeResult {
    /// Segments of the image, by ascending partition; empty partitions have none. Offsets count from its first byte.
    pub segments: Vec<Segment>,
    /// The image in the spool, if it is there.
    pub place: Option<Place>,
    /// Whether the image is in a file of its own. Neither is the case if the output is kept in memory or is empty.
    pub has_file: bool,
    /// Number of times that blocks were spilled because memory was full.
    pub runs: u64,
    /// Number of bytes that were spilled.
    pub spilled_bytes: u64,
}
