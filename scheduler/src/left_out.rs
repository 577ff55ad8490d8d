//! Workers that do not see the files of a job: the job leaves them out.
//!
//! A missing mount on one worker is the fault of that worker. Its answer during planning, or its first attempt that
//! fails for that reason, leaves the worker out of this job; others run the tasks. The job fails only when every live
//! worker is left out, with the failure of the last one. Outputs that a left-out worker has already made stay in use.

use crate::ledger::Cause;
use crate::note::Note;
use crate::planted::{self, Planted};
use crate::state::State;
use crate::timers::Timer;
use std::collections::BTreeMap;
use windrow_model::{AttemptId, Code, Failure, JobId, JobState, TaskId, WorkerId, WorkerState};

/// Whether a failure with this code says that a worker does not see the files of a job.
pub(crate) fn is_not_shared(code: Code) -> bool {
    matches!(code, Code::InputNotShared | Code::OutputNotShared)
}

/// Workers to which a task does not go.
#[derive(Clone, Copy)]
pub(crate) struct Shunned<'a> {
    /// Workers that its job leaves out.
    pub job: &'a BTreeMap<WorkerId, Failure>,
    /// Workers on which it failed. They are still better than none.
    pub task: &'a [WorkerId],
}

impl Shunned<'_> {
    pub(crate) fn never(&self, worker: &WorkerId) -> bool {
        !self.job.is_empty() && self.job.contains_key(worker) && !planted::has(Planted::LeftOutForgotten)
    }

    pub(crate) fn has(&self, worker: &WorkerId) -> bool {
        self.task.contains(worker) || self.never(worker)
    }
}

impl State {
    pub(crate) fn handle_left_out(&mut self, id: JobId, worker: WorkerId, failure: Failure) {
        if let Err(failure) = self.leave_out(id, worker, failure) {
            self.end_job(id, JobState::Failed, Some(failure));
        }
    }

    /// Takes a worker in again that sees the files after all.
    pub(crate) fn handle_taken_in(&mut self, id: JobId, worker: WorkerId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.left_out.remove(&worker);
        job.notes.add(|| Note::TakenIn { worker });
        if job.left_out.is_empty() {
            self.partial.remove(&id);
            // The time starts again if no worker takes tasks at all.
            self.timers.clear(Timer::Starved(id));
        }
        self.requeue(id);
    }

    /// Handles an attempt that failed because its worker does not see the files.
    pub(crate) fn failed_for_worker(
        &mut self,
        worker: WorkerId,
        attempt: AttemptId,
        failure: Failure,
        other_goes_on: bool,
    ) {
        let message = failure.message.clone();
        if let Err(failure) = self.leave_out(attempt.task.job, worker, failure) {
            return self.fail_job(worker, attempt, failure, None);
        }
        if !other_goes_on {
            self.retry_uncharged(worker, attempt, Cause::NotShared, &message);
        }
    }

    /// Leaves the worker out of this job. `Err`: no live worker is left, and the job fails with this failure.
    fn leave_out(&mut self, id: JobId, worker: WorkerId, failure: Failure) -> Result<(), Failure> {
        let Some(job) = self.jobs.get_mut(&id) else { return Ok(()) };
        job.left_out.insert(worker, failure.clone());
        job.notes.add(|| Note::LeftOut { worker, failure: Box::new(failure.clone()) });
        self.partial.insert(id);
        let left_out = &job.left_out;
        let live = self.workers.iter().filter(|(_, w)| w.state != WorkerState::Lost);
        let (live, blind) =
            live.fold((0, 0), |(n, blind), (w, _)| (n + 1, blind + usize::from(left_out.contains_key(&w))));
        // A worker that is away may have run tasks of the job: it sees the files when it returns.
        let awaited = job.workers.iter().any(|w| !left_out.contains_key(w));
        if live == blind && !awaited && job.state != JobState::Planning {
            let which = if live > 1 { format!(" (and so say all {live} workers)") } else { String::new() };
            return Err(Failure { message: format!("{}{which}", failure.message), ..failure });
        }
        let ahead: Vec<TaskId> = self.workers.get(worker).into_iter().flat_map(|w| &w.ahead).copied().collect();
        ahead.into_iter().filter(|task| task.job == id).for_each(|task| self.take_back(task));
        self.requeue(id);
        Ok(())
    }
}
