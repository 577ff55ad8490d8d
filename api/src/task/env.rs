//! What an attempt is given to run with.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use windrow_engine::{InMemoryOutputs, Memory};
use windrow_format::codec::Codec;
use windrow_format::spool::Spool;

/// The environment of an attempt: its files, memory and cancellation.
pub(crate) struct TaskEnv<'s> {
    /// Folder for outputs and temporary files; the first writer makes it.
    pub folder: &'s Path,
    /// Prefix of the names of outputs in the folder, if attempts share it.
    pub prefix: &'s str,
    /// Memory of the process.
    pub memory: &'s Arc<Memory>,
    pub codec: Codec,
    /// Store for outputs that are kept in memory for other tasks of this process.
    pub in_memory_outputs: Option<Arc<InMemoryOutputs>>,
    /// File of the process that takes small outputs.
    pub spool: Option<Arc<Spool>>,
    pub cancelled: &'s AtomicBool,
}
