//! Workers on which tasks fail that succeed elsewhere get no tasks for a while; so do those that others cannot reach, and those
//! whose disk is full.
//!
//! It is the success elsewhere that speaks against a worker: a task that fails everywhere excludes nobody. At most half of
//! the workers are excluded at a time, and never the last one.

use crate::action::Action;
use crate::lease::Timer;
use crate::state::State;
use windrow_model::{TaskId, Time, WorkerId, WorkerState};

/// Exclusions become longer up to so many times the first.
const LONGEST: u64 = 10;

impl State {
    /// A task has been finished there: whatever failed it before on other workers was theirs.
    pub fn succeeded_on(&mut self, id: TaskId, worker: WorkerId) {
        let failed_on = self.task_mut(id).map(|task| std::mem::take(&mut task.failed_on)).unwrap_or_default();
        if !failed_on.contains(&worker) {
            failed_on.into_iter().for_each(|other| self.add_fault(other));
        }
    }

    fn add_fault(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.live_mut(id).filter(|w| !w.excluded) else { return };
        worker.faults += 1;
        if worker.faults >= self.config.faults_max {
            let faults = worker.faults;
            self.exclude(id, format!("{faults} tasks failed there that succeeded on other workers"));
        }
    }

    /// A reader found an output of this worker damaged.
    pub fn note_damage(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.live_mut(id).filter(|w| !w.excluded) else { return };
        worker.damaged += 1;
        let damaged = worker.damaged;
        if damaged >= self.config.damaged_max {
            self.exclude(id, format!("{damaged} of its shuffle files were found damaged: look at its disk and memory"));
        }
    }

    /// The worker gets no tasks for a while, unless too many do not already.
    pub fn exclude(&mut self, id: WorkerId, reason: String) {
        if !self.may_exclude(id) {
            return;
        }
        let mut times = 0;
        self.workers.change(id, |w| {
            (w.faults, w.damaged, w.excluded) = (0, 0, true);
            times = w.exclusions;
            w.exclusions += 1;
            w.reason = Some(reason.clone());
        });
        let state = WorkerState::Excluded;
        self.out.push(Action::WorkerChanged { worker: id, state, reason: Some(reason) });
        let ms = self.config.exclusion_ms.saturating_mul((1 << times.min(31)).min(LONGEST));
        self.end_exclusion_after(id, ms);
        self.take_back_all(id);
    }

    /// A worker tells whether its disk is full. If it is, the worker gets no tasks as long as it says so, unless too many get
    /// none already: then its tasks fail, and tell the user.
    pub fn note_room(&mut self, id: WorkerId, full: bool) {
        let was_full = self.workers.live(id).is_some_and(|w| w.full);
        match (full, was_full) {
            (true, true) => self.end_exclusion_after(id, self.config.exclusion_ms),
            (true, false) if self.may_exclude(id) => {
                let reason = "its disk is full".to_string();
                self.workers.change(id, |w| {
                    (w.full, w.excluded) = (true, true);
                    w.reason = Some(reason.clone());
                });
                let state = WorkerState::Excluded;
                self.out.push(Action::WorkerChanged { worker: id, state, reason: Some(reason) });
                self.end_exclusion_after(id, self.config.exclusion_ms);
                self.take_back_all(id);
            }
            (false, true) => self.readmit(id),
            _ => {}
        }
    }

    /// At most half of those that could take tasks are excluded.
    fn may_exclude(&self, id: WorkerId) -> bool {
        let live = self.workers.iter().filter(|(_, w)| w.state == WorkerState::Live);
        let (excluded, all) = live.fold((0, 0), |(e, n), (_, w)| (e + usize::from(w.excluded), n + 1));
        let could = self.workers.live(id).is_some_and(|w| !w.excluded && w.state == WorkerState::Live);
        could && (excluded + 1) * 2 <= all
    }

    /// An exclusion must end, even if it was configured not to.
    fn end_exclusion_after(&mut self, id: WorkerId, ms: u64) {
        self.timers.set(Timer::Excluded(id), self.now.plus_ms(ms).min(Time(u64::MAX - 1)));
    }

    /// The worker gets tasks again.
    pub fn readmit(&mut self, id: WorkerId) {
        self.timers.clear(Timer::Excluded(id));
        let excluded = self.workers.get(id).is_some_and(|w| w.excluded);
        self.workers.change(id, |w| {
            (w.full, w.excluded) = (false, false);
            if excluded && w.state == WorkerState::Live {
                w.reason = None;
            }
        });
        let live = self.workers.get(id).is_some_and(|w| w.state == WorkerState::Live);
        if excluded && live {
            self.out.push(Action::WorkerChanged { worker: id, state: WorkerState::Live, reason: None });
        }
    }

    /// After a worker has gone: if only excluded ones are left they are better than nobody. Those that are gone
    /// themselves are not excluded any more either.
    pub fn ensure_eligible_worker(&mut self) {
        if self.workers.excluded().next().is_none() {
            return;
        }
        let alone = !self.workers.iter().any(|(_, w)| w.state == WorkerState::Live && !w.excluded);
        let excluded = self.workers.excluded().filter(|(_, w)| alone || w.state != WorkerState::Live);
        let back: Vec<WorkerId> = excluded.map(|(id, _)| id).collect();
        back.into_iter().for_each(|id| self.readmit(id));
    }
}
