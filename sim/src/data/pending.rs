//! Pending work of the coordinator in one epoch: plain data.

use windrow_datasets::{Placed, PutId, ReservationId};
use windrow_model::*;

/// What follows when a record is durable.
pub(super) enum Done {
    Put(Dataset, Option<u64>),
    Removed(String),
    Outputs(JobId, Dataset),
    JobEnded(JobId),
    /// Orphans may go to the trash.
    Reserved(ReservationId),
}

/// A commit that waits for the reports of workers.
pub(super) struct Placing {
    pub(super) client: u64,
    pub(super) put: PutId,
    pub(super) dataset: Dataset,
    pub(super) placed: Placed,
    pub(super) until: Time,
}

/// A job in this epoch.
#[derive(Debug, Default)]
pub(super) struct Job {
    pub(super) inputs: Vec<DatasetChunk>,
    /// Its output, until that is recorded.
    pub(super) put: Option<PutId>,
    pub(super) kept: Vec<DatasetChunk>,
    /// Its end, or the record of its output, is on its way to the journal.
    pub(super) ends: bool,
}
