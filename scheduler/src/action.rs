//! Everything the scheduler can ask of its driver: plain data.

use crate::ledger::Tally;
use std::sync::Arc;
use windrow_model::{
    AttemptId, BadRecord, JobId, JobStatus, StageOutputs, StagedPart, StoredBlob, Task, TaskId, TaskReport, WorkerId,
    WorkerState,
};

/// Results for the driver by their names in `Plan::collects`: one blob for each task of the stage, in task order.
pub type Collected = Vec<(String, Vec<CollectedBlob>)>;

/// What one task contributes to a collected result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectedBlob {
    /// The bytes.
    Inline(Vec<u8>),
    /// Bytes that the driver has stored.
    Stored(StoredBlob),
}

impl CollectedBlob {
    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            CollectedBlob::Inline(bytes) => bytes.len() as u64,
            CollectedBlob::Stored(blob) => blob.length,
        }
    }
}

/// Something to do. The driver carries out the actions of a step in order; each names the event that answers it.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// List and cut the inputs, check and stage the outputs; answered by `Planned` or `PlanFailed`.
    PlanJob { job: JobId },
    /// Run this attempt; answered by `AttemptDone`, `AttemptFailed` or `SegmentLost`. `tables`: of the stages that its edges
    /// read. Each table is the same for all tasks with ports of its version, so a driver sends it to a worker once
    /// (`SentTables`).
    Assign { worker: WorkerId, task: Box<Task>, tables: Vec<Arc<StageOutputs>> },
    /// Stop this attempt and delete its files.
    Revoke { worker: WorkerId, attempt: AttemptId },
    /// This attempt is the task's only winner: publish its parts; answered by `Published` or `PublishFailed`.
    Grant { worker: WorkerId, attempt: AttemptId },
    /// The task is done and its parts are staged: a driver with a journal records this before it begins the
    /// `CommitJob` that follows (see `Event::Restored`).
    Published { worker: WorkerId, attempt: AttemptId, report: Box<TaskReport> },
    /// The job continues without this record: a driver with a journal records it (see `Event::Restored`).
    SetAside { record: Box<BadRecord> },
    /// The number of failures charged to the task has changed, up or down: a driver with a journal records it (see
    /// `Event::Restored`).
    Charged { task: TaskId, failures: u32 },
    /// The uncharged attempts of the task by cause; an empty tally deletes the record. A driver with a journal records
    /// it (see `Event::Restored`).
    Uncharged { task: TaskId, tally: Tally },
    /// Every part is staged: make the outputs visible, with a list of the records that are missing from them; answered
    /// by `Committed` or `CommitFailed`. Parts are sorted by sink, then by task; records by stage, task and place.
    /// `collected` holds the job's results: a driver with a journal records them before any output is visible, so that
    /// the job does not need its workers again (see `Event::Restored`).
    CommitJob { job: JobId, parts: Vec<StagedPart>, bad_records: Vec<BadRecord>, collected: Collected },
    /// The state of a worker has changed (excluded, readmitted or lost). For the log only.
    WorkerChanged { worker: WorkerId, state: WorkerState, reason: Option<String> },
    /// The job has ended: remove staging folders, let `workers` drop its files and executors, keep its final status.
    /// Comes exactly once per job, and last. `collected` is empty unless the job is done.
    JobEnded { job: JobId, status: Box<JobStatus>, collected: Collected, workers: Vec<WorkerId> },
}
