//! The places of a job's outputs, and what the journal has of its commit.

use crate::staged_outputs::StagedOutputs;
use std::collections::BTreeMap;
use windrow_datasets::PutId;
use windrow_model::{AttemptId, DatasetChunk};
use windrow_scheduler::Collected;

/// The outputs of a job that are datasets, by sink.
pub(crate) type Outputs = BTreeMap<u32, DatasetOutput>;

/// An output that is a dataset.
#[derive(Debug)]
pub(crate) struct DatasetOutput {
    pub put: PutId,
    /// The chunk of each granted attempt; empty parts have none. When the commit begins, those of the winners stay.
    pub chunks: BTreeMap<AttemptId, DatasetChunk>,
}

/// The places of a job's outputs.
#[derive(Default)]
pub(crate) struct Prepared {
    pub staging: StagedOutputs,
    pub outputs: Outputs,
    /// Number of receipts that came when their attempt did not publish any more.
    pub late_receipts: usize,
}

/// A commit that began in an earlier epoch.
#[derive(Default)]
pub(crate) struct EarlierCommit {
    /// The result that the journal has. Empty if it has none.
    pub collected: Collected,
    /// The commit is tried only when an operator orders it; the reason.
    pub held: Option<String>,
}
