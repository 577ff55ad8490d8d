//! What an attempt is given to run with.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use windrow_engine::{InMemoryOutputs, LocalSegment, Memory};
use windrow_format::codec::Codec;

/// The environment of an attempt: its files, memory and cancellation.
pub(crate) struct TaskEnv<'s> {
    /// Folder for outputs and temporary files; the first writer makes it.
    pub folder: &'s Path,
    /// Prefix of the names of outputs in the folder, if attempts share it.
    pub prefix: &'s str,
    /// For each input of the task, its segments if it has any.
    pub segments: Vec<Vec<LocalSegment>>,
    /// Memory of the process.
    pub memory: &'s Arc<Memory>,
    pub codec: Codec,
    /// Store for outputs that are kept in memory for other tasks of this process.
    pub in_memory_outputs: Option<Arc<InMemoryOutputs>>,
    pub cancelled: &'s AtomicBool,
}
