//! Life of a task, and its budget of failures.
//!
//! ```text
//!          ┌──────── failed, lost, revoked ────────┐
//!          ▼                                       │
//! waiting ─┬─▶ running ─┬─▶ publishing ─▶ done ────┤ outputs lost
//!    ▲     └─ ahead ─▲  └──── no sink ─────▲       │
//!    └── delayed ◀── failed too often in a row ◀───┘
//! ```
//! Ahead: the attempt is queued on a worker for a slot. While the task is running it may have a backup, which takes
//! the place of the first attempt if that ends sooner. This file owns what is known of the task's attempts and
//! outputs; queues and counts belong to its stage.

use crate::ledger::Ledger;
use crate::note::Why;
use crate::speculate::Pace;
use windrow_model::{AttemptId, Incarnation, OutputReport, SkippedRecord, StagedPart, TaskReport, WorkerId};

/// An attempt and where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub worker: WorkerId,
    pub attempt: AttemptId,
}

/// A second attempt of a task whose first one is slow.
pub(crate) struct Backup {
    pub run: Run,
    pub pace: Pace,
}

/// What a finished attempt made, and where it lies.
pub(crate) struct TaskOutputs {
    pub worker: WorkerId,
    pub attempt: AttemptId,
    /// Without hints on sizes.
    pub outputs: Vec<OutputReport>,
    /// The incarnation of the worker that reported them.
    pub incarnation: Incarnation,
    /// The worker no longer has them.
    pub lost: bool,
    /// Readers could not use them: if the worker offers them again they are refused.
    pub doubted: bool,
}

pub(crate) enum TaskState {
    /// In one of its stage's queues.
    Waiting,
    /// In no queue until its timer is due.
    Delayed,
    /// Queued on its worker for a slot. It has no backup.
    QueuedOnWorker {
        run: Run,
        /// Sequence number of the assignment: a later one is larger.
        place: u64,
    },
    /// Takes a slot, and so does its backup.
    Running(Run),
    /// Granted: the task's only winner, unless it fails or its worker is lost. Takes no slot.
    Publishing(Run, Box<TaskReport>),
    Done,
}

pub(crate) struct Task {
    pub state: TaskState,
    /// Attempts started so far: the number of the next one.
    pub attempts: u32,
    /// Why it gets the next one, for its history.
    pub why: Why,
    /// Progress of the running attempt.
    pub pace: Pace,
    /// Runs beside that one, on another worker. The first to finish becomes the task's attempt, the other one is
    /// revoked. In a box, since few tasks have one.
    pub backup: Option<Box<Backup>>,
    /// Backups started so far.
    pub backups: u32,
    /// Failed attempts that were charged.
    pub failures: u32,
    /// Workers on which the task failed by its own or the worker's fault, charged or not.
    pub failed_on: Vec<WorkerId>,
    /// The record that the last charged failure named.
    pub last_bad: Option<SkippedRecord>,
    /// Attempts in a row that ended without a charge: they delay the next one.
    pub uncharged: u32,
    /// The causes that ended its attempts without a charge. In a box, since few tasks have one.
    pub ledger: Option<Box<Ledger>>,
    /// Workers that it avoids because it failed there.
    pub avoid: Vec<WorkerId>,
    /// Number of readers that could not fetch its output from a live worker.
    pub fetch_failures: u32,
    /// It counts as done although no output was ever reported: no stage will read what it made in an earlier epoch.
    pub skipped: bool,
    /// It runs again because its inputs have been replaced or are unknown, even if no stage reads its output.
    pub must_run: bool,
    /// Its counters are included in the job's sums.
    pub counted: bool,
    /// The hints of one of its reports are included in the sums of its stage.
    pub hinted: bool,
    /// Bytes of input of the latest attempt.
    pub bytes: u64,
    /// Bytes of them that the running attempt has read, by its latest report.
    pub bytes_read: u64,
    /// Records that the latest attempt has read, by its latest report.
    pub records: u64,
    /// The outputs of the last finished attempt. Kept while the task runs again, since broadcasts are never lost.
    pub held: Option<TaskOutputs>,
    /// Digest of what that attempt had read.
    pub read: Option<u64>,
    /// Digests of two outputs of it that differ: of an earlier attempt, and of the last one.
    pub changed: Option<(u64, u64)>,
    /// Parts in the staging folders: they stay even if the task is run again for a lost output.
    pub published: Vec<StagedPart>,
}

