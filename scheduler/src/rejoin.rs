//! A worker that begins a session says what it has, and what it says is compared with what is known of it.
//!
//! Sessions break while attempts go on, and a restarted driver knows of no attempt at all: in both cases the worker's
//! word is the truth. What it has and is of use goes on here; what is of no use is revoked; what it was thought to have
//! and does not name is run again. An attempt is of use if it read the chunks that the job has now, and if nobody else
//! has finished its task, or runs it with a backup already.

use crate::action::Action;
use crate::attempt::Standing;
use crate::event::Told;
use crate::lease::Timer;
use crate::planted::{self, Planted};
use crate::state::State;
use crate::task::{Run, Task};
use std::collections::BTreeSet;
use windrow_model::{AttemptId, Incarnation, JobState, NodeInfo, TaskId, WorkerId};

impl State {
    pub fn handle_joined(&mut self, node: NodeInfo, told: Vec<Told>) {
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
            self.give_back(id, |attempt| attempt.incarnation != life || !has.contains(&attempt));
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
        if self.is_of_use(worker, life, &told) {
            self.adopt(worker, attempt);
        }
        match (self.standing(worker, attempt), told.report) {
            (Standing::Running, Some(report)) => self.handle_done(worker, attempt, report),
            // The grant, or its answer, got lost.
            (Standing::Publishing, Some(_)) if planted::has(Planted::GrantLost) => {}
            (Standing::Publishing, Some(_)) => self.out.push(Action::Grant { worker, attempt }),
            (Standing::Running, None) | (Standing::Taken, _) => {}
            (Standing::Publishing, None) => {
                self.give_back(worker, |a| a == attempt);
                self.out.push(Action::Revoke { worker, attempt });
            }
            (Standing::Stale, _) => self.refuse(worker, attempt),
        }
    }

    fn is_of_use(&self, worker: WorkerId, life: Incarnation, told: &Told) -> bool {
        let TaskId { job, stage, index } = told.attempt.task;
        let Some(job) = self.jobs.get(&job).filter(|j| j.state == JobState::Running) else { return false };
        let Some(stage) = job.stages.get(stage.0 as usize) else { return false };
        // Beside an attempt that runs elsewhere it is a backup, as it may have been before.
        let fits = |t: &&Task| t.waits() || t.may_have_backup_on(worker) && job.may_have_backups(stage);
        let Some(task) = stage.tasks.get(index as usize).filter(fits) else { return false };
        let doubted = task.held.as_ref().is_some_and(|h| h.attempt == told.attempt && h.doubted);
        if doubted || told.attempt.epoch < job.split_epoch && !planted::has(Planted::OtherCut) {
            return false;
        }
        match &told.report {
            // Segments carry their checksums through a restart of the worker; a part is trusted within one life only.
            Some(_) => told.attempt.incarnation == life || !stage.has_sink() || !task.published.is_empty(),
            None => {
                // As long as others wait for a slot, two of a kind are for those only who were two before a restart.
                let pays = task.waits() || job.held || self.queue.len() == 0;
                pays && told.attempt.incarnation == life
                    && self.workers.get(worker).is_some_and(|w| w.running.len() < w.info.slots as usize)
                    && job.spec.options.slots_max.is_none_or(|max| job.slots < max)
            }
        }
    }

    fn adopt(&mut self, worker: WorkerId, attempt: AttemptId) {
        let id = attempt.task;
        let (s, t) = (id.stage.0 as usize, id.index as usize);
        self.timers.clear(Timer::Delay(id));
        let now = self.now;
        let Some(job) = self.jobs.get_mut(&id.job) else { return };
        let bytes = job.stages[s].chunks.get(t).map_or(0, |chunk| chunk.length());
        match job.stages[s].tasks[t].waits() {
            true => job.adopt(s, t, Run { worker, attempt }, bytes, now),
            false => job.add_backup(s, t, Run { worker, attempt }, now),
        }
        self.workers.start(worker, id);
        self.requeue(id.job);
    }
}
