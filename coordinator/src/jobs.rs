//! What the driver knows of jobs, beside the scheduler.

use crate::datasets::PutId;
use crate::split::{SplitJob, StagedSink};
use std::collections::BTreeMap;
use std::sync::Arc;
use windrow_model::{AttemptId, Dataset, DatasetChunk, Digest, WorkerId};
use windrow_scheduler::Collected;
use windrow_store::Steps;

/// What the driver knows of a job that has not ended, beside the scheduler.
#[derive(Default)]
pub(crate) struct ActiveJob {
    /// Set when the job is split; moves into `Planned` when all workers have agreed.
    pub split: Option<SplitJob>,
    pub staging: Vec<StagedSink>,
    /// Outputs that are datasets, by sink.
    pub outputs: BTreeMap<u32, DatasetOutput>,
    /// The datasets that it reads, as they were when it was submitted; until it is split.
    pub datasets: BTreeMap<String, Dataset>,
    /// Ends the planning.
    pub steps: Arc<Steps>,
    /// Tries of work on its paths that the journal has, and that have not ended.
    pub tries: u32,
    /// The journal has it, or gets it with what is recorded next.
    pub is_queued: bool,
    /// It was tried before: its planning begins when its submit is durable.
    pub splits_when_durable: bool,
    /// What its spec takes in memory.
    pub spec_bytes: usize,
    /// Bytes of collected blobs that are not stored.
    pub inline_bytes: usize,
    /// What it has collected, as the journal has it: since its commit began.
    pub result: Option<Collected>,
    /// Its commit began in an earlier life. Its staging folders may not be known: then the commit looks for them.
    pub sealed_before: bool,
    /// Its commit is tried only when an operator says so, and why.
    pub commit_held: Option<String>,
}

/// An output of a running job that is a dataset.
#[derive(Debug)]
pub(crate) struct DatasetOutput {
    pub put: PutId,
    /// What each granted attempt has left; empty parts are not among them.
    pub chunks: BTreeMap<AttemptId, DatasetChunk>,
    /// These are of the attempts that have won, and no others come.
    pub sealed: bool,
}

/// An attempt that has placed its parts.
pub(crate) struct Publishing {
    pub worker: WorkerId,
    pub digests: Vec<Digest>,
}
