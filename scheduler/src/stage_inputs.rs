//! The inputs of a stage from other stages: shared by all its readers, so that an assignment costs a reference.

use std::sync::Arc;
use windrow_model::{EdgeInput, EdgePort, StageOutputs, WorkerId, total};

/// The inputs of a stage from other stages, while all of those are done.
pub(crate) struct StageInputs {
    /// The tables of the stages that its edges read, each once.
    pub tables: Vec<Arc<StageOutputs>>,
    /// Digest of all that each task reads.
    pub digest: u64,
    /// By input: its ports, and about the bytes of each partition. Nothing for inputs that are no edges.
    pub edges: Vec<Option<EdgeParts>>,
    /// Bytes of all its edges.
    pub bytes: u64,
    /// The bytes of its edges that each worker holds, by worker.
    pub shares: Vec<(WorkerId, u64)>,
    /// The worker that holds more than half of them.
    pub majority: Option<WorkerId>,
}

/// The ports of one edge, and about the bytes of each partition.
pub(crate) struct EdgeParts {
    pub ports: Vec<EdgePort>,
    pub sizes: Vec<u64>,
}

impl StageInputs {
    /// The bytes of its edges that a worker holds. Logarithmic in the number of workers.
    pub(crate) fn share(&self, worker: WorkerId) -> u64 {
        self.shares.binary_search_by_key(&worker, |(w, _)| *w).map_or(0, |at| self.shares[at].1)
    }

    /// About the bytes of its edges that a task reads.
    pub(crate) fn bytes_of(&self, task: usize) -> u64 {
        total(self.edges.iter().flatten().map(|edge| edge.sizes.get(task).copied().unwrap_or(0)))
    }

    /// The edge that a task reads as this input.
    pub(crate) fn edge(&self, input: usize, task: usize) -> EdgeInput {
        match &self.edges[input] {
            Some(EdgeParts { ports, sizes }) => EdgeInput { ports: ports.clone(), bytes: sizes[task] },
            None => EdgeInput { ports: Vec::new(), bytes: 0 },
        }
    }
}
