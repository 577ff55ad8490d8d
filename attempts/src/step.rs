//! Handles one event and returns the actions that follow: how attempts arrive, wait, stop and leave. `executor.rs` and
//! `outcome.rs` handle the events of executors.

use crate::action::{Action, Report};
use crate::event::{Event, StageError};
use crate::planted::{self, Planted};
use crate::state::{Attempt, Attempts, Executor, State};
use std::collections::BTreeSet;
use windrow_model::{AttemptId, JobId, Task};

impl Attempts {
    /// Handles one event; the actions are to be performed in order.
    pub fn step(&mut self, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        match event {
            Event::Assigned(task) => self.assigned(task, &mut out),
            Event::Staged(id) => self.becomes_ready(id, State::Staging, &mut out),
            Event::Cleared(_) if planted::has(Planted::ClearedForgotten) => {}
            Event::Cleared(id) => self.becomes_ready(id, State::Clearing, &mut out),
            Event::StageFailed(id, error) => {
                if self.attempts.get(&id).is_some_and(|a| a.state == State::Staging) {
                    let report = match error {
                        StageError::Failed(failure) => Report::Failed(id, failure),
                        StageError::SegmentLost(lost, failure) => {
                            Report::SegmentLost { reader: id, lost: *lost, failure }
                        }
                    };
                    self.forget(id, &mut out);
                    out.push(Action::Report(report));
                }
            }
            Event::ExecutorReady { job, generation } => {
                if let Some(j) = self.jobs.get_mut(&job)
                    && matches!(j.executor, Executor::Starting { generation: g } if g == generation)
                {
                    j.executor = Executor::Ready { generation, running: BTreeSet::new(), condemned: false };
                    j.killed_starts = 0;
                    self.dispatch(job, &mut out);
                }
            }
            Event::ExecutorNotStarted { job, generation, failure, killed } => {
                self.not_started(job, generation, failure, killed, &mut out)
            }
            Event::ExecutorEnded { job, generation, exit } => self.ended(job, generation, exit, &mut out),
            Event::TaskDone { generation, attempt, report } => self.task_done(generation, attempt, report, &mut out),
            Event::TaskFailed { generation, attempt, failure, lost } => {
                self.task_failed(generation, attempt, failure, lost, &mut out)
            }
            Event::TaskOverdue { generation, attempt, failure } => {
                let here = self.running(generation, attempt.task.job).is_some_and(|r| r.contains(&attempt));
                if let Some(a) = self.attempts.get_mut(&attempt).filter(|a| here && a.state == State::Running) {
                    // It may never notice the request to stop: then its executor is killed, and its neighbours rerun.
                    a.state = State::Cancelling;
                    a.ticket.take().into_iter().for_each(|ticket| self.queue.leave(ticket));
                    out.push(Action::Report(Report::Failed(attempt, failure)));
                    out.push(Action::Cancel(attempt));
                }
            }
            Event::Granted(id) => self.granted(id, &mut out),
            Event::Published(id) => {
                if let Some(a) = self.attempts.get_mut(&id).filter(|a| a.state == State::Granted) {
                    a.state = State::Published;
                    out.push(Action::Report(Report::Published(id)));
                }
            }
            Event::PublishFailed(id, failure) => {
                if let Some(a) = self.attempts.get_mut(&id).filter(|a| a.state == State::Granted) {
                    a.state = State::Done;
                    out.push(Action::Report(Report::PublishFailed(id, failure)));
                }
            }
            Event::Revoked(id) => self.revoked(id, &mut out),
            Event::CancelOverdue(id) => {
                if self.attempts.get(&id).is_some_and(|a| a.state == State::Cancelling)
                    && let Some(j) = self.jobs.get_mut(&id.task.job)
                    && let Executor::Ready { condemned, .. } = &mut j.executor
                    && !std::mem::replace(condemned, true)
                {
                    out.push(Action::KillExecutor(id.task.job));
                }
            }
            Event::JobDropped(job) => self.drop_job(job, false, &mut out),
            Event::Kept(id, report) => {
                let task = Task {
                    attempt: id,
                    inputs: Vec::new(),
                    outputs: Vec::new(),
                    job_input_bytes: 0,
                    skip_keys: Vec::new(),
                };
                let (task, report) = (Box::new(task), Some(report));
                let kept = Attempt { task, state: State::Done, ticket: None, report };
                self.attempts.insert(id, kept);
                self.jobs.entry(id.task.job).or_default();
                out.push(Action::Serve(id));
            }
            Event::Stopping => {
                for job in self.jobs.keys().copied().collect::<Vec<_>>() {
                    self.drop_job(job, true, &mut out);
                }
            }
        }
        for id in self.queue.take_newly_eligible() {
            if !planted::has(Planted::QueueStalls) && self.attempts.get(&id).is_some_and(|a| a.state == State::Ready) {
                self.dispatch(id.task.job, &mut out);
            }
        }
        out
    }

