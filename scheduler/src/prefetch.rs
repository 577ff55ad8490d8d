//! Prefetch: a worker holds a few more attempts than it has slots and fetches their inputs while others run.
//!
//! The worker starts queued attempts by itself, in the order of assignment, whenever a running one ends; it needs no
//! message for that. The scheduler follows when it receives the end of the running one. Three rules prevent harm by
//! queueing:
//!
//! - A free slot goes to the task with the best claim, also to one that is queued on a busy worker: that attempt is
//!   revoked there.
//! - A queued attempt gets a slot of its worker only if no other task has a clearly better claim by then: a job of
//!   higher priority, a job with fewer attempts, or an earlier stage of the same job. Otherwise it is revoked, even if
//!   its worker may have just started it: that costs one message.
//! - An attempt is revoked if it is queued on a worker that gets no more tasks, or if an input of its stage is lost.
//!
//! None of this is charged to a task. A task whose queued attempt is revoked waits as before.

use crate::action::Action;
use crate::assign::{PICKY_SCAN, suits};
use crate::left_out::Shunned;
use crate::note::{Note, Stopped, Why};
use crate::planted::{self, Planted};
use crate::queue::Turn;
use crate::state::State;
use crate::task::Run;
use crate::workers::Placement;
use windrow_model::{JobId, StageId, TaskId, WorkerId};

/// What decides between two tasks: the position of the job in the queue, then the stage.
#[derive(Clone, Copy)]
struct Claim {
    turn: Turn,
    job: JobId,
    stage: usize,
}

impl Claim {
    fn goes_before(&self, other: &Claim) -> bool {
        if self.job == other.job { self.stage < other.stage } else { self.turn.beats(&other.turn) }
    }
}

impl State {
    /// Gives each free slot to the attempt queued first on that worker, or frees it for a task with a better claim.
    pub(crate) fn begin_next(&mut self) {
        while let Some((worker, task)) = self.workers.next() {
            if planted::has(Planted::NotBegun) {
                return;
            }
            match self.is_outdone(worker, task) {
                true => self.take_back(task),
                false => self.has_begun(worker, task),
            }
        }
    }

    /// The attempt has a slot now, or its worker reports that it had one.
    pub(crate) fn has_begun(&mut self, worker: WorkerId, task: TaskId) {
        if !self.task(task).is_some_and(|t| t.is_ahead()) {
            return;
        }
        let now = self.now;
        if let Some(job) = self.jobs.get_mut(&task.job) {
            job.can_begin(task.stage.0 as usize, task.index as usize, now);
            self.workers.begin(worker, task);
            self.requeue(task.job);
        }
    }

    /// Whether another task that could run on this worker has a better claim than the one queued there.
    fn is_outdone(&self, worker: WorkerId, task: TaskId) -> bool {
        let Some(job) = self.jobs.get(&task.job) else { return true };
        let own = Claim { turn: job.claim(), job: task.job, stage: task.stage.0 as usize };
        let outdone_by = |id| {
            let waits = self.queue.get(id).and_then(|turn| self.claim_on(id, turn, worker));
            let ahead = self.ahead.get(id).and_then(|turn| self.ahead_for(id, turn, |shunned| !shunned.has(&worker)));
            waits.is_some_and(|c| c.goes_before(&own)) || ahead.is_some_and(|(c, _)| c.goes_before(&own))
        };
        let first = [self.queue.first(), self.ahead.first()];
        outdone_by(own.job) || first.into_iter().flatten().any(|(_, id)| id != own.job && outdone_by(id))
    }

    /// The claim of the job's next task, if that task may run on this worker.
    fn claim_on(&self, id: JobId, turn: Turn, worker: WorkerId) -> Option<Claim> {
        let job = self.jobs.get(&id)?;
        let stage = *job.runnable.first()?;
        if job.left_out.contains_key(&worker) {
            return None;
        }
        let of = &job.stages[stage];
        let mut picky = of.picky.iter().take(PICKY_SCAN).map(|t| &of.tasks[*t].avoid);
        let suits = !of.waiting.is_empty() || picky.any(|avoid| !avoid.contains(&worker));
        suits.then_some(Claim { turn, job: id, stage })
    }

