//! A job: its submission and its status.

use crate::code::Code;
use crate::counters::Counters;
use crate::failure::Failure;
use crate::ids::{Digest, JobId, StageId, WorkerId};
use crate::plan::Plan;
use serde::{Deserialize, Serialize};

/// Most bytes of all collected results of one job; more fails with `COLLECT_TOO_LARGE`.
pub const COLLECT_BYTES_MAX: u64 = 1 << 30;

/// Limits and options of one submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOptions {
    /// Overrides every `Partitions::Auto` of the plan.
    pub partitions: Option<u32>,
    /// Exact size of chunks in bytes; chosen from input and slots if absent.
    pub chunk_bytes: Option<u64>,
    /// Jobs of higher priority run first; jobs of equal priority share the slots fairly.
    pub priority: i32,
    /// Most slots that the job uses at a time.
    pub slots_max: Option<u32>,
    /// Number of failed attempts of one task at which the job fails.
    pub attempts_max: u32,
    /// Milliseconds from submission after which the job fails.
    pub timeout_ms: Option<u64>,
    /// Milliseconds after which an attempt fails.
    pub task_timeout_ms: Option<u64>,
    /// Milliseconds without progress (a record, a block or a group) after which an attempt fails.
    pub progress_timeout_ms: Option<u64>,
    /// Number of records that may be set aside because they make their tasks fail; one more fails the job.
    pub skip_bad_records: u64,
    /// Whether slow tasks at the end of a stage get a second attempt elsewhere; the first result counts.
    pub backup_attempts: bool,
    /// Whether compressed text inputs are decompressed; otherwise all inputs are read as stored.
    pub decompress: bool,
}

impl JobOptions {
    /// Default time in milliseconds that an attempt may make no progress.
    pub const PROGRESS_TIMEOUT_MS: u64 = 600_000;
}

impl Default for JobOptions {
    fn default() -> Self {
        JobOptions {
            partitions: None,
            chunk_bytes: None,
            priority: 0,
            slots_max: None,
            attempts_max: 4,
            timeout_ms: None,
            task_timeout_ms: None,
            progress_timeout_ms: Some(JobOptions::PROGRESS_TIMEOUT_MS),
            skip_bad_records: 0,
            backup_attempts: true,
            decompress: true,
        }
    }
}

/// Everything that a cluster needs to run a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Id of the job.
    pub id: JobId,
    /// Name of the job, for people.
    pub name: String,
    /// Type name of the job within the binary.
    pub program: String,
    /// Parameters of the job as JSON, from which every process builds the plan.
    pub params: String,
    /// The plan.
    pub plan: Plan,
    /// Digest of the binary in the artifact store.
    pub binary: Digest,
    /// Limits and options.
    pub options: JobOptions,
}

/// State of a job: `planning → running → committing → done`, or `failed` or `cancelled` from any of the first three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// The inputs are listed and split, and the outputs are prepared.
    Planning,
    /// Tasks run.
    Running,
    /// All tasks are done, and the outputs are published.
    Committing,
    /// The outputs are complete.
    Done,
    /// The job ended with an error.
    Failed,
    /// A user cancelled the job.
    Cancelled,
}

impl JobState {
    /// Returns whether the state never changes again.
    pub fn is_final(self) -> bool {
        matches!(self, JobState::Done | JobState::Failed | JobState::Cancelled)
    }
    /// The name in JSON, lists and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Planning => "planning",
            JobState::Running => "running",
            JobState::Committing => "committing",
            JobState::Done => "done",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
        }
    }
}

/// Numbers of tasks. `failed` counts failed attempts that were charged; the others count tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskTotals {
    /// All tasks.
    pub total: u64,
    /// Tasks with a result.
    pub done: u64,
    /// Tasks with at least one running attempt.
    pub running: u64,
    /// Failed attempts that were charged.
    pub failed: u64,
}

/// Status of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageStatus {
    /// Operations of the stage, for people.
    pub label: String,
    /// Numbers of its tasks.
    pub tasks: TaskTotals,
    /// Input bytes of finished tasks.
    pub bytes_done: u64,
    /// Input bytes of all tasks; zero while unknown.
    pub bytes_total: u64,
    /// Input bytes read by running attempts, from their latest reports. Not part of `bytes_done`.
    #[serde(default)]
    pub bytes_running: u64,
    /// Records that finished tasks have read, and running attempts by their latest reports.
    #[serde(default)]
    pub records: u64,
}

