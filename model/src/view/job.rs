//! A job, its stages and its failed attempts as programs see them.

use super::failure::FailureView;
use crate::code::Code;
use crate::counters::Counters;
use crate::failure::Failure;
use crate::job::{FailedAttempt, JobStatus, LeftOut, StageStatus, TaskTotals};
use serde::Serialize;
use std::collections::BTreeMap;

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobView<'a> {
    /// Id of the job.
    pub id: String,
    /// Name of the job.
    pub name: &'a str,
    /// Name of the state: `planning`, `running`, `committing`, `done`, `failed` or `cancelled`.
    pub state: &'static str,
    /// The stages, in the order of the plan.
    pub stages: Vec<StageView<'a>>,
    /// Numbers of tasks over all stages.
    pub tasks: TasksView,
    /// Number of attempts started so far, including backups.
    pub attempts: u64,
    /// Number of backups among them.
    pub backups: u64,
    /// Sums of the counters over committed attempts.
    pub counters: &'a BTreeMap<String, u64>,
    /// Cause of the failure.
    pub error: Option<FailureView<'a>>,
    /// What the job waits for.
    pub waiting: Option<&'a str>,
    /// Paths of the outputs.
    pub outputs: &'a [String],
    /// Milliseconds since 1970 by the coordinator's wall clock.
    pub submitted_unix_ms: u64,
    /// Milliseconds from submission to the end, or until now.
    pub elapsed_ms: u64,
    /// The latest failed attempts, oldest first.
    pub failures: Vec<FailedAttemptView<'a>>,
    /// Workers that get no tasks of the job.
    pub left_out: Vec<LeftOutView<'a>>,
}

/// A stage of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StageView<'a> {
    /// Operations of the stage.
    pub label: &'a str,
    /// Numbers of its tasks.
    pub tasks: TasksView,
    /// Input bytes of finished tasks.
    pub bytes_done: u64,
    /// Input bytes of all tasks; zero while unknown.
    pub bytes_total: u64,
    /// Input bytes read by running attempts.
    pub bytes_running: u64,
    /// Records read by finished tasks and running attempts.
    pub records: u64,
}

/// Numbers of tasks. `failed` counts failed attempts that were charged; the others count tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TasksView {
    /// All tasks.
    pub total: u64,
    /// Tasks with a result.
    pub done: u64,
    /// Tasks with at least one running attempt.
    pub running: u64,
    /// Failed attempts that were charged.
    pub failed: u64,
}

/// An attempt that ended without a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedAttemptView<'a> {
    /// Number of the stage.
    pub stage: u32,
    /// Index of the task in its stage.
    pub task: u32,
    /// Number of the attempt in its task.
    pub attempt: u32,
    /// Id of the worker that ran the attempt.
    pub worker: String,
    /// Host of the worker; empty in a run in one process.
    pub host: &'a str,
    /// Name of the code of the failure.
    pub code: &'static str,
    /// Message of the failure.
    pub message: &'a str,
    /// Whether it counts towards the number of failures at which the job fails.
    pub charged: bool,
    /// Milliseconds from submission to the failure.
    pub after_ms: u64,
}

/// A worker that gets no tasks of a job, because it does not see the job's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOutView<'a> {
    /// Id of the worker.
    pub worker: String,
    /// Host of the worker.
    pub host: &'a str,
    /// Name of the code of the failure.
    pub code: &'static str,
    /// Message of the failure.
    pub message: &'a str,
}

/// The end of a driver: its jobs in the order in which they ran, and its failure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DriverView<'a> {
    /// `done`, `cancelled` or `failed`.
    pub state: &'static str,
    /// The jobs.
    pub jobs: Vec<JobView<'a>>,
    /// What the driver failed with.
    pub error: Option<FailureView<'a>>,
}

impl<'a> From<&'a JobStatus> for JobView<'a> {
    fn from(status: &'a JobStatus) -> Self {
        // All fields are named, so that a new one does not compile until it is shown or left out on purpose.
        let JobStatus {
            id,
            name,
            state,
            stages,
            tasks,
            attempts,
            backups,
            counters: Counters(counters),
            error,
            waiting,
            outputs,
            submitted_unix_ms,
            elapsed_ms,
            failures,
            left_out,
        } = status;
        JobView {
            id: id.to_string(),
            name,
            state: state.as_str(),
            stages: stages.iter().map(StageView::from).collect(),
            tasks: tasks.into(),
            attempts: *attempts,
            backups: *backups,
            counters,
            error: error.as_ref().map(FailureView::from),
            waiting: waiting.as_deref(),
            outputs,
            submitted_unix_ms: *submitted_unix_ms,
            elapsed_ms: *elapsed_ms,
            failures: failures.iter().map(FailedAttemptView::from).collect(),
            left_out: left_out.iter().map(LeftOutView::from).collect(),
        }
    }
}

impl<'a> From<&'a StageStatus> for StageView<'a> {
    fn from(stage: &'a StageStatus) -> Self {
        let StageStatus { label, tasks, bytes_done, bytes_total, bytes_running, records } = stage;
        StageView {
            label,
            tasks: tasks.into(),
            bytes_done: *bytes_done,
            bytes_total: *bytes_total,
            bytes_running: *bytes_running,
            records: *records,
        }
    }
}

impl From<&TaskTotals> for TasksView {
    fn from(tasks: &TaskTotals) -> Self {
        let TaskTotals { total, done, running, failed } = *tasks;
        TasksView { total, done, running, failed }
    }
}

impl<'a> From<&'a FailedAttempt> for FailedAttemptView<'a> {
    fn from(failed: &'a FailedAttempt) -> Self {
        let FailedAttempt { stage, task, attempt, worker, host, code, message, charged, after_ms } = failed;
        FailedAttemptView {
            stage: stage.0,
            task: *task,
            attempt: *attempt,
            worker: worker.to_string(),
            host,
            code: code.as_str(),
            message,
            charged: *charged,
            after_ms: *after_ms,
        }
    }
}

impl<'a> From<&'a LeftOut> for LeftOutView<'a> {
    fn from(left_out: &'a LeftOut) -> Self {
        let LeftOut { worker, host, code, message } = left_out;
        LeftOutView { worker: worker.to_string(), host, code: code.as_str(), message }
    }
}

impl<'a> DriverView<'a> {
    /// Creates the view of a driver that ran these jobs and ended with `failure`, or without one.
    pub fn of(jobs: &'a [JobStatus], failure: Option<&'a Failure>) -> Self {
        let state = match failure.map(|failure| failure.code) {
            None => "done",
            Some(Code::Cancelled | Code::Interrupted) => "cancelled",
            Some(_) => "failed",
        };
        DriverView { state, jobs: jobs.iter().map(JobView::from).collect(), error: failure.map(FailureView::from) }
    }
}
