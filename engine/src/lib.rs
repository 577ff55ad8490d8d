//! The engine: turns pairs of bytes into sorted and partitioned files and back, in bounded memory.
//!
//! A map task pushes pairs into an [edge], which writes them by partition into one shuffle file. A reduce task
//! opens all [segments] of its partition and brings them into the form that it needs: sorted by key, folded by key
//! ([`Folder`]), or kept for look-ups by key ([`Lookup`]). The values of one key stay in a [group] arena while user
//! code reads them.
//!
//! The engine knows nothing of user types, networks, other processes or time: a task is a function from local files to
//! local files.

#![warn(unreachable_pub)]

pub mod accumulate;
pub mod blame;
mod combine;
pub mod edge;
pub mod error;
pub mod file_limit;
mod folder;
pub mod group;
pub mod hash;
mod heap;
mod key;
mod lent;
mod lookup;
pub mod mapped;
mod mapped_files;
pub mod memory;
mod merge;
mod pairs;
pub mod partition;
mod pieces;
pub mod recycle;
mod region;
mod resident;
mod run;
pub mod segments;
mod signal_action;
mod sort;
mod sorter;
mod torn;

pub use accumulate::Accumulate;
pub use edge::{CombinedEdge, EdgeResult, EdgeSpec, PlainEdge};
pub use error::{EngineError, Result};
pub use folder::Folder;
pub use group::GroupArena;
pub use hash::{hash, partition_of};
pub use lent::Changed;
pub use lookup::{Lookup, Probe};
pub use mapped::MappedFile;
pub use mapped_files::MappedFiles;
pub use memory::{Claim, Memory, Share};
pub use pairs::Pairs;
pub use partition::Partitioning;
pub use resident::{Hole, InMemoryOutputs};
pub use segments::{Concat, LocalSegment, open_concat, open_sorted};
pub use sorter::Sorted;
pub use windrow_format::block::Identity;
pub use windrow_format::codec::Codec;
pub use windrow_format::segment::{BATCH, Batch};
