//! Scrubs as programs see them.

use crate::scrub::ScrubStatus;
use serde::Serialize;

/// The progress of a worker's scrub of its chunks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScrubView {
    /// Id of the worker.
    pub worker: String,
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

impl From<&ScrubStatus> for ScrubView {
    fn from(scrub: &ScrubStatus) -> Self {
        let ScrubStatus { worker, bytes_done, bytes_total, passes, last_unix_ms, damaged, gone } = *scrub;
        ScrubView { worker: worker.to_string(), bytes_done, bytes_total, passes, last_unix_ms, damaged, gone }
    }
}
