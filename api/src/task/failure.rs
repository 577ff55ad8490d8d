//! Why an attempt ends without a result.

use crate::error::Error;
use windrow_engine::{EngineError, Identity, LocalSegment};
use windrow_model::{AttemptId, Epoch, Failure, Incarnation, JobId, StageId, TaskId};

/// Why an attempt ended without a result.
#[derive(Debug)]
pub(crate) struct TaskError {
    /// The error that ended the attempt.
    pub failure: Box<Failure>,
    /// What it could not read, if that is the cause.
    pub lost: Option<Box<LostOutput>>,
}

/// What an attempt has written to one output, and a reader could not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LostOutput {
    /// The attempt. Its incarnation is zero: blocks and indexes do not have it.
    pub attempt: AttemptId,
    /// Index of the output within the attempt's stage.
    pub output: u32,
}

impl LostOutput {
    /// The output that blocks of this identity belong to.
    pub(crate) fn of(identity: &Identity) -> LostOutput {
        let Identity { job, stage, task, attempt, epoch, output, .. } = *identity;
        let task = TaskId { job: JobId::from_bytes(job), stage: StageId(stage), index: task };
        let attempt = AttemptId { task, number: attempt, epoch: Epoch(epoch), incarnation: Incarnation(0) };
        LostOutput { attempt, output }
    }
}

impl TaskError {
    /// The error of a reader of these segments, with the output that it could not read if the error names a segment.
    pub(crate) fn of_input(e: EngineError, segments: &[LocalSegment]) -> TaskError {
        let segment = match &e {
            EngineError::Segment { index, .. } => segments.get(*index),
            _ => None,
        };
        let lost = segment.map(|segment| Box::new(LostOutput::of(&segment.identity)));
        TaskError { lost, ..TaskError::from(e) }
    }
}

impl From<Failure> for TaskError {
    fn from(failure: Failure) -> Self {
        TaskError { failure: Box::new(failure), lost: None }
    }
}
impl From<Error> for TaskError {
    fn from(e: Error) -> Self {
        e.into_failure().into()
    }
}
impl From<EngineError> for TaskError {
    fn from(e: EngineError) -> Self {
        Failure::from(e).into()
    }
}

pub(crate) type TaskResult<T> = Result<T, TaskError>;
