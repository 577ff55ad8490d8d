//! A job: what was submitted, and how it stands.

use crate::code::Code;
use crate::counters::Counters;
use crate::failure::Failure;
use crate::ids::{Digest, JobId, StageId, WorkerId};
use crate::plan::Plan;
use serde::{Deserialize, Serialize};

/// Bytes that the collects of one job may give in all; more fails with `COLLECT_TOO_LARGE`.
pub const COLLECT_BYTES_MAX: u64 = 1 << 30;

/// Limits and wishes of one submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOptions {
    /// Overrides every `Partitions::Auto` of the plan.
    pub partitions: Option<u32>,
    /// Exact size of chunks in bytes; chosen from input and slots if absent.
    pub chunk_bytes: Option<u64>,
    /// Larger runs first; equal ones share the slots fairly.
    pub priority: i32,
    /// At most this many slots at a time.
    pub slots_max: Option<u32>,
    /// Failed attempts of one task before the job fails.
    pub attempts_max: u32,
    /// The job fails if it is not done this long after it was submitted.
    pub timeout_ms: Option<u64>,
    /// An attempt fails if it runs for so long.
    pub task_timeout_ms: Option<u64>,
    /// An attempt fails if it gets no further than one record, block or group for so long.
    pub progress_timeout_ms: Option<u64>,
    /// So many records that make their tasks fail are set aside; one more fails the job.
    pub skip_bad_records: u64,
    /// Slow tasks at a stage's end run a second time elsewhere, and whoever is first counts.
    pub backup_attempts: bool,
    /// Text inputs that are compressed are decompressed; otherwise all are read as they are stored.
    pub decompress: bool,
}

impl JobOptions {
    /// How long an attempt may stay at one place, unless told otherwise.
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

/// All that a cluster needs to run a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    pub id: JobId,
    pub name: String,
    /// Which of the binary's jobs this is: the type's name.
    pub program: String,
    /// The job's parameters as JSON: what `plan` is called on in every process.
    pub params: String,
    pub plan: Plan,
    /// The binary, in the artifact store.
    pub binary: Digest,
    pub options: JobOptions,
}

/// Life of a job: `planning → running → committing → done`, or `failed` or `cancelled` from any of the first three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    Planning,
    Running,
    Committing,
    Done,
    Failed,
    Cancelled,
}

impl JobState {
    pub fn is_final(self) -> bool {
        matches!(self, JobState::Done | JobState::Failed | JobState::Cancelled)
    }
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

/// `failed` counts failed attempts that were charged; the others count tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskTotals {
    pub total: u64,
    pub done: u64,
    pub running: u64,
    pub failed: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageStatus {
    pub label: String,
    pub tasks: TaskTotals,
    /// Input bytes of tasks that are done, and of all tasks (zero while unknown).
    pub bytes_done: u64,
    pub bytes_total: u64,
    /// Input bytes that running attempts have read, by their latest reports. Not part of `bytes_done`.
    #[serde(default)]
    pub bytes_running: u64,
}

/// An attempt that ended without a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    pub stage: StageId,
    /// The number of the task in its stage.
    pub task: u32,
    /// The number of the attempt in its task.
    pub attempt: u32,
    pub worker: WorkerId,
    /// The host of the worker; empty in a run in one process.
    pub host: String,
    pub code: Code,
    pub message: String,
    /// Whether it counts towards the failures after which the job fails.
    pub charged: bool,
    /// Milliseconds from submit to the failure.
    pub after_ms: u64,
}

impl FailedAttempt {
    /// A job lists this many of its latest failed attempts; earlier ones are only counted.
    pub const LISTED_MAX: usize = 20;
    /// Bytes that are kept of each message.
    pub const MESSAGE_BYTES_MAX: usize = 512;
}

/// A worker that a job leaves out, because it does not see the job's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub worker: WorkerId,
    /// The host of the worker.
    pub host: String,
    pub code: Code,
    pub message: String,
}

impl LeftOut {
    /// A job lists this many of them.
    pub const LISTED_MAX: usize = 20;
}

/// Which jobs a list shows. The default shows all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Jobs in one of these states; empty: in any.
    pub states: Vec<JobState>,
    /// Jobs whose name contains this text.
    pub name: String,
    /// Jobs submitted at this time or later, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// At most this many, those that were submitted last.
    pub limit: Option<u32>,
}

impl JobFilter {
    /// Whether a job is in the list, without regard to the limit.
    pub fn admits(&self, job: &JobStatus) -> bool {
        (self.states.is_empty() || self.states.contains(&job.state))
            && job.name.contains(&self.name)
            && job.submitted_unix_ms >= self.since_unix_ms
    }
}

/// How a job stands, for pages, lists and progress lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    pub id: JobId,
    pub name: String,
    pub state: JobState,
    pub stages: Vec<StageStatus>,
    pub tasks: TaskTotals,
    /// Attempts started so far, backups among them.
    pub attempts: u64,
    /// How many of them were backups of slow ones. (Older journals do not tell.)
    #[serde(default)]
    pub backups: u64,
    pub counters: Counters,
    /// Why it failed, or what it waits for.
    pub error: Option<Failure>,
    pub waiting: Option<String>,
    /// Output folders.
    pub outputs: Vec<String>,
    /// Milliseconds since 1970, by the coordinator's wall clock; for display only.
    pub submitted_unix_ms: u64,
    /// Milliseconds from submit to end, or until now.
    pub elapsed_ms: u64,
    /// The latest attempts that failed, oldest first, at most [`FailedAttempt::LISTED_MAX`]. Empty in lists of jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<FailedAttempt>,
    /// Workers that get nothing of the job, at most [`LeftOut::LISTED_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}
