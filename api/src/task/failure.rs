//! Why an attempt ends without a result.

use crate::error::Error;
use windrow_engine::EngineError;
use windrow_model::Failure;

/// Why an attempt ended without a result.
#[derive(Debug)]
pub(crate) struct TaskError {
    /// The error that ended the attempt.
    pub failure: Box<Failure>,
    /// The input segment that could not be read: (input, position in the input).
    pub segment: Option<(usize, usize)>,
}

impl From<Failure> for TaskError {
    fn from(failure: Failure) -> Self {
        TaskError { failure: Box::new(failure), segment: None }
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

/// Adds the position of the segment to an engine error of this input.
pub(crate) fn of_input(e: EngineError, input: usize) -> TaskError {
    let segment = match &e {
        EngineError::Segment { index, .. } => Some((input, *index)),
        _ => None,
    };
    TaskError { segment, ..TaskError::from(e) }
}
