//! Scrubs: a worker reads its chunks again from time to time and compares them with their digests.

use crate::ids::WorkerId;

/// The progress of a worker's scrub of its chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubStatus {
    /// Id of the worker.
    pub worker: WorkerId,
    /// Bytes read in the present pass.
    pub bytes_done: u64,
    /// Bytes of the present pass.
    pub bytes_total: u64,
    /// Number of complete passes.
    pub passes: u64,
    /// End of the last complete pass, in milliseconds since 1970.
    pub last_unix_ms: u64,
    /// Number of copies that were found damaged.
    pub damaged: u64,
    /// Number of copies that were found missing.
    pub gone: u64,
}
