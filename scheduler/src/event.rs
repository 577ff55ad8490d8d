//! Everything that can happen to the scheduler: a closed set of plain data.

use crate::action::Collected;
use crate::ledger::Tally;
use windrow_model::{
    AttemptId, BadRecord, Chunk, Epoch, Failure, JobId, JobSpec, NodeInfo, OutputRef, RecordPlace, StageId, TaskId,
    TaskReport, WorkerId,
};

/// What the splitter found for one source stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageChunks {
    pub stage: StageId,
    pub chunks: Vec<Chunk>,
}

/// An attempt that a worker holds, as reported when its session begins.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldAttempt {
    pub attempt: AttemptId,
    /// Its report if it has finished; otherwise it runs or is queued there.
    pub report: Option<TaskReport>,
}

/// An attempt of an earlier incarnation of a worker, and its record when that incarnation ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Left {
    pub attempt: AttemptId,
    pub place: Option<RecordPlace>,
}

/// The progress of an attempt on a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub attempt: AttemptId,
    /// Thousandths of its input; 0: unknown.
    pub permille: u32,
    /// A number that changes whenever it makes progress; 0: unknown.
    pub mark: u64,
    /// It is queued and has not started.
    pub waits: bool,
    /// Records that it has read.
    pub records: u64,
}

/// A job of an earlier epoch, as far as the journal holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct RestoredJob {
    pub spec: Box<JobSpec>,
    pub unix_ms: u64,
    /// Milliseconds that it had existed before.
    pub elapsed_ms: u64,
    /// How its inputs were cut; if missing, they are cut again.
    pub split: Option<RestoredSplit>,
    /// Finished tasks whose parts are staged.
    pub published: Vec<RestoredTask>,
    /// Records that were set aside.
    pub bad_records: Vec<BadRecord>,
    /// Charged failures of the tasks that have any.
    pub failures: Vec<(TaskId, u32)>,
    /// Counts of uncharged attempts of the tasks that have any.
    pub uncharged: Vec<(TaskId, Tally)>,
    /// Its commit had begun: outputs may be visible.
    pub sealed: bool,
    /// Results collected when its commit began. Empty if it collects nothing, or if the journal is of a release that
    /// did not record them: then the tasks from which it collects run again.
    pub collected: Collected,
}

/// The answer to an earlier `Action::PlanJob`.
#[derive(Clone, Debug, PartialEq)]
pub struct RestoredSplit {
    /// The epoch in which it was cut. Attempts of earlier epochs read other chunks.
    pub epoch: Epoch,
    pub input_bytes: u64,
    /// Partitions of `Auto` edges with which the job began: outputs that workers hold have this number, whatever the
    /// rule of this release.
    pub auto_partitions: u32,
    pub stages: Vec<StageChunks>,
}

/// The content of an earlier `Action::Published`.
#[derive(Clone, Debug, PartialEq)]
pub struct RestoredTask {
    pub worker: WorkerId,
    pub attempt: AttemptId,
    pub report: TaskReport,
}

/// Something that has happened. Events of one worker's session must arrive in their order; apart from that an event
/// may come late, twice or never.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A client submits a job; a known id has no effect. (The driver compares the content: see `Scheduler::spec`.)
    Submitted { spec: Box<JobSpec>, unix_ms: u64 },
    /// Inputs are listed and cut, outputs are staged: answer to `Action::PlanJob`.
    Planned { job: JobId, input_bytes: u64, stages: Vec<StageChunks> },
    /// The other answer to `Action::PlanJob`.
    PlanFailed { job: JobId, failure: Failure },
    /// A client cancels; without effect once the job commits.
    Cancelled { job: JobId },

    /// A worker's session has begun, or begun again. `held` lists every attempt that it holds: an attempt that it does
    /// not name is lost. A new incarnation fences the old one and may have kept finished outputs of it. `left` lists
    /// what its last incarnation ran when it ended, as far as known.
    WorkerJoined { node: NodeInfo, held: Vec<HeldAttempt>, left: Vec<Left> },
    /// Its session has ended and its lease has run out, or it has ended normally.
    WorkerLeft { worker: WorkerId },
    /// A beat of a live worker. `progress`: the progress of its attempts; `lists_all`: it has no others. `full`:
    /// whether its disk is full, if it reports that.
    WorkerBeat { worker: WorkerId, progress: Vec<Progress>, lists_all: bool, full: Option<bool> },
    /// It gets no new tasks; `WorkerLeft` follows when it is gone.
    WorkerDrains { worker: WorkerId },

    /// The attempt has finished; its outputs can be fetched from its worker.
    AttemptDone { worker: WorkerId, attempt: AttemptId, report: TaskReport },
    /// The attempt is over without a result.
    AttemptFailed { worker: WorkerId, attempt: AttemptId, failure: Failure },
    /// The parts of a granted attempt are in the output's staging folder, or elsewhere where the loss of one worker
    /// does not affect them.
    Published { worker: WorkerId, attempt: AttemptId },
    /// The granted attempt could not publish: it is over.
    PublishFailed { worker: WorkerId, attempt: AttemptId, failure: Failure },
    /// What another attempt has written for `reader` could not be fetched from its holder. The reader's attempt is over.
    SegmentLost { worker: WorkerId, reader: AttemptId, lost: OutputRef, failure: Failure },

    /// A worker does not see the files of a job. May come before the job is planned.
    LeftOut { job: JobId, worker: WorkerId, failure: Failure },
    /// A worker sees the files of a job after all.
    TakenIn { job: JobId, worker: WorkerId },

    /// Answers to `Action::CommitJob`.
    Committed { job: JobId },
    /// The outputs are not visible, and will not be.
    CommitFailed { job: JobId, failure: Failure },
    /// The commit goes on later, and waits for this; `None`: it goes on. Of no effect on a job that does not commit.
    CommitWaits { job: JobId, reason: Option<String> },
    /// An operator ends a job whose commit waits: whether its outputs are there is not known.
    CommitGivenUp { job: JobId, failure: Failure },
    /// An input of the job is lost for good. Has no effect once the commit has begun.
    InputLost { job: JobId, failure: Failure },

    /// A job of an earlier epoch. These events come before all others.
    Restored { job: Box<RestoredJob> },
    /// All jobs are restored. They start nothing until these workers, which had a session when the earlier epoch
    /// ended, have returned and reported, or until `ms` milliseconds have passed.
    Awaited { workers: Vec<WorkerId>, ms: u64 },

    /// The time has reached `Scheduler::next_deadline`.
    Tick,
}
