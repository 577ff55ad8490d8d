//! What the page asks of the process that it belongs to. The page owns no facts: a coordinator answers from its driver,
//! tests answer from made-up facts.

use crate::query::JobsQuery;
use std::future::Future;
use std::pin::Pin;
use windrow_model::{AttemptId, DatasetStatus, Failure, JobId, JobState, JobStatus, WorkerId, WorkerStatus};

/// An answer that comes later. The page waits for it with a deadline.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send>>;

/// The facts of a cluster, and what can be changed. Every call returns at once.
pub trait Facts: Send + Sync + 'static {
    /// A part of the list of jobs.
    fn jobs(&self, query: JobsQuery) -> Answer<JobsPart>;
    /// A job; `JOB_NOT_FOUND` if there is none.
    fn job(&self, job: JobId) -> Answer<JobFacts>;
    /// What the attempts of a job wrote, at most `bytes_max` bytes altogether.
    fn logs(&self, job: JobId, only: LogFilter, bytes_max: usize) -> Answer<Logs>;
    /// All known workers.
    fn workers(&self) -> Answer<Vec<WorkerFacts>>;
    /// All datasets, and notices about them.
    fn datasets(&self) -> Answer<(Vec<DatasetStatus>, Vec<String>)>;
    /// Cancels a job. An ended job is not changed.
    fn cancel(&self, job: JobId) -> Answer<()>;
    /// Lets a worker finish its running tasks, and assigns it no more.
    fn drain(&self, worker: WorkerId) -> Answer<()>;
}

/// A part of the list of jobs.
#[derive(Clone, Debug, Default)]
pub struct JobsPart {
    /// The jobs of this part, in the order of the query.
    pub jobs: Vec<JobStatus>,
    /// Number of jobs that the query admits.
    pub admitted: u64,
    /// Number of jobs in each state that the query admits if its states are ignored.
    pub by_state: Vec<(JobState, u64)>,
}

/// A job, and the shape of its plan if that is known.
#[derive(Clone, Debug)]
pub struct JobFacts {
    /// Its status.
    pub status: JobStatus,
    /// For each stage its inputs. Empty if the plan is not known any more.
    pub shape: Vec<StageShape>,
}

/// Where a stage gets its records from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageShape {
    /// Whether it reads files or datasets.
    pub reads_source: bool,
    /// Stages whose output it reads by partition.
    pub from: Vec<u32>,
    /// Stages whose whole output every task reads.
    pub broadcast_from: Vec<u32>,
}

/// A worker, with what the coordinator has heard of it.
#[derive(Clone, Debug)]
pub struct WorkerFacts {
    /// Its status.
    pub status: WorkerStatus,
    /// Milliseconds since its last message; unknown without a session.
    pub silent_ms: Option<u64>,
    /// Whether its disk is full.
    pub disk_full: bool,
}

/// Selects the logs of some attempts. The default selects all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// Attempts of this stage.
    pub stage: Option<u32>,
    /// Attempts of the tasks with this index.
    pub task: Option<u32>,
    /// Attempts with this number.
    pub attempt: Option<u32>,
}

impl LogFilter {
    /// Whether an attempt is selected.
    pub fn admits(&self, attempt: AttemptId) -> bool {
        self.stage.is_none_or(|stage| stage == attempt.task.stage.0)
            && self.task.is_none_or(|task| task == attempt.task.index)
            && self.attempt.is_none_or(|number| number == attempt.number)
    }
}

/// Logs of attempts of a job.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    /// Logs of attempts.
    pub attempts: Vec<AttemptLog>,
    /// Whether bytes were left out to keep the answer short.
    pub cut: bool,
    /// Why logs of some workers are missing.
    pub missing: Vec<String>,
}

/// What an attempt wrote.
#[derive(Clone, Debug)]
pub struct AttemptLog {
    /// The attempt.
    pub attempt: AttemptId,
    /// The worker that ran it.
    pub worker: Option<WorkerId>,
    /// Its output.
    pub output: Vec<u8>,
}
