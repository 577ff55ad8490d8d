//! Everything that can happen to the scheduler: a closed list of plain data.

use windrow_model::{
    AttemptId, Chunk, Failure, JobId, JobSpec, NodeInfo, OutputReport, SegmentRef, StageId, TaskReport, WorkerId,
};

/// What the splitter found for one source stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageChunks {
    pub stage: StageId,
    pub chunks: Vec<Chunk>,
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

    /// A worker's session began (or began again: a new incarnation fences the old one).
    WorkerJoined { node: NodeInfo },
    /// Its session ended and its lease ran out, or it said goodbye.
    WorkerLeft { worker: WorkerId },
    /// It still lives.
    WorkerBeat { worker: WorkerId },
    /// It shall get no new tasks; `WorkerLeft` follows when it is gone.
    WorkerDrains { worker: WorkerId },

    /// The attempt has finished; its segments can be fetched from its worker.
    AttemptDone { worker: WorkerId, attempt: AttemptId, report: TaskReport },
    /// The attempt is over without a result.
    AttemptFailed { worker: WorkerId, attempt: AttemptId, failure: Failure },
    /// The parts of a granted attempt are in the output's staging folder.
    Published { worker: WorkerId, attempt: AttemptId },
    /// The granted attempt could not publish: it is over.
    PublishFailed { worker: WorkerId, attempt: AttemptId, failure: Failure },
    /// A segment that `reader` needs cannot be had from its holder. The reader's attempt is over.
    SegmentLost { worker: WorkerId, reader: AttemptId, segment: SegmentRef, failure: Failure },

    /// Answers to `Action::CommitJob`.
    Committed { job: JobId },
    /// The outputs are not visible, and will not be.
    CommitFailed { job: JobId, failure: Failure },

    /// Time has come to `Scheduler::next_deadline`.
    Tick,
}

/// A finished output of a finished task, as the scheduler keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskOutputs {
    pub worker: WorkerId,
    pub attempt: AttemptId,
    pub outputs: Vec<OutputReport>,
}
