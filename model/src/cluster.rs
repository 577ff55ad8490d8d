//! The state that a worker's data folder records of its cluster.
//!
//! A worker keeps the newest state of the journal that it has seen. A journal that is behind this state is an old copy,
//! and its decisions about deletion do not count.

use crate::ids::{ClusterId, Epoch};
use serde::{Deserialize, Serialize};

/// The newest state of a cluster's journal that a worker has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seen {
    /// Epoch of the coordinator.
    pub epoch: Epoch,
    /// Random number of that epoch: two copies of a journal get the same epoch and different nonces.
    pub nonce: u64,
    /// Number of changes of datasets that the journal had recorded.
    pub revision: u64,
}

impl Seen {
    /// Returns whether this state is newer than `other`.
    pub fn is_newer_than(&self, other: &Seen) -> bool {
        (self.epoch, self.revision) > (other.epoch, other.revision)
    }
}

/// A worker's data folder, as reported at registration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// The cluster that the folder has joined.
    pub cluster: Option<ClusterId>,
    /// The newest state seen there; zeros if none.
    pub seen: Seen,
    /// Number of chunks in a folder that has joined no cluster: their digests are in its inventory.
    pub chunks: u64,
}
