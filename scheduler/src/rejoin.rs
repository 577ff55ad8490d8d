//! Compares what a worker reports at the beginning of a session with what the scheduler knows about it.
//!
//! A session can break while attempts continue, and a restarted driver knows no attempts at all: in both cases the
//! worker's report is the truth. Attempts that it holds and that are of use continue; those that are of no use are
//! revoked; tasks whose attempt it does not name run again. An attempt is of use if it read the chunks that the job
//! has now, and if no other attempt has finished its task or runs it with a backup already.

use crate::action::Action;
use crate::attempt::Standing;
use crate::event::{HeldAttempt, Left};
use crate::ledger::Cause;
use crate::note::Why;
use crate::planted::{self, Planted};
use crate::state::State;
use crate::task::{Run, Task};
use crate::timers::Timer;
use crate::workers::Placement;
use std::collections::BTreeSet;
use windrow_model::{AttemptId, Incarnation, JobState, NodeInfo, TaskId, WorkerId};

impl State {
    pub(crate) fn handle_joined(&mut self, node: NodeInfo, held: Vec<HeldAttempt>, left: Vec<Left>) {
        let (id, incarnation) = (node.worker, node.incarnation);
        if self.workers.get(id).is_some_and(|known| incarnation < known.info.incarnation) {
            return;
        }
        self.timers.clear(Timer::Excluded(id));
        let reborn = self.workers.get(id).is_some_and(|known| known.info.incarnation != incarnation);
        self.workers.join(node, self.now);
        if reborn {
            self.jobs.values_mut().for_each(|job| job.fetch_failures.forget(id));
        }
        self.renew_lease(id);
        let has: BTreeSet<AttemptId> = held.iter().map(|t| t.attempt).collect();
        if !planted::has(Planted::NotGivenBack) {
            self.give_back(id, |attempt| match attempt.incarnation == incarnation {
                false => Some((Cause::WorkerLost, "its worker has started a new incarnation")),
                true if has.contains(&attempt) => None,
                true => Some((Cause::Undelivered, "its worker does not have it")),
            });
        }
        self.pardon(id, incarnation);
        match reborn {
            true => self.hear_left(id, left),
            false => self.forgive_pending(id),
        }
        self.note_outputs(id, incarnation, &has);
        for one in held {
            self.handle_held_attempt(id, incarnation, one);
        }
        self.reopen_outputs_of(id);
        if self.awaited.remove(&id) && self.awaited.is_empty() {
            self.stop_waiting();
        }
    }

    /// Records which finished outputs the worker still has.
    fn note_outputs(&mut self, id: WorkerId, incarnation: Incarnation, has: &BTreeSet<AttemptId>) {
        for job in self.jobs.values_mut() {
            for (s, t) in job.outputs_on.get(&id).into_iter().flatten() {
                if let Some(held) = &mut job.stages[*s].tasks[*t].held {
                    held.incarnation = incarnation;
                    held.lost = !has.contains(&held.attempt);
                }
            }
        }
    }

    fn handle_held_attempt(&mut self, worker: WorkerId, incarnation: Incarnation, held: HeldAttempt) {
        let attempt = held.attempt;
        if let Some(placement) = self.is_of_use(worker, incarnation, &held) {
            self.adopt(worker, attempt, placement);
        }
        match (self.standing(worker, attempt), held.report) {
            (Standing::Running, Some(report)) => self.handle_done(worker, attempt, report),
            // The grant or its answer was lost.
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

    /// Whether an attempt of which the scheduler does not know is of use, and the placement that it gets.
    fn is_of_use(&self, worker: WorkerId, incarnation: Incarnation, held: &HeldAttempt) -> Option<Placement> {
        let TaskId { job, stage, index } = held.attempt.task;
        let job = self.jobs.get(&job).filter(|j| j.state == JobState::Running)?;
        let stage = job.stages.get(stage.0 as usize)?;
        // Beside an attempt that runs elsewhere it becomes a backup, as it may have been before. A queued attempt
        // gives way.
        let waits = |t: &Task| t.waits() || t.is_ahead() && t.run().is_some_and(|run| run.attempt != held.attempt);
        let fits = |t: &&Task| waits(t) || t.may_have_backup_on(worker) && job.may_have_backups(stage);
        let task = stage.tasks.get(index as usize).filter(fits)?;
        let doubted = task.held.as_ref().is_some_and(|h| h.attempt == held.attempt && h.doubted)
            || task.ledger.as_ref().is_some_and(|ledger| ledger.damaged.contains(&held.attempt));
        if doubted || held.attempt.epoch < job.split_epoch && !planted::has(Planted::OtherCut) {
            return None;
        }
        match &held.report {
            // Segments carry their checksums through a restart of the worker; a part is valid within one incarnation
            // only.
            Some(_) => {
                let trusted =
                    held.attempt.incarnation == incarnation || !stage.has_sink() || !task.published.is_empty();
                trusted.then_some(Placement::Slot)
            }
            None => {
                // While other tasks wait for a slot, only a task that had two attempts before a restart keeps both.
                let pays = waits(task) || job.held || self.queue.len() + self.ahead.len() == 0;
                let allowed = task.is_ahead() || job.spec.options.slots_max.is_none_or(|max| job.uses() < max);
                let placement = self.workers.get(worker)?.placement(self.config.prefetch_per_slot)?;
                // A second attempt, or one that would be queued here instead of there, is of use only if it runs.
                let has_inputs = stage.blocked_by == 0 || job.held;
                let better = placement == Placement::Slot || task.waits() && has_inputs;
                (pays && allowed && better && held.attempt.incarnation == incarnation).then_some(placement)
            }
        }
    }

    fn adopt(&mut self, worker: WorkerId, attempt: AttemptId, placement: Placement) {
        let id = attempt.task;
        self.timers.clear(Timer::Delay(id));
        self.take_back(id);
        let (s, t) = (id.stage.0 as usize, id.index as usize);
        let (now, place, run) = (self.now, self.placed, Run { worker, attempt });
        let Some(job) = self.jobs.get_mut(&id.job) else { return };
        let bytes = job.stages[s].chunks.get(t).map_or(0, |chunk| chunk.length());
        // Its next attempt begins for another reason.
        let before = std::mem::replace(&mut job.stages[s].tasks[t].why, Why::Rejoined);
        match (job.stages[s].tasks[t].waits(), placement) {
            (true, Placement::Slot) => job.adopt(s, t, run, bytes, now),
            (true, Placement::Queue) => job.wait_ahead(s, t, run, place, bytes, now),
            (false, _) => job.add_backup(s, t, run, now),
        }
        job.stages[s].tasks[t].why = before;
        match placement {
            Placement::Slot => self.workers.start(worker, id),
            Placement::Queue => self.workers.wait(worker, id),
        }
        self.placed += 1;
        self.requeue(id.job);
    }
}
