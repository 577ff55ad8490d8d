//! Everything that the attempts of a worker can ask for: plain data, performed by the driver in order.

use windrow_model::{AttemptId, Failure, JobId, SegmentRef, Task, TaskReport};

/// Everything that attempts can ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make the inputs local files; answered by `Staged` or `StageFailed`.
    Stage(Box<Task>),
    /// Start the job's executor; answered by `ExecutorReady` or `ExecutorNotStarted`, later by `ExecutorEnded`.
    StartExecutor { job: JobId, generation: u64 },
    /// Give it to the executor at once, before later actions that name it.
    Run(AttemptId),
    /// Delete what an executor that died may have left in the attempt's folder; answered by `Cleared`.
    Clear(AttemptId),
    /// Ask the executor to stop this attempt; answered by its end or by `CancelOverdue`.
    Cancel(AttemptId),
    /// The same for an attempt that was revoked: it may have begun just now.
    Withdraw(AttemptId),
    /// End the job's executor by force; answered by `ExecutorEnded`.
    KillExecutor(JobId),
    /// Staged inputs are not needed any more.
    RemoveInputs(AttemptId),
    /// Finished: peers may fetch its outputs from now on.
    Serve(AttemptId),
    /// Delete all files of the attempt; peers get nothing from it any more.
    Remove(AttemptId),
    /// Move the parts for these sinks into their staging folders; answered by `Published` or `PublishFailed`.
    Publish { attempt: AttemptId, sinks: Vec<u32> },
    /// End the job's executor (`at_once`: by force) and delete all its files.
    DropJob { job: JobId, at_once: bool },
    /// Tell the coordinator.
    Report(Report),
}

/// A message to the coordinator.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// The attempt is done.
    Done(AttemptId, TaskReport),
    /// It has failed, and its files are deleted.
    Failed(AttemptId, Failure),
    /// Its parts are in their staging folders.
    Published(AttemptId),
    /// They are not: it may be granted again.
    PublishFailed(AttemptId, Failure),
    /// It has failed because this segment cannot be read.
    SegmentLost { reader: AttemptId, segment: SegmentRef, failure: Failure },
}