    pub(crate) fn assigned(&mut self, task: Box<Task>, out: &mut Vec<Action>) {
        let id = task.attempt;
        if self.attempts.contains_key(&id) {
            return;
        }
        let ticket = Some(self.queue.enter(id));
        let attempt = Attempt { task: task.clone(), state: State::Staging, ticket, report: None };
        self.attempts.insert(id, attempt);
        self.jobs.entry(id.task.job).or_default().assigned = true;
        out.push(Action::Stage(task));
        // The executor starts while inputs are staged.
        self.dispatch(id.task.job, out);
    }

    /// Makes the attempt ready to run, if it is in state `from`.
    pub(crate) fn becomes_ready(&mut self, id: AttemptId, from: State, out: &mut Vec<Action>) {
        let Some(a) = self.attempts.get_mut(&id).filter(|a| a.state == from) else { return };
        a.state = State::Ready;
        if let Some(j) = self.jobs.get_mut(&id.task.job) {
            match from {
                // It is older than those that have not run yet.
                State::Clearing => j.ready.push_front(id),
                _ => j.ready.push_back(id),
            }
        }
        self.dispatch(id.task.job, out);
    }

    pub(crate) fn revoked(&mut self, id: AttemptId, out: &mut Vec<Action>) {
        let Some(a) = self.attempts.get_mut(&id) else { return };
        match a.state {
            State::Running => {
                a.state = State::Cancelling;
                a.ticket.take().into_iter().for_each(|ticket| self.queue.leave(ticket));
                out.push(Action::Withdraw(id));
            }
            State::Cancelling => {}
            State::Staging | State::Ready if planted::has(Planted::RevocationLost) => {}
            _ => {
                if let Some(j) = self.jobs.get_mut(&id.task.job) {
                    j.ready.retain(|r| *r != id);
                }
                self.forget(id, out);
                self.dispatch(id.task.job, out);
            }
        }
    }

    pub(crate) fn drop_job(&mut self, job: JobId, at_once: bool, out: &mut Vec<Action>) {
        if self.jobs.remove(&job).is_some() {
            self.attempts.retain(|id, _| id.task.job != job);
            self.queue.leave_all(job);
            if !planted::has(Planted::DropForgotten) {
                out.push(Action::DropJob { job, at_once });
            }
        }
    }

    pub(crate) fn forget(&mut self, id: AttemptId, out: &mut Vec<Action>) {
        let ticket = self.attempts.remove(&id).and_then(|a| a.ticket);
        if !planted::has(Planted::SlotKept) {
            ticket.into_iter().for_each(|ticket| self.queue.leave(ticket));
        }
        out.push(Action::Remove(id));
        let job = id.task.job;
        // The coordinator does not end a job that only an earlier incarnation of this worker knew.
        let left_over = self.jobs.get(&job).is_some_and(|j| !j.assigned);
        if left_over && !self.attempts.keys().any(|a| a.task.job == job) {
            self.drop_job(job, false, out);
        }
    }
}
