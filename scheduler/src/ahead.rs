//! Attempts ahead of slots: a worker has some more than it can run, and fetches their inputs while others run.
//!
//! It begins them by itself, in the order of their assignment, whenever one of those before them ends; nobody has to be
//! asked first. Here the same is noted when that end is heard of. Three rules keep waiting from harming anybody:
//!
//! - A slot that is free goes to whoever has the best claim, also to what waits on a worker that is busy: it is taken back
//!   there.
//! - Whoever waits gets a slot of its worker only if nobody has a clearly better claim by then: a job of higher priority, one
//!   that has fewer attempts, or an earlier stage of the same job. Otherwise it is taken back, though its worker may have
//!   begun it just now: that costs what a message takes.
//! - What waits on a worker that gets no tasks any more is taken back, and what waits of a stage of which an input is lost.
//!
//! Nothing of this counts against a task. What is taken back waits as it did before.

use crate::action::Action;
use crate::assign::{PICKY_SCAN, suits};
use crate::left_out::Shunned;
use crate::planted::{self, Planted};
use crate::queue::Turn;
use crate::state::State;
use crate::task::Run;
use crate::worker::Seat;
use windrow_model::{JobId, StageId, TaskId, WorkerId};

/// What speaks for a task: its job's place in the queue, and its stage.
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
    /// Slots that have become free are given to those who wait for them there, or are free for others.
    pub fn begin_next(&mut self) {
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

    /// The attempt has a slot now, or its worker says that it had one.
    pub fn has_begun(&mut self, worker: WorkerId, task: TaskId) {
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

    /// Whether somebody who could run on this worker goes before a task that waits there.
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

    /// The claim of the job's next task, if that may run on this worker.
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

    /// Of what waits of a job on workers, the one of the earliest stage that was assigned last and may go where it is to: the
    /// one that would wait longest, and of which least has been fetched.
    fn ahead_for(&self, id: JobId, turn: Turn, may: impl Fn(Shunned) -> bool) -> Option<(Claim, TaskId)> {
        let job = self.jobs.get(&id)?;
        let suited = job.ahead.iter().take(PICKY_SCAN).find(|(s, _, t)| may(job.shunned(*s, *t)));
        suited.map(|(s, _, t)| {
            let task = TaskId { job: id, stage: StageId(*s as u32), index: *t as u32 };
            (Claim { turn, job: id, stage: *s }, task)
        })
    }

    /// Moves what waits on a busy worker to a free slot, unless a task that is on no worker has the better claim to it. False
    /// if there is nothing to move.
    pub fn move_to_free_slot(&mut self) -> bool {
        if planted::has(Planted::AheadKept) {
            return false;
        }
        let movable = |(turn, id)| self.ahead_for(id, turn, |shunned| suits(&self.workers, Seat::Slot, shunned));
        let Some((claim, task)) = self.ahead.iter().take(PICKY_SCAN).find_map(movable) else { return false };
        if let Some((turn, id)) = self.queue.first() {
            let stage = self.jobs.get(&id).and_then(|job| job.runnable.first().copied()).unwrap_or_default();
            if !claim.goes_before(&Claim { turn, job: id, stage }) {
                return false;
            }
        }
        self.take_back(task);
        self.start_attempt(task.job, claim.stage, task.index as usize, Seat::Slot);
        self.requeue(task.job);
        true
    }

    /// Takes a task that waits off its worker, which is told.
    pub fn take_back(&mut self, task: TaskId) {
        if let Some(run) = self.put_back(task)
            && !planted::has(Planted::AheadNotRevoked)
        {
            self.out.push(Action::Revoke { worker: run.worker, attempt: run.attempt });
        }
    }

    /// The same for all that wait on a worker.
    pub fn take_back_all(&mut self, worker: WorkerId) {
        if planted::has(Planted::AheadOnExcluded) {
            return;
        }
        let ahead: Vec<TaskId> = self.workers.get(worker).into_iter().flat_map(|w| &w.ahead).copied().collect();
        ahead.into_iter().for_each(|task| self.take_back(task));
    }

    /// Frees the places of attempts that their stage has called back, and tells their workers.
    pub fn revoke_recalled(&mut self, job: JobId) {
        let Some(job) = self.jobs.get_mut(&job).filter(|job| !job.recalled.is_empty()) else { return };
        for Run { worker, attempt } in std::mem::take(&mut job.recalled) {
            self.workers.release(worker, attempt.task);
            if !planted::has(Planted::AheadNotRevoked) {
                self.out.push(Action::Revoke { worker, attempt });
            }
        }
    }

    /// A task that waits on a worker is on none: it is in its queue again.
    pub fn put_back(&mut self, task: TaskId) -> Option<Run> {
        self.task(task).filter(|t| t.is_ahead())?;
        let (run, _) = self.stop(task)?;
        self.jobs.get_mut(&task.job)?.enqueue(task.stage.0 as usize, task.index as usize);
        self.requeue(task.job);
        Some(run)
    }
}
