//! The records of the journal, and what a start reads from it.

use serde::{Deserialize, Serialize};
use windrow_datasets::Lineage;
use windrow_datasets::{OrphanChanges, OrphanWaits};
use windrow_model::{
    BadRecord, ClusterId, Dataset, DatasetChunk, Digest, Epoch, JobId, JobSpec, JobStatus, TaskId, WorkerId,
};
use windrow_scheduler::{Collected, RestoredSplit, RestoredTask, Tally};
use windrow_store::Receipt;

/// A job, as lists show it after the coordinator has started again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Its last known status: final, `committing` for one whose commit has begun, or `planning`.
    pub status: JobStatus,
    /// Which of the binary's jobs it was.
    pub program: String,
    /// The binary.
    pub binary: Digest,
    /// Of the spec as it was submitted, by `spec_digest`: a repeated submit has the same, another job with the same id not.
    /// Absent in records of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Digest>,
    /// Whether it collects anything. Absent in records of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collects: Option<bool>,
}

/// The result of a job that is done.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptResult {
    /// Small blobs, and the places of large ones.
    pub collected: Collected,
    /// When the job ended, by the wall clock: results also expire while no coordinator runs.
    pub ended_unix_ms: u64,
    /// A client has read all of it.
    pub fetched: bool,
}

/// A change of a dataset.
#[derive(Clone, Debug, PartialEq)]
pub enum DatasetChange {
    /// A version appeared, perhaps in place of an earlier one.
    Put(Dataset),
    /// The name is gone.
    Removed(String),
}

/// A finished task whose parts are staged.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishedTask {
    pub task: RestoredTask,
    /// Parts that are chunks of datasets, by sink.
    pub chunks: Vec<(u32, DatasetChunk)>,
    /// Parts whose storage has given a receipt, by sink.
    pub receipts: Vec<(u32, Receipt)>,
}

/// What a restart needs to continue a job.
#[derive(Clone, Debug, PartialEq)]
pub struct RunningJob {
    pub spec: Box<JobSpec>,
    pub split: Option<RestoredSplit>,
    pub published: Vec<PublishedTask>,
    pub bad_records: Vec<BadRecord>,
    /// Charged failures by task.
    pub failures: Vec<(TaskId, u32)>,
    /// The tally of uncharged ends by task.
    pub uncharged: Vec<(TaskId, Tally)>,
    /// Its outputs that are datasets are recorded.
    pub datasets_done: bool,
    /// Tries of work on the paths of the job that have begun without an end: each has ended an epoch of the coordinator.
    pub tries: u32,
}

impl RunningJob {
    /// A job of which nothing but the submit is recorded.
    pub fn new(spec: Box<JobSpec>) -> RunningJob {
        RunningJob {
            spec,
            split: None,
            published: Vec::new(),
            bad_records: Vec::new(),
            failures: Vec::new(),
            uncharged: Vec::new(),
            datasets_done: false,
            tries: 0,
        }
    }
}

/// The identity of a journal, and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Made in the first epoch of the journal.
    pub cluster: ClusterId,
    /// The present epoch is the last one.
    pub lineage: Lineage,
    /// How many changes of datasets are recorded.
    pub revision: u64,
    /// Chunks that recorded changes have ordered to be deleted.
    pub dropped: Vec<Digest>,
    /// How long chunks to which nothing refers have waited.
    pub orphans: OrphanWaits,
}

/// A change to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A job's status. A final one removes what a restart needs to continue the job.
    Job(Box<JobRecord>),
    Spec(Box<JobSpec>),
    Split(JobId, Box<RestoredSplit>),
    Published(Box<PublishedTask>),
    BadRecord(Box<BadRecord>),
    /// The number of charged failures of a task.
    Failures(TaskId, u32),
    /// How often attempts of a task have ended without a charge; none: it is forgotten.
    Uncharged(TaskId, Tally),
    Dataset(DatasetChange),
    /// Every output of a job that is a dataset.
    Outputs(JobId, Vec<Dataset>),
    /// Tries of planning, restoring or committing the job that have begun without an end. 0: the last one has ended.
    Tries(JobId, u32),
    /// The collected result of a job.
    Collected(JobId, Box<KeptResult>),
    /// The result of a job is not kept any more.
    ResultForgotten(JobId),
    /// A job that has ended and is not listed any more.
    Forgotten(JobId),
    /// A worker has a session, or is lost.
    Worker(WorkerId, bool),
    /// Recorded changes have removed the last references to these chunks: they may be deleted on any worker.
    Dropped(Vec<Digest>),
    /// How long chunks to which nothing refers have waited, as far as that has changed.
    Orphans(Box<OrphanChanges>),
    /// The next epoch is above this one, and replaces all below it: a worker has seen it, and the journal was restored.
    RestoreAbove(Epoch),
}

impl Record {
    /// Whether this counts in the journal's revision.
    pub fn changes_datasets(&self) -> bool {
        matches!(self, Record::Dataset(_) | Record::Outputs(..))
    }
}

impl From<JobRecord> for Record {
    fn from(record: JobRecord) -> Self {
        Record::Job(Box::new(record))
    }
}
