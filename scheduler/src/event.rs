//! Everything that can happen to the scheduler: a closed list of plain data.

use crate::action::Collected;
use crate::uncharged::Tally;
use windrow_model::{
    AttemptId, BadRecord, Chunk, Epoch, Failure, JobId, JobSpec, NodeInfo, RecordPlace, SegmentRef, StageId, TaskId,
    TaskReport, WorkerId,
};

/// What the splitter found for one source stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageChunks {
    pub stage: StageId,
    pub chunks: Vec<Chunk>,
}

/// An attempt that a worker has, as it says when its session begins.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldAttempt {
    pub attempt: AttemptId,
    /// What it made, if it has finished; else it runs, or waits there for its turn.
    pub report: Option<TaskReport>,
}

/// An attempt of an earlier life of a worker, and where it was when that life ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Left {
    pub attempt: AttemptId,
    pub place: Option<RecordPlace>,
}

/// How far an attempt on a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub attempt: AttemptId,
    /// Thousandths of its input; 0: not known.
    pub permille: u32,
    /// Changes whenever it gets on; 0: not known.
    pub mark: u64,
    /// It has not begun.
    pub waits: bool,
}

/// A job of an earlier life of the driver, as far as its journal has it.
#[derive(Clone, Debug, PartialEq)]
pub struct RestoredJob {
    pub spec: Box<JobSpec>,
    pub unix_ms: u64,
    /// How long it had been there before.
    pub elapsed_ms: u64,
    /// How its inputs were cut; without it that is done again.
    pub split: Option<RestoredSplit>,
    /// Finished tasks whose parts are staged.
    pub published: Vec<RestoredTask>,
    /// Records that were set aside.
    pub bad_records: Vec<BadRecord>,
    /// How often tasks had failed that did.
    pub failures: Vec<(TaskId, u32)>,
    /// How often attempts of tasks had ended without a charge, for those where any had.
    pub uncharged: Vec<(TaskId, Tally)>,
    /// Its commit had begun: outputs may be visible.
    pub sealed: bool,
    /// What it had collected when its commit began. Empty if it collects nothing, or if the journal is of a release that
    /// did not record it then: tasks that it collects from run again in that case.
    pub collected: Collected,
}

/// The answer to an earlier `Action::PlanJob`.
#[derive(Clone, Debug, PartialEq)]
pub struct RestoredSplit {
    /// The life in which it was cut. Attempts of earlier ones read other chunks.
    pub epoch: Epoch,
    pub input_bytes: u64,
    pub stages: Vec<StageChunks>,
}

/// What an earlier `Action::Published` said.
#[derive(Clone, Debug, PartialEq)]
pub struct RestoredTask {
    pub worker: WorkerId,
    pub attempt: AttemptId,
    pub report: TaskReport,
}

/// One thing that has happened. Events of one worker's session are to be handed over in the order in which they were
/// said; beyond that any may come late, twice or never.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A client submits; the same id again is the same job and has no effect. (Whether it was submitted with the same
    /// content is for the driver to compare: see `Scheduler::spec`.)
    Submitted { spec: Box<JobSpec>, unix_ms: u64 },
    /// Inputs are listed and cut, outputs are staged: answer to `Action::PlanJob`.
    Planned { job: JobId, input_bytes: u64, stages: Vec<StageChunks> },
    /// The other answer to `Action::PlanJob`.
    PlanFailed { job: JobId, failure: Failure },
    /// A client cancels; without effect once the job commits.
    Cancelled { job: JobId },

    /// A worker's session began, or began again. `told` is everything that it has: what it was thought to have and does
    /// not name is lost. A new incarnation fences the old one, of which it may have kept finished outputs. `left`: what its
    /// last life ran when that ended, as far as it can tell.
    WorkerJoined { node: NodeInfo, held: Vec<HeldAttempt>, left: Vec<Left> },
    /// Its session ended and its lease ran out, or it said goodbye.
    WorkerLeft { worker: WorkerId },
    /// It still lives. `progress`: how far its attempts are; `lists_all`: no others are there. `full`: whether its disk is,
    /// if it tells.
    WorkerBeat { worker: WorkerId, progress: Vec<Progress>, lists_all: bool, full: Option<bool> },
    /// It shall get no new tasks; `WorkerLeft` follows when it is gone.
    WorkerDrains { worker: WorkerId },

    /// The attempt has finished; its segments can be fetched from its worker.
    AttemptDone { worker: WorkerId, attempt: AttemptId, report: TaskReport },
    /// The attempt is over without a result.
    AttemptFailed { worker: WorkerId, attempt: AttemptId, failure: Failure },
    /// The parts of a granted attempt are in the output's staging folder, or wherever else no single worker's loss costs them.
    Published { worker: WorkerId, attempt: AttemptId },
    /// The granted attempt could not publish: it is over.
    PublishFailed { worker: WorkerId, attempt: AttemptId, failure: Failure },
    /// A segment that `reader` needs cannot be had from its holder. The reader's attempt is over.
    SegmentLost { worker: WorkerId, reader: AttemptId, segment: SegmentRef, failure: Failure },

    /// A worker does not see the files of a job. Also before the job is planned.
    LeftOut { job: JobId, worker: WorkerId, failure: Failure },
    /// It does.
    TakenIn { job: JobId, worker: WorkerId },

    /// Answers to `Action::CommitJob`.
    Committed { job: JobId },
    /// The outputs are not visible, and will not be.
    CommitFailed { job: JobId, failure: Failure },
    /// The commit goes on later, and waits for this; `None`: it goes on. Of no effect on a job that does not commit.
    CommitWaits { job: JobId, reason: Option<String> },
    /// An operator ends a job whose commit waits: whether its outputs are there is not known.
    CommitGivenUp { job: JobId, failure: Failure },
    /// What a job reads is lost for good: it cannot be done. Of no effect once its commit has begun.
    InputLost { job: JobId, failure: Failure },

    /// A job of an earlier life. These come before anything else.
    Restored { job: Box<RestoredJob> },
    /// All jobs are restored. They start nothing until these workers, who had a session when the earlier life ended,
    /// are back and have told what they have, or until `ms` have passed.
    Awaited { workers: Vec<WorkerId>, ms: u64 },

    /// Time has come to `Scheduler::next_deadline`.
    Tick,
}
