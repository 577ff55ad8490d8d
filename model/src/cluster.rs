//! What a worker's data folder knows of the cluster that it belongs to.
//!
//! A worker keeps the newest state of the journal that it has seen. A journal that is behind it is an old copy, whose word on
//! what may be deleted does not count.

use crate::ids::{ClusterId, Epoch};
use serde::{Deserialize, Serialize};

/// The newest state of a cluster's journal that a worker has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seen {
    /// The coordinator's life.
    pub epoch: Epoch,
    /// A random number of that life: lives of two copies of a journal have the same epoch and different nonces.
    pub nonce: u64,
    /// Changes of datasets that the journal had recorded in all.
    pub revision: u64,
}

impl Seen {
    /// Whether this is newer than what was seen before.
    pub fn is_newer_than(&self, other: &Seen) -> bool {
        (self.epoch, self.revision) > (other.epoch, other.revision)
    }
}

/// A worker's data folder, as its registration tells of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// The cluster that it has joined.
    pub cluster: Option<ClusterId>,
    /// What it has seen there; zeros before that.
    pub seen: Seen,
    /// Chunks in a folder that has joined none: their digests are in its inventory.
    pub chunks: u64,
}
