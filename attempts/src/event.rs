//! Everything that can happen to the attempts of a worker: a closed list of plain data.

use windrow_model::{AttemptId, Failure, JobId, OutputRef, Task, TaskReport};

/// Everything that can happen to attempts.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The coordinator wants this attempt run here.
    Assigned(Box<Task>),
    /// Its inputs are local files.
    Staged(AttemptId),
    /// The files that a dead executor left of it are deleted.
    Cleared(AttemptId),
    /// Its inputs are not available.
    StageFailed(AttemptId, StageError),
    /// An executor has built the plan and takes tasks.
    ExecutorReady { job: JobId, generation: u64 },
    /// An executor did not get as far as taking tasks. `killed`: by a SIGKILL that this worker did not send, which
    /// is no attempt's fault.
    ExecutorNotStarted { job: JobId, generation: u64, failure: Failure, killed: bool },
    /// An executor that was ready is gone.
    ExecutorEnded { job: JobId, generation: u64, exit: Exit },
    /// An attempt is done.
    TaskDone { generation: u64, attempt: AttemptId, report: TaskReport },
    /// An attempt has failed. `lost`: the output of an attempt that it reads and could not read.
    TaskFailed { generation: u64, attempt: AttemptId, failure: Failure, lost: Option<OutputRef> },
    /// It has run, or made no progress, for longer than its job allows.
    TaskOverdue { generation: u64, attempt: AttemptId, failure: Failure },
    /// The coordinator chose this attempt as its task's winner.
    Granted(AttemptId),
    /// Its parts are in their staging folders.
    Published(AttemptId),
    /// Its parts could not be placed there.
    PublishFailed(AttemptId, Failure),
    /// The coordinator does not need this attempt any more.
    Revoked(AttemptId),
    /// A running attempt that was asked to stop has not done so in time.
    CancelOverdue(AttemptId),
    /// The job is over, or restarts.
    JobDropped(JobId),
    /// An earlier incarnation of this worker has left this attempt's outputs.
    Kept(AttemptId, TaskReport),
    /// The worker is stopping.
    Stopping,
}

/// Why inputs could not be staged.
#[derive(Clone, Debug, PartialEq)]
pub enum StageError {
    /// They are not available here.
    Failed(Failure),
    /// This output is unavailable: the coordinator has it recomputed.
    SegmentLost(Box<OutputRef>, Failure),
}

/// How an executor ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Exit {
    /// The failure of the attempt that is charged.
    pub failure: Failure,
    /// The job's own code caused it (a fatal signal, an exit), as opposed to a kill from outside.
    pub self_inflicted: bool,
    /// This worker killed it.
    pub killed_by_worker: bool,
    /// It ignored its tasks, and this worker killed it for that.
    pub stuck: bool,
    /// The attempt whose own thread caused it, if known.
    pub guilty: Option<AttemptId>,
}
