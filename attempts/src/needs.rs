//! What keeps a worker from ending.

use crate::state::{Attempt, Attempts, State};
use windrow_model::{OutputReport, TaskOutput};

/// What would have to be done again elsewhere if the worker ended now, in numbers of attempts. Parts that are published, and
/// results inside of a report, are the coordinator's: they need no worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// They run, or wait for their turn.
    pub running: usize,
    /// Done, and their parts are not where the output is made.
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
    /// What a worker that is to end waits for.
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        for attempt in self.attempts.values() {
            let Attempt { state, report, task, .. } = attempt;
            let has_segments = |o: &OutputReport| matches!(o, OutputReport::Edge(segments) if !segments.is_empty());
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
