//! Datasets: named chunks that live in the cluster.

use crate::ids::{Digest, WorkerId};
use crate::plan::Framing;
use serde::{Deserialize, Serialize};

/// One chunk of a dataset and the workers that hold a whole, verified copy of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetChunk {
    pub digest: Digest,
    pub length: u64,
    pub replicas: Vec<WorkerId>,
}

/// One version of a named dataset: immutable once it is visible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    pub name: String,
    pub version: u64,
    pub framing: Framing,
    pub chunks: Vec<DatasetChunk>,
}

impl Dataset {
    pub fn length(&self) -> u64 {
        self.chunks.iter().map(|c| c.length).sum()
    }
}
