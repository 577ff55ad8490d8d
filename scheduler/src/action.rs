//! Everything the scheduler can ask for: plain data, done by whoever drives it.

use windrow_model::{AttemptId, JobId, JobStatus, PartReport, Task, WorkerId};

/// Results for the driver by their names in `Plan::collects`: one blob for each task of the stage, in task order.
pub type Collected = Vec<(String, Vec<Vec<u8>>)>;

/// The same, borrowed from the scheduler.
pub type CollectedRef<'a> = Vec<(String, Vec<&'a [u8]>)>;

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
    /// Every part is staged: make the outputs visible; answered by `Committed` or `CommitFailed`.
    /// Parts are sorted by sink, then by task.
    CommitJob { job: JobId, parts: Vec<StagedPart> },
    /// The job is over, however: remove staging folders, tell `workers` to drop its files and executors, keep its
    /// final status. Comes exactly once per job, and last. `collected` is empty unless the job is done.
    JobEnded { job: JobId, status: Box<JobStatus>, collected: Collected, workers: Vec<WorkerId> },
}