    /// The queued attempt of the job that may be moved: of the earliest stage, the one that was assigned last. It
    /// would wait longest, and its worker has fetched least of its input.
    fn ahead_for(&self, id: JobId, turn: Turn, may: impl Fn(Shunned) -> bool) -> Option<(Claim, TaskId)> {
        let job = self.jobs.get(&id)?;
        let suited = job.ahead.iter().take(PICKY_SCAN).find(|(s, _, t)| may(job.shunned(*s, *t)));
        suited.map(|(s, _, t)| {
            let task = TaskId { job: id, stage: StageId(*s as u32), index: *t as u32 };
            (Claim { turn, job: id, stage: *s }, task)
        })
    }

    /// Moves an attempt queued on a busy worker to a free slot, unless a task without an attempt has the better claim.
    /// False if there is nothing to move.
    pub(crate) fn move_to_free_slot(&mut self) -> bool {
        if planted::has(Planted::AheadKept) {
            return false;
        }
        let movable = |(turn, id)| self.ahead_for(id, turn, |shunned| suits(&self.workers, Placement::Slot, shunned));
        let Some((claim, task)) = self.ahead.iter().take(PICKY_SCAN).find_map(movable) else { return false };
        if let Some((turn, id)) = self.queue.first() {
            let stage = self.jobs.get(&id).and_then(|job| job.runnable.first().copied()).unwrap_or_default();
            if !claim.goes_before(&Claim { turn, job: id, stage }) {
                return false;
            }
        }
        self.take_back(task);
        self.start_attempt(task.job, claim.stage, task.index as usize, Placement::Slot);
        self.requeue(task.job);
        true
    }

    /// Takes a queued task off its worker and revokes the attempt there.
    pub(crate) fn take_back(&mut self, task: TaskId) {
        let Some(run) = self.put_back(task) else { return };
        self.note_stopped(run, Stopped::TakenBack);
        self.task_mut(task).into_iter().for_each(|task| task.why = Why::TakenBack);
        if !planted::has(Planted::AheadNotRevoked) {
            self.out.push(Action::Revoke { worker: run.worker, attempt: run.attempt });
        }
    }

    /// Takes all queued tasks off a worker.
    pub(crate) fn take_back_all(&mut self, worker: WorkerId) {
        if planted::has(Planted::AheadOnExcluded) {
            return;
        }
        let ahead: Vec<TaskId> = self.workers.get(worker).into_iter().flat_map(|w| &w.ahead).copied().collect();
        ahead.into_iter().for_each(|task| self.take_back(task));
    }

    /// Releases and revokes the queued attempts that their stage has recalled.
    pub(crate) fn revoke_recalled(&mut self, job: JobId) {
        let Some(job) = self.jobs.get_mut(&job).filter(|job| !job.recalled.is_empty()) else { return };
        for Run { worker, attempt } in std::mem::take(&mut job.recalled) {
            self.workers.release(worker, attempt.task);
            job.notes.add(|| Note::Stopped { worker, attempt, why: Stopped::InputsLost });
            let TaskId { stage, index, .. } = attempt.task;
            job.stages[stage.0 as usize].tasks[index as usize].why = Why::TakenBack;
            if !planted::has(Planted::AheadNotRevoked) {
                self.out.push(Action::Revoke { worker, attempt });
            }
        }
    }

    /// Puts a queued task back into its job's queue, off its worker.
    pub(crate) fn put_back(&mut self, task: TaskId) -> Option<Run> {
        self.task(task).filter(|t| t.is_ahead())?;
        let (run, _) = self.stop(task)?;
        self.jobs.get_mut(&task.job)?.enqueue(task.stage.0 as usize, task.index as usize);
        self.requeue(task.job);
        Some(run)
    }
}
