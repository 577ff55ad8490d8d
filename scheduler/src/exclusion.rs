//! Excludes workers from new tasks for a while: those on which tasks fail that succeed elsewhere, those that others
//! cannot reach, and those with a full disk.
//!
//! The success elsewhere is the evidence against a worker: a task that fails everywhere excludes no worker. At most
//! half of the workers are excluded at a time, and never the last one.

use crate::action::Action;
use crate::state::State;
use crate::timers::Timer;
use windrow_model::{TaskId, Time, WorkerId, WorkerState};

/// Why a worker with a full disk is excluded.
const DISK_FULL: &str = "its disk is full";
/// Exclusions become longer up to this multiple of the first one.
const LONGEST: u64 = 10;

impl State {
    /// A task has finished on this worker: its earlier failures on other workers count against those workers.
    pub(crate) fn succeeded_on(&mut self, id: TaskId, worker: WorkerId) {
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

    /// Counts an output of this worker that a reader found damaged.
    pub(crate) fn note_damage(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.live_mut(id).filter(|w| !w.excluded) else { return };
        worker.damaged += 1;
        let damaged = worker.damaged;
        if damaged >= self.config.damaged_max {
            self.exclude(id, format!("{damaged} of its shuffle files were found damaged: look at its disk and memory"));
        }
    }

    /// Excludes the worker for a while, unless too many workers are excluded already.
    pub(crate) fn exclude(&mut self, id: WorkerId, reason: String) {
        if !self.may_exclude(id) {
            return;
        }
        let mut times = 0;
        self.workers.change(id, |w| {
            (w.faults, w.damaged, w.excluded, w.full) = (0, 0, true, false);
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

    /// Handles a worker's report whether its disk is full. A worker with a full disk is excluded as long as it reports
    /// that, unless too many are excluded already: then lists show the reason all the same, and its tasks fail with an error
    /// that the user sees.
    pub(crate) fn note_room(&mut self, id: WorkerId, full: bool) {
        let Some((was_full, excluded)) = self.workers.live(id).map(|w| (w.full, w.excluded)) else { return };
        match (full, was_full) {
            (true, true) if excluded => self.end_exclusion_after(id, self.config.exclusion_ms),
            (true, _) if self.may_exclude(id) => {
                let reason = DISK_FULL.to_string();
                self.workers.change(id, |w| {
                    (w.full, w.excluded) = (true, true);
                    w.reason = Some(reason.clone());
                });
                let state = WorkerState::Excluded;
                self.out.push(Action::WorkerChanged { worker: id, state, reason: Some(reason) });
                self.end_exclusion_after(id, self.config.exclusion_ms);
                self.take_back_all(id);
            }
            (true, false) if !excluded => self.workers.change(id, |w| {
                w.full = true;
                w.reason = Some(DISK_FULL.to_string());
            }),
            (false, true) => self.readmit(id),
            _ => {}
        }
    }

    /// Whether at most half of the workers that could take tasks would be excluded.
    fn may_exclude(&self, id: WorkerId) -> bool {
        let live = self.workers.iter().filter(|(_, w)| w.state == WorkerState::Live);
        let (excluded, all) = live.fold((0, 0), |(e, n), (_, w)| (e + usize::from(w.excluded), n + 1));
        let could = self.workers.live(id).is_some_and(|w| !w.excluded && w.state == WorkerState::Live);
        could && (excluded + 1) * 2 <= all
    }

    /// An exclusion must end, even with a very long configured time.
    fn end_exclusion_after(&mut self, id: WorkerId, ms: u64) {
        self.timers.set(Timer::Excluded(id), self.now.plus_ms(ms).min(Time(u64::MAX - 1)));
    }

    /// Ends an exclusion.
    pub(crate) fn readmit(&mut self, id: WorkerId) {
        self.timers.clear(Timer::Excluded(id));
        let excluded = self.workers.get(id).is_some_and(|w| w.excluded);
        self.workers.change(id, |w| {
            if (excluded || w.full) && w.state == WorkerState::Live {
                w.reason = None;
            }
            (w.full, w.excluded) = (false, false);
        });
        let live = self.workers.get(id).is_some_and(|w| w.state == WorkerState::Live);
        if excluded && live {
            self.out.push(Action::WorkerChanged { worker: id, state: WorkerState::Live, reason: None });
        }
    }

    /// Ends all exclusions if only excluded workers are left, since an excluded worker is better than none. Ends those
    /// of lost and draining workers as well.
    pub(crate) fn ensure_eligible_worker(&mut self) {
        if self.workers.excluded().next().is_none() {
            return;
        }
        let alone = !self.workers.iter().any(|(_, w)| w.state == WorkerState::Live && !w.excluded);
        let excluded = self.workers.excluded().filter(|(_, w)| alone || w.state != WorkerState::Live);
        let back: Vec<WorkerId> = excluded.map(|(id, _)| id).collect();
        back.into_iter().for_each(|id| self.readmit(id));
    }
}
