//! Everything that the attempts of a worker can request: plain data, performed by the driver in order.

use windrow_model::{AttemptId, Failure, JobId, OutputRef, Task, TaskReport};

/// A request of the attempts to their driver.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make the inputs local files; answered by `Staged` or `StageFailed`.
    Stage(Box<Task>),
    /// Start the job's executor; answered by `ExecutorReady` or `ExecutorNotStarted`, later by `ExecutorEnded`.
    StartExecutor { job: JobId, generation: u64 },
    /// Give it to the executor at once, before later actions that name it.
    Run(AttemptId),
    /// Delete the files that a dead executor may have left of the attempt; answered by `Cleared`.
    Clear(AttemptId),
    /// Ask the executor to stop this attempt; answered by its end or by `CancelOverdue`.
    Cancel(AttemptId),
    /// The same for a revoked attempt, which may have just begun.
    Withdraw(AttemptId),
    /// End the job's executor by force; answered by `ExecutorEnded`.
    KillExecutor(JobId),
    /// Delete the staged inputs, which are not needed any more.
    RemoveInputs(AttemptId),
    /// Finished: peers may fetch its outputs from now on.
    Serve(AttemptId),
    /// Delete all files of the attempt; peers get nothing from it any more.
    Remove(AttemptId),
    /// Move the parts for these sinks into their staging folders; answered by `Published` or `PublishFailed`.
    Publish { attempt: AttemptId, sinks: Vec<u32> },
    /// End the job's executor (`at_once`: by force) and delete all its files.
    DropJob { job: JobId, at_once: bool },
    /// Send a message to the coordinator.
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
    /// Its parts could not be placed: it may be granted again.
    PublishFailed(AttemptId, Failure),
    /// It has failed because what another attempt has written cannot be read.
    SegmentLost { reader: AttemptId, lost: OutputRef, failure: Failure },
}