/// Number of workers that a task avoids at most: with more failures the worker is not the cause.
const AVOID_MAX: usize = 16;

impl Task {
    pub(crate) fn new() -> Self {
        Task {
            state: TaskState::Waiting,
            attempts: 0,
            why: Why::First,
            pace: Pace::default(),
            backup: None,
            backups: 0,
            failures: 0,
            failed_on: Vec::new(),
            last_bad: None,
            uncharged: 0,
            ledger: None,
            avoid: Vec::new(),
            fetch_failures: 0,
            skipped: false,
            must_run: false,
            counted: false,
            hinted: false,
            bytes: 0,
            bytes_read: 0,
            records: 0,
            held: None,
            read: None,
            changed: None,
            published: Vec::new(),
        }
    }

    /// The attempt that is on a worker: queued, running or publishing.
    pub(crate) fn run(&self) -> Option<Run> {
        match &self.state {
            TaskState::QueuedOnWorker { run, .. } | TaskState::Running(run) | TaskState::Publishing(run, _) => {
                Some(*run)
            }
            TaskState::Waiting | TaskState::Delayed | TaskState::Done => None,
        }
    }

    /// Every attempt that is on a worker.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run> {
        self.run().into_iter().chain(self.backup.as_ref().map(|b| b.run))
    }

    /// Whether its attempt is queued on its worker.
    pub(crate) fn is_ahead(&self) -> bool {
        matches!(self.state, TaskState::QueuedOnWorker { .. })
    }

    /// Whether it must run alone, because workers were lost with it.
    pub(crate) fn is_suspect(&self) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| ledger.suspect)
    }

    /// The progress of its attempt on this worker.
    pub(crate) fn pace_on(&mut self, worker: WorkerId) -> Option<(Run, &mut Pace)> {
        match (self.run(), &mut self.backup) {
            (_, Some(backup)) if backup.run.worker == worker => Some((backup.run, &mut backup.pace)),
            (Some(run), _) if run.worker == worker => Some((run, &mut self.pace)),
            _ => None,
        }
    }

    /// Whether a second attempt could run there.
    pub(crate) fn may_have_backup_on(&self, worker: WorkerId) -> bool {
        !self.is_suspect()
            && matches!(self.state, TaskState::Running(run) if run.worker != worker)
            && self.backup.is_none()
    }

    /// Exchanges the two attempts if the given one is the backup.
    pub(crate) fn prefer(&mut self, attempt: AttemptId) {
        if let (TaskState::Running(run), Some(backup)) = (&mut self.state, &mut self.backup)
            && backup.run.attempt == attempt
        {
            std::mem::swap(run, &mut backup.run);
            std::mem::swap(&mut self.pace, &mut backup.pace);
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, TaskState::Done)
    }

    /// Whether no attempt of it is on a worker or has finished.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.state, TaskState::Waiting | TaskState::Delayed)
    }

    /// Records a failure there by the task's or the worker's fault: success on another worker decides which.
    pub(crate) fn failed_there(&mut self, worker: WorkerId) {
        if self.failed_on.len() < AVOID_MAX && !self.failed_on.contains(&worker) {
            self.failed_on.push(worker);
        }
    }

    pub(crate) fn avoid(&mut self, worker: WorkerId) {
        if self.avoid.len() < AVOID_MAX && !self.avoid.contains(&worker) {
            self.avoid.push(worker);
        }
    }
}
