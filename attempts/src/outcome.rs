//! The outcome of an attempt that has run: it is done, failed, or granted and published.

use crate::action::{Action, Report};
use crate::planted::{self, Planted};
use crate::state::{Attempt, Attempts, State};
use windrow_model::{AttemptId, Code, Failure, OutputRef, OutputReport, TaskOutput, TaskReport};

impl Attempts {
    pub(crate) fn task_done(&mut self, generation: u64, id: AttemptId, report: TaskReport, out: &mut Vec<Action>) {
        if !self.finished_running(generation, id) {
            return;
        }
        let Some(a) = self.attempts.get_mut(&id) else { return };
        if a.state == State::Cancelling {
            self.forget(id, out);
        } else if !fits(&a.task.outputs, &report.outputs) {
            self.forget(id, out);
            let message = format!("attempt {id} reported outputs that are not those of its task");
            out.push(Action::Report(Report::Failed(id, Failure::new(Code::ExecutorProtocol, message))));
        } else {
            a.state = State::Done;
            a.ticket.take().into_iter().for_each(|ticket| self.queue.leave(ticket));
            a.report = Some(report.clone());
            let cleared = self.jobs.get_mut(&id.task.job).is_some_and(|j| {
                j.stuck = 0;
                j.suspects.remove(&id.task)
            });
            out.push(Action::Serve(id));
            out.push(Action::Report(Report::Done(id, report)));
            out.push(Action::RemoveInputs(id));
            if cleared {
                self.renew_for_suspects(id.task.job, out);
            }
        }
        self.dispatch(id.task.job, out);
    }

    pub(crate) fn task_failed(
        &mut self,
        generation: u64,
        id: AttemptId,
        failure: Failure,
        lost: Option<OutputRef>,
        out: &mut Vec<Action>,
    ) {
        if !self.finished_running(generation, id) {
            return;
        }
        let Some(a) = self.attempts.get(&id) else { return };
        let cancelled = a.state == State::Cancelling;
        self.forget(id, out);
        if !cancelled && !planted::has(Planted::FailureUnreported) {
            out.push(Action::Report(match lost {
                Some(lost) => Report::SegmentLost { reader: id, lost, failure },
                None => Report::Failed(id, failure),
            }));
        }
        self.dispatch(id.task.job, out);
    }

    pub(crate) fn granted(&mut self, id: AttemptId, out: &mut Vec<Action>) {
        // Every grant is answered; a grant for an attempt that is not done here was meant for another incarnation.
        let done = |a: &&mut Attempt| matches!(a.state, State::Done | State::Granted | State::Published);
        let Some(a) = self.attempts.get_mut(&id).filter(done) else {
            let failure = Failure::new(Code::StaleAttempt, format!("attempt {id} is not done on this worker"));
            return out.push(Action::Report(Report::PublishFailed(id, failure)));
        };
        match a.state {
            State::Published if planted::has(Planted::GrantUnanswered) => {}
            State::Published => out.push(Action::Report(Report::Published(id))),
            State::Done => {
                let sinks = a.task.outputs.iter().filter_map(|output| match output {
                    TaskOutput::Sink { sink } => Some(*sink),
                    TaskOutput::Edge { .. } | TaskOutput::Broadcast => None,
                });
                let sinks: Vec<u32> = sinks.collect();
                if sinks.is_empty() {
                    a.state = State::Published;
                    out.push(Action::Report(Report::Published(id)));
                } else {
                    a.state = State::Granted;
                    out.push(Action::Publish { attempt: id, sinks });
                }
            }
            _ => {}
        }
    }
}

/// Whether a report has one answer of the right kind for each of the task's outputs.
fn fits(outputs: &[TaskOutput], reports: &[OutputReport]) -> bool {
    outputs.len() == reports.len()
        && outputs.iter().zip(reports).all(|pair| match pair {
            (TaskOutput::Edge { partitions }, OutputReport::Edge(edge)) => edge.sizes.fit(*partitions),
            (TaskOutput::Broadcast, OutputReport::Broadcast(_)) => true,
            (TaskOutput::Sink { sink }, OutputReport::Sink(part)) => part.sink == *sink,
            _ => false,
        })
}
