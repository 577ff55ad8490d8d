//! Everything the scheduler can ask for: plain data, done by whoever drives it.

use crate::uncharged::Tally;
use windrow_model::{
    AttemptId, BadRecord, JobId, JobStatus, PartReport, StoredBlob, Task, TaskId, TaskReport, WorkerId, WorkerState,
};

/// Results for the driver by their names in `Plan::collects`: one blob for each task of the stage, in task order.
pub type Collected = Vec<(String, Vec<CollectedBlob>)>;

/// What one task contributes to a collected result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectedBlob {
    /// The bytes.
    Inline(Vec<u8>),
    /// The driver has stored them.
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

/// One part of an output that is staged and waits for the job's commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedPart {
    /// The task's number is the part's number.
    pub task: u32,
    pub attempt: AttemptId,
    pub part: PartReport,
}

/// One thing to do. Those of a step are to be done in their order; each names who answers, and how.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// List and cut the inputs, check and stage the outputs; answered by `Planned` or `PlanFailed`.
    PlanJob { job: JobId },
    /// Run this attempt; answered by `AttemptDone`, `AttemptFailed` or `SegmentLost`.
    Assign { worker: WorkerId, task: Box<Task> },
    /// Stop this attempt and forget its files.
    Revoke { worker: WorkerId, attempt: AttemptId },
    /// This attempt is the task's one winner: publish its parts; answered by `Published` or `PublishFailed`.
    Grant { worker: WorkerId, attempt: AttemptId },
    /// The task is done and its parts are staged: whoever keeps a journal writes this down, before the `CommitJob` that
    /// follows is begun (see `Event::Restored`).
    Published { worker: WorkerId, attempt: AttemptId, report: Box<TaskReport> },
    /// The job goes on without this record: whoever keeps a journal writes it down (see `Event::Restored`).
    SetAside { record: Box<BadRecord> },
    /// So many failures count against the task now, more or fewer than before: a driver with a journal records it (see
    /// `Event::Restored`).
    Charged { task: TaskId, failures: u32 },
    /// How often attempts of the task have ended without a charge, by cause; none: forget it. A driver with a journal records
    /// it (see `Event::Restored`).
    Uncharged { task: TaskId, tally: Tally },
    /// Every part is staged: make the outputs visible, with a list of the records that are missing from them; answered by
    /// `Committed` or `CommitFailed`. Parts are sorted by sink, then by task, records by stage, task and place.
    /// `collected` is what the job's results are: a driver with a journal records it before anything is visible, so that the
    /// job does not need its workers again (see `Event::Restored`).
    CommitJob { job: JobId, parts: Vec<StagedPart>, bad_records: Vec<BadRecord>, collected: Collected },
    /// How a worker stands has changed, for the log: it is excluded, readmitted or lost. Nothing is to be done.
    WorkerChanged { worker: WorkerId, state: WorkerState, reason: Option<String> },
    /// The job is over, however: remove staging folders, tell `workers` to drop its files and executors, keep its
    /// final status. Comes exactly once per job, and last. `collected` is empty unless the job is done.
    JobEnded { job: JobId, status: Box<JobStatus>, collected: Collected, workers: Vec<WorkerId> },
}
