//! The reasons why a stopping worker must wait.

use crate::state::{Attempt, Attempts, State};
use windrow_model::{OutputReport, TaskOutput};

/// Numbers of attempts whose work would be repeated elsewhere if the worker ended now. Published parts, and results
/// inside of a report, are with the coordinator and need no worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// They run or are queued.
    pub running: usize,
    /// Done, with parts that are not published.
    pub unpublished: usize,
    /// Done, with segments that tasks of running jobs may read.
    pub served: usize,
}

impl Needs {
    /// Nothing needs the worker.
    pub fn is_nothing(&self) -> bool {
        *self == Needs::default()
    }
}

impl Attempts {
    /// The reasons why a stopping worker must wait.
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        for attempt in self.attempts.values() {
            let Attempt { state, report, task, .. } = attempt;
            let has_segments = |o: &OutputReport| matches!(o, OutputReport::Edge(edge) if !edge.is_empty());
            let is_sink = |o: &TaskOutput| matches!(o, TaskOutput::Sink { .. });
            match (state, report) {
                (State::Done | State::Published, Some(r)) if r.outputs.iter().any(has_segments) => needs.served += 1,
                (State::Done, _) if task.outputs.iter().any(is_sink) => needs.unpublished += 1,
                (State::Done | State::Published, _) => {}
                (State::Granted, _) => needs.unpublished += 1,
                _ => needs.running += 1,
            }
        }
        needs
    }
}
