//! Life of a task, and its budget of failures.
//!
//! ```text
//!          ┌──────── failed, lost, revoked ────────┐
//!          ▼                                       │
//! waiting ─┬─▶ running ─┬─▶ publishing ─▶ done ────┤ outputs lost
//!    ▲     │            └──── no sink ─────▲       │
//!    └── delayed ◀── failed too often in a row ◀───┘
//! ```
//! It owns what is known of the task's attempts and outputs; queues and counts belong to its stage.

use crate::action::StagedPart;
use windrow_model::{AttemptId, Incarnation, OutputReport, SkippedRecord, TaskReport, WorkerId};

/// An attempt and where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub worker: WorkerId,
    pub attempt: AttemptId,
}

/// What a finished attempt made, and where it lies.
pub(crate) struct TaskOutputs {
    pub worker: WorkerId,
    pub attempt: AttemptId,
    pub outputs: Vec<OutputReport>,
    /// The life of the worker that has said that it has them.
    pub life: Incarnation,
    /// The worker does not have them any more.
    pub lost: bool,
    /// Readers could not use them: if the worker offers them again they are not taken.
    pub doubted: bool,
}

pub(crate) enum TaskState {
    /// In one of its stage's queues.
    Waiting,
    /// In no queue until its timer is due.
    Delayed,
    /// Takes a slot.
    Running(Run),
    /// Granted: the task's one winner, unless it fails or its worker is lost. Takes no slot.
    Publishing(Run, Box<TaskReport>),
    Done,
}

pub(crate) struct Task {
    pub state: TaskState,
    /// Attempts started so far: the number of the next one.
    pub attempts: u32,
    /// Failed attempts that were charged.
    pub failures: u32,
    /// Workers that a charged failure happened on.
    pub failed_on: Vec<WorkerId>,
    /// The record that the last charged failure named.
    pub last_bad: Option<SkippedRecord>,
    /// Attempts in a row that ended without anyone being charged.
    pub uncharged: u32,
    /// Workers that it failed on.
    pub avoid: Vec<WorkerId>,
    /// Readers that could not get its output from a worker that lives.
    pub complaints: u32,
    /// It counts as done without ever having been heard of: nobody will read what it made in an earlier life.
    pub skipped: bool,
    /// Its counters are in the job's sums.
    pub counted: bool,
    /// Bytes of input of the latest attempt.
    pub bytes: u64,
    /// What the last finished attempt made. Kept while the task is run again, since broadcasts are never lost.
    pub held: Option<TaskOutputs>,
    /// Parts in the staging folders: they stay even if the task is run again for a lost segment.
    pub published: Vec<StagedPart>,
}

/// More workers than this are not avoided: whatever is wrong then is not the worker.
pub(crate) const AVOID_MAX: usize = 16;

impl Task {
    pub fn new() -> Self {
        Task {
            state: TaskState::Waiting,
            attempts: 0,
            failures: 0,
            failed_on: Vec::new(),
            last_bad: None,
            uncharged: 0,
            avoid: Vec::new(),
            complaints: 0,
            skipped: false,
            counted: false,
            bytes: 0,
            held: None,
            published: Vec::new(),
        }
    }

    /// The attempt that runs or publishes.
    pub fn run(&self) -> Option<Run> {
        match &self.state {
            TaskState::Running(run) | TaskState::Publishing(run, _) => Some(*run),
            TaskState::Waiting | TaskState::Delayed | TaskState::Done => None,
        }
    }

    pub fn is_done(&self) -> bool {
        matches!(self.state, TaskState::Done)
    }

    /// No attempt of it is running or has been taken.
    pub fn waits(&self) -> bool {
        matches!(self.state, TaskState::Waiting | TaskState::Delayed)
    }

    pub fn avoid(&mut self, worker: WorkerId) {
        if self.avoid.len() < AVOID_MAX && !self.avoid.contains(&worker) {
            self.avoid.push(worker);
        }
    }
}
