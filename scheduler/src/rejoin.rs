//! A worker that begins a session says what it has, and what it says is compared with what is known of it.
//!
//! Sessions break while attempts go on, and a restarted driver knows of no attempt at all: in both cases the worker's
//! word is the truth. What it has and is of use goes on here; what is of no use is revoked; what it was thought to have
//! and does not name is run again. An attempt is of use if it read the chunks that the job has now, and if nobody else
//! has finished its task, or runs it with a backup already.

use crate::action::Action;
use crate::attempt::Standing;
use crate::event::{Left, Told};
use crate::lease::Timer;
use crate::planted::{self, Planted};
use crate::state::State;
use crate::task::{Run, Task};
use crate::uncharged::Cause;
use crate::worker::Seat;
use std::collections::BTreeSet;
use windrow_model::{AttemptId, Incarnation, JobState, NodeInfo, TaskId, WorkerId};

impl State {
    pub fn handle_joined(&mut self, node: NodeInfo, told: Vec<Told>, left: Vec<Left>) {
        let (id, life) = (node.worker, node.incarnation);
        if self.workers.get(id).is_some_and(|known| life < known.info.incarnation) {
            return;
        }
        self.timers.clear(Timer::Excluded(id));
        let reborn = self.workers.get(id).is_some_and(|known| known.info.incarnation != life);
        self.workers.join(node, self.now);
        if reborn {
            self.jobs.values_mut().for_each(|job| job.complaints.forget(id));
        }
        self.renew_lease(id);
        let has: BTreeSet<AttemptId> = told.iter().map(|t| t.attempt).collect();
        if !planted::has(Planted::NotGivenBack) {
            self.give_back(id, |attempt| match attempt.incarnation == life {
                false => Some((Cause::WorkerLost, "its worker has begun a new life")),
                true if has.contains(&attempt) => None,
                true => Some((Cause::Undelivered, "its worker does not have it")),
            });
        }
        self.pardon(id, life);
        match reborn {
            true => self.hear_left(id, left),
            false => self.forgive_pending(id),
        }
        self.note_outputs(id, life, &has);
        for one in told {
            self.hear_told(id, life, one);
        }
        self.reopen_outputs_of(id);
        if self.awaited.remove(&id) && self.awaited.is_empty() {
            self.stop_waiting();
        }
    }

    /// Which finished outputs the worker still has.
    fn note_outputs(&mut self, id: WorkerId, life: Incarnation, has: &BTreeSet<AttemptId>) {
        for job in self.jobs.values_mut() {
            for (s, t) in job.outputs_on.get(&id).into_iter().flatten() {
                if let Some(held) = &mut job.stages[*s].tasks[*t].held {
                    held.life = life;
                    held.lost = !has.contains(&held.attempt);
                }
            }
        }
    }

    fn hear_told(&mut self, worker: WorkerId, life: Incarnation, told: Told) {
        let attempt = told.attempt;
        if let Some(seat) = self.is_of_use(worker, life, &told) {
            self.adopt(worker, attempt, seat);
        }
        match (self.standing(worker, attempt), told.report) {
            (Standing::Running, Some(report)) => self.handle_done(worker, attempt, report),
            // The grant, or its answer, got lost.
            (Standing::Publishing, Some(_)) if planted::has(Planted::GrantLost) => {}
            (Standing::Publishing, Some(_)) => self.out.push(Action::Grant { worker, attempt }),
            (Standing::Running, None) | (Standing::Taken, _) => {}
            (Standing::Publishing, None) => {
                let undelivered = (Cause::Undelivered, "its worker does not have the report that it had");
                self.give_back(worker, |a| (a == attempt).then_some(undelivered));
                self.out.push(Action::Revoke { worker, attempt });
            }
            (Standing::Stale, _) => self.refuse(worker, attempt),
        }
    }

    /// If an attempt that is not known to be here is of use, what it has or gets.
    fn is_of_use(&self, worker: WorkerId, life: Incarnation, told: &Told) -> Option<Seat> {
        let TaskId { job, stage, index } = told.attempt.task;
        let job = self.jobs.get(&job).filter(|j| j.state == JobState::Running)?;
        let stage = job.stages.get(stage.0 as usize)?;
        // Beside an attempt that runs elsewhere it is a backup, as it may have been before. One that waits gives way.
        let waits = |t: &Task| t.waits() || t.is_ahead() && t.run().is_some_and(|run| run.attempt != told.attempt);
        let fits = |t: &&Task| waits(t) || t.may_have_backup_on(worker) && job.may_have_backups(stage);
        let task = stage.tasks.get(index as usize).filter(fits)?;
        let doubted = task.held.as_ref().is_some_and(|h| h.attempt == told.attempt && h.doubted);
        if doubted || told.attempt.epoch < job.split_epoch && !planted::has(Planted::OtherCut) {
            return None;
        }
        match &told.report {
            // Segments carry their checksums through a restart of the worker; a part is trusted within one life only.
            Some(_) => {
                let trusted = told.attempt.incarnation == life || !stage.has_sink() || !task.published.is_empty();
                trusted.then_some(Seat::Slot)
            }
            None => {
                // As long as others wait for a slot, two of a kind are for those only who were two before a restart.
                let pays = waits(task) || job.held || self.queue.len() + self.ahead.len() == 0;
                let allowed = task.is_ahead() || job.spec.options.slots_max.is_none_or(|max| job.uses() < max);
                let seat = self.workers.get(worker)?.seat(self.config.ahead_per_slot)?;
                // Who is second, or would wait here instead of there, is of use only if it runs.
                let has_inputs = stage.blocked_by == 0 || job.held;
                let better = seat == Seat::Slot || task.waits() && has_inputs;
                (pays && allowed && better && told.attempt.incarnation == life).then_some(seat)
            }
        }
    }

    fn adopt(&mut self, worker: WorkerId, attempt: AttemptId, seat: Seat) {
        let id = attempt.task;
        self.timers.clear(Timer::Delay(id));
        self.take_back(id);
        let (s, t) = (id.stage.0 as usize, id.index as usize);
        let (now, place, run) = (self.now, self.placed, Run { worker, attempt });
        let Some(job) = self.jobs.get_mut(&id.job) else { return };
        let bytes = job.stages[s].chunks.get(t).map_or(0, |chunk| chunk.length());
        match (job.stages[s].tasks[t].waits(), seat) {
            (true, Seat::Slot) => job.adopt(s, t, run, bytes, now),
            (true, Seat::Ahead) => job.wait_ahead(s, t, run, place, bytes, now),
            (false, _) => job.add_backup(s, t, run, now),
        }
        match seat {
            Seat::Slot => self.workers.start(worker, id),
            Seat::Ahead => self.workers.wait(worker, id),
        }
        self.placed += 1;
        self.requeue(id.job);
    }
}
