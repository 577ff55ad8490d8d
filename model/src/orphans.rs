//! Orphans: chunks of a cluster that no dataset and no job refers to, as shown to operators.

use crate::ids::{Digest, WorkerId};

/// A chunk that no dataset refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Digest of the content.
    pub digest: Digest,
    /// Length in bytes; 0 if unknown.
    pub length: u64,
    /// Workers that hold it.
    pub holders: Vec<WorkerId>,
    /// Workers that have it in the trash.
    pub trashed: Vec<WorkerId>,
    /// Milliseconds since it became an orphan.
    pub for_ms: u64,
    /// Milliseconds until it is deleted.
    pub kept_ms: u64,
}

/// A worker whose data folder has joined no cluster and holds chunks that the journal does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnjoinedWorker {
    /// Id of the worker.
    pub worker: WorkerId,
    /// Name of its host.
    pub host: String,
    /// Number of its chunks.
    pub chunks: u64,
}

/// Orphans and workers that wait to join.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// Orphans, up to a limit.
    pub chunks: Vec<Orphan>,
    /// Number of further orphans.
    pub left_off: u64,
    /// Workers that wait to join.
    pub unjoined: Vec<UnjoinedWorker>,
}
