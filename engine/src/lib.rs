//! The engine: pairs of bytes in, sorted and partitioned files out, and back, in a fixed amount of memory.
//!
//! A map task pushes pairs into an [edge](edge): a buffer or a combining table, spilled as sorted runs when
//! full, merged into one shuffle file at the end. A reduce task opens its [segments] as one merged sequence and keeps the values of a
//! key in a [group] arena while user code looks at them.
//!
//! Knows nothing of user types, networks, other processes or time: a task is a function from local files to local files.

pub mod accumulate;
pub mod blame;
pub mod budget;
mod buffer;
mod combine;
pub mod edge;
pub mod error;
pub mod group;
pub mod hash;
mod key;
pub mod mapped;
mod merge;
pub mod partition;
mod prefetch;
mod region;
mod run;
pub mod segments;
mod sort;

pub use accumulate::Accumulate;
pub use budget::Budget;
pub use edge::{CombinedEdge, EdgeResult, EdgeSpec, PlainEdge};
pub use error::{EngineError, Result};
pub use group::GroupArena;
pub use hash::{hash, partition_of};
pub use mapped::MappedFile;
pub use partition::Partitioning;
pub use segments::{Concat, LocalSegment, Merged, Pairs, open_concat, open_merged};
pub use windrow_format::block::Identity;
pub use windrow_format::codec::Codec;
