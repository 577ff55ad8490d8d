//! Excludes workers from new tasks for a while: those on which tasks fail that succeed elsewhere, those that others
//! cannot reach, and those that cannot start processes.
//!
//! The success elsewhere is the evidence against a worker: a task that fails everywhere excludes no worker. At most
//! half of the workers are excluded at a time, and never the last one. A full disk is not a suspicion but a fact, with
//! rules of its own (`full_disk.rs`).

use crate::action::Action;
use crate::full_disk::DISK_FULL;
use crate::state::State;
use crate::task::Run;
use crate::timers::Timer;
use windrow_model::{AttemptId, Failure, TaskId, Time, WorkerId, WorkerState};

/// Most bytes of a failure in the reason of an exclusion.
const REASON_BYTES_MAX: usize = 400;
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

    /// Excludes a worker that could not start a process or a thread for this attempt: the next one would fail, too.
    pub(crate) fn reached_a_limit(&mut self, id: WorkerId, attempt: AttemptId, failure: &Failure) {
        if self.task(attempt.task).is_some_and(|t| t.runs().any(|run| run == Run { worker: id, attempt })) {
            let end = failure.message.floor_char_boundary(REASON_BYTES_MAX);
            self.exclude(id, format!("it has reached a limit of its system: {}", &failure.message[..end]));
        }
    }

    /// Whether at most half of the workers would be without tasks.
    fn may_exclude(&self, id: WorkerId) -> bool {
        let live = self.workers.iter().filter(|(_, w)| w.state == WorkerState::Live);
        let (others, all) =
            live.fold((0, 0), |(n, all), (other, w)| (n + usize::from(w.is_set_aside() && other != id), all + 1));
        let could = self.workers.live(id).is_some_and(|w| !w.excluded && w.state == WorkerState::Live);
        could && (others + 1) * 2 <= all
    }

    /// An exclusion must end, even with a very long configured time.
    fn end_exclusion_after(&mut self, id: WorkerId, ms: u64) {
        self.timers.set(Timer::Excluded(id), self.now.plus_ms(ms).min(Time(u64::MAX - 1)));
    }

    /// Ends an exclusion.
    pub(crate) fn readmit(&mut self, id: WorkerId) {
        self.timers.clear(Timer::Excluded(id));
        if !self.workers.get(id).is_some_and(|w| w.excluded) {
            return;
        }
        let mut reason = None;
        self.workers.change(id, |w| {
            w.excluded = false;
            if w.state == WorkerState::Live {
                reason = w.full.then(|| DISK_FULL.to_string());
                w.reason.clone_from(&reason);
            }
        });
        let state = if reason.is_some() { WorkerState::Excluded } else { WorkerState::Live };
        if self.workers.get(id).is_some_and(|w| w.state == WorkerState::Live) {
            self.out.push(Action::WorkerChanged { worker: id, state, reason });
        }
    }

    /// Ends all exclusions if no other worker is left, since an excluded worker is better than none. Ends those of lost
    /// and draining workers as well.
    pub(crate) fn ensure_eligible_worker(&mut self) {
        if self.workers.excluded().next().is_none() {
            return;
        }
        let alone = !self.workers.iter().any(|(_, w)| w.state == WorkerState::Live && !w.is_set_aside());
        let excluded = self.workers.excluded().filter(|(_, w)| alone || w.state != WorkerState::Live);
        let back: Vec<WorkerId> = excluded.map(|(id, _)| id).collect();
        back.into_iter().for_each(|id| self.readmit(id));
    }
}
