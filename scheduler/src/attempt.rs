//! The fence: the scheduler accepts messages only about the current attempt of a task and about its backup.
//!
//! An attempt is named by task, number, epoch and incarnation. It is current if it is exactly the attempt that the
//! task runs or publishes, on the worker that sends the message. A message about any other attempt is late and has no
//! effect; a late result is answered with `Revoke`, so that the worker deletes its files. A repeated report of the
//! attempt whose outputs are in use does not lead to their deletion.

use crate::action::Action;
use crate::ledger::Cause;
use crate::note::{Note, Stopped};
use crate::planted::{self, Planted};
use crate::state::State;
use crate::task::{Run, Task, TaskState};
use windrow_model::{AttemptId, Code, Failure, OutputReport, TaskId, TaskOutput, TaskReport, WorkerId};

/// The state of an attempt from the scheduler's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It runs, or it is queued on its worker.
    Running,
    Publishing,
    /// It is over, and its outputs are in use.
    Taken,
    Stale,
}

impl State {
    pub(crate) fn task(&self, id: TaskId) -> Option<&Task> {
        self.jobs.get(&id.job)?.stages.get(id.stage.0 as usize)?.tasks.get(id.index as usize)
    }

    pub(crate) fn task_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        self.jobs.get_mut(&id.job)?.stages.get_mut(id.stage.0 as usize)?.tasks.get_mut(id.index as usize)
    }

    pub(crate) fn standing(&self, worker: WorkerId, attempt: AttemptId) -> Standing {
        let Some(task) = self.task(attempt.task) else { return Standing::Stale };
        if planted::has(Planted::NoFence) && matches!(task.state, TaskState::Running(_)) {
            return Standing::Running;
        }
        let current = Run { worker, attempt };
        match &task.state {
            TaskState::Running(_) if task.runs().any(|run| run == current) => Standing::Running,
            TaskState::QueuedOnWorker { run, .. } if *run == current => Standing::Running,
            TaskState::Publishing(run, _) if *run == current => Standing::Publishing,
            _ if task.is_done() && task.held.as_ref().is_some_and(|h| h.attempt == attempt) => Standing::Taken,
            _ if task.published.iter().any(|p| p.attempt == attempt) => Standing::Taken,
            _ => Standing::Stale,
        }
    }

    /// Any message of this incarnation of a worker shows that it is alive.
    pub(crate) fn heard(&mut self, worker: WorkerId, attempt: AttemptId) {
        if self.workers.is_live(worker, attempt.incarnation) {
            self.renew_lease(worker);
        }
    }

    /// Ends the attempt that is on a worker and releases its slot; its backup is revoked. The task is in no queue
    /// afterwards: the caller enqueues it or marks it finished.
    pub(crate) fn stop(&mut self, id: TaskId) -> Option<(Run, Option<Box<TaskReport>>)> {
        self.revoke_backup(id);
        let job = self.jobs.get_mut(&id.job)?;
        let (run, report) = job.end_attempt(id.stage.0 as usize, id.index as usize)?;
        self.workers.release(run.worker, id);
        self.requeue(id.job);
        Some((run, report))
    }

    /// Ends one attempt of a task. False if it was the only one: then the task is in no queue, as after `stop`.
    pub(crate) fn stop_one(&mut self, attempt: AttemptId) -> bool {
        let id = attempt.task;
        let Some(backup) = self.task(id).and_then(|t| t.backup.as_ref()) else {
            self.stop(id);
            return false;
        };
        if backup.run.attempt != attempt {
            let other = backup.run.attempt;
            self.task_mut(id).into_iter().for_each(|task| task.prefer(other));
        }
        self.end_backup(id);
        true
    }

    /// The other attempt has won: this one is revoked.
    fn revoke_backup(&mut self, id: TaskId) {
        let Some(run) = self.end_backup(id) else { return };
        self.note_stopped(run, Stopped::OtherWon);
        if !planted::has(Planted::LoserNotRevoked) {
            self.out.push(Action::Revoke { worker: run.worker, attempt: run.attempt });
        }
    }

    /// Notes the end of an attempt that has neither finished nor failed.
    pub(crate) fn note_stopped(&mut self, run: Run, why: Stopped) {
        let Run { worker, attempt } = run;
        self.note(attempt.task.job, || Note::Stopped { worker, attempt, why });
    }

    /// Notes the end of an attempt with this failure.
    pub(crate) fn note_failure(&mut self, run: Run, failure: &Failure, charged: bool, cause: Option<Cause>) {
        let Run { worker, attempt } = run;
        self.note(attempt.task.job, || {
            let failure = Box::new(failure.clone());
            Note::Failed { worker, attempt, failure, charged, cause }
        });
    }

    fn end_backup(&mut self, id: TaskId) -> Option<Run> {
        let run = self.jobs.get_mut(&id.job)?.end_backup(id.stage.0 as usize, id.index as usize)?;
        self.workers.release(run.worker, id);
        self.requeue(id.job);
        Some(run)
    }

    /// Makes this attempt the only one of the task.
    pub(crate) fn choose(&mut self, attempt: AttemptId) {
        if !planted::has(Planted::NotPreferred) {
            self.task_mut(attempt.task).into_iter().for_each(|task| task.prefer(attempt));
        }
        self.revoke_backup(attempt.task);
    }

    /// Revokes an attempt that is of no use, so that its files are deleted. If they are outputs of a task that runs
    /// again, they are lost.
    pub(crate) fn refuse(&mut self, worker: WorkerId, attempt: AttemptId) {
        let held = self.task_mut(attempt.task).and_then(|t| t.held.as_mut());
        if let Some(held) = held.filter(|h| h.attempt == attempt && h.worker == worker) {
            held.lost = true;
        }
        self.out.push(Action::Revoke { worker, attempt });
    }

    pub(crate) fn handle_done(&mut self, worker: WorkerId, attempt: AttemptId, report: TaskReport) {
        self.heard(worker, attempt);
        match self.standing(worker, attempt) {
            Standing::Stale => self.refuse(worker, attempt),
            Standing::Publishing | Standing::Taken => {}
            Standing::Running => {
                self.has_begun(worker, attempt.task);
                let fits = match self.jobs.get(&attempt.task.job) {
                    Some(job) => fits(&report, &job.stages[attempt.task.stage.0 as usize].outputs),
                    None => Ok(()),
                };
                match fits {
                    Ok(()) => match self.check_collected(attempt.task, &report.outputs) {
                        Ok(()) => self.take_report(worker, attempt, report),
                        Err(failure) => self.attempt_failed(worker, attempt, failure),
                    },
                    Err(what) => {
                        let message = format!("the report does not fit the stage: {what}");
                        self.attempt_failed(worker, attempt, Failure::new(Code::ExecutorProtocol, message));
                    }
                }
            }
        }
    }
}

/// Checks the parts of a report that the rest of the scheduler relies on.
fn fits(report: &TaskReport, outputs: &[TaskOutput]) -> Result<(), String> {
    if report.outputs.len() != outputs.len() {
        return Err(format!("{} outputs, expected {}", report.outputs.len(), outputs.len()));
    }
    for (i, (got, expected)) in report.outputs.iter().zip(outputs).enumerate() {
        match (got, expected) {
            (OutputReport::Edge(edge), TaskOutput::Edge { partitions }) => {
                if !edge.sizes.fit(*partitions) {
                    return Err(format!("the hints on sizes of output {i} are not for its {partitions} partitions"));
                }
            }
            (OutputReport::Broadcast(_) | OutputReport::Stored(_), TaskOutput::Broadcast) => {}
            (OutputReport::Sink(part), TaskOutput::Sink { sink }) if part.sink == *sink => {}
            _ => return Err(format!("output {i} is of another kind")),
        }
    }
    Ok(())
}
