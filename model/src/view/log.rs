//! The output of attempts as programs see it.

use crate::ids::{AttemptId, WorkerId};
use serde::Serialize;
use std::borrow::Cow;

/// The kept stdout and stderr of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogView<'a> {
    /// Number of the stage in its plan.
    pub stage: u32,
    /// Number of the task in its stage.
    pub task: u32,
    /// Number of the attempt of its task.
    pub attempt: u32,
    /// Id of the worker that ran it, if known.
    pub worker: Option<String>,
    /// What it wrote; bytes that are not UTF-8 become U+FFFD.
    pub text: Cow<'a, str>,
}

impl<'a> LogView<'a> {
    /// Makes the view of what `attempt` wrote on `worker`.
    pub fn new(attempt: AttemptId, worker: Option<WorkerId>, output: &'a [u8]) -> LogView<'a> {
        LogView {
            stage: attempt.task.stage.0,
            task: attempt.task.index,
            attempt: attempt.number,
            worker: worker.map(|worker| worker.to_string()),
            text: String::from_utf8_lossy(output),
        }
    }
}