/// An attempt that ended without a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// Stage of the task.
    pub stage: StageId,
    /// Index of the task in its stage.
    pub task: u32,
    /// Number of the attempt in its task.
    pub attempt: u32,
    /// The worker that ran the attempt.
    pub worker: WorkerId,
    /// Host of the worker; empty in a run in one process.
    pub host: String,
    /// Code of the failure.
    pub code: Code,
    /// Message of the failure.
    pub message: String,
    /// Whether it counts towards the number of failures at which the job fails.
    pub charged: bool,
    /// Milliseconds from submission to the failure.
    pub after_ms: u64,
}

impl FailedAttempt {
    /// Most failed attempts that a job lists, the latest; earlier ones are only counted.
    pub const LISTED_MAX: usize = 20;
    /// Most bytes of each message.
    pub const MESSAGE_BYTES_MAX: usize = 512;
}

/// A worker that gets no tasks of a job, because it does not see the job's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Id of the worker.
    pub worker: WorkerId,
    /// Host of the worker.
    pub host: String,
    /// Code of the failure to see the files.
    pub code: Code,
    /// Message of the failure.
    pub message: String,
}

impl LeftOut {
    /// Most of them that a job lists.
    pub const LISTED_MAX: usize = 20;
}

/// Selects jobs for a list. The default selects all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Jobs in one of these states; empty: in any state.
    pub states: Vec<JobState>,
    /// Jobs whose name contains this text.
    pub name: String,
    /// Jobs submitted at or after this time, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// Most jobs in the list, the latest submissions.
    pub limit: Option<u32>,
}

impl JobFilter {
    /// Returns whether a job matches, regardless of the limit.
    pub fn admits(&self, job: &JobStatus) -> bool {
        (self.states.is_empty() || self.states.contains(&job.state))
            && job.name.contains(&self.name)
            && job.submitted_unix_ms >= self.since_unix_ms
    }
}

/// Status of a job, for pages, lists and progress lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Id of the job.
    pub id: JobId,
    /// Name of the job.
    pub name: String,
    /// Current state.
    pub state: JobState,
    /// Status of each stage, in the order of the plan.
    pub stages: Vec<StageStatus>,
    /// Numbers of tasks over all stages.
    pub tasks: TaskTotals,
    /// Number of attempts started so far, including backups.
    pub attempts: u64,
    /// Number of backups among them. (Not recorded in older journals.)
    #[serde(default)]
    pub backups: u64,
    /// Sums of the counters over committed attempts.
    pub counters: Counters,
    /// Cause of the failure.
    pub error: Option<Failure>,
    /// What the job waits for.
    pub waiting: Option<String>,
    /// Paths of the outputs.
    pub outputs: Vec<String>,
    /// Milliseconds since 1970 by the coordinator's wall clock; for display only.
    pub submitted_unix_ms: u64,
    /// Milliseconds from submission to the end, or until now.
    pub elapsed_ms: u64,
    /// The latest failed attempts, oldest first, at most [`FailedAttempt::LISTED_MAX`]. Empty in lists of jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<FailedAttempt>,
    /// Workers that get no tasks of the job, at most [`LeftOut::LISTED_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

impl JobStatus {
    /// The status of a job without a name, tasks, outputs and failures.
    ///
    /// ```
    /// # use windrow_model::{JobId, JobState, JobStatus};
    /// let status = JobStatus { name: "words".into(), ..JobStatus::new(JobId::from_bytes([1; 16]), JobState::Planning) };
    /// assert!(status.stages.is_empty() && status.error.is_none());
    /// ```
    pub fn new(id: JobId, state: JobState) -> JobStatus {
        JobStatus {
            id,
            name: String::new(),
            state,
            stages: Vec::new(),
            tasks: TaskTotals::default(),
            attempts: 0,
            backups: 0,
            counters: Counters::default(),
            error: None,
            waiting: None,
            outputs: Vec::new(),
            submitted_unix_ms: 0,
            elapsed_ms: 0,
            failures: Vec::new(),
            left_out: Vec::new(),
        }
    }
}
