//! Backup attempts: slow tasks at the end of a stage run a second time, on another worker.
//!
//! A backup gets a slot only while no task waits for one. `speculate.rs` decides which task needs a backup;
//! `attempt.rs` decides what happens to the two attempts when one ends.

use crate::event::Progress;
use crate::job::Job;
use crate::speculate::{BACKUPS_PER_TASK, allowance, is_late_stage};
use crate::stage::Stage;
use crate::state::State;
use crate::task::TaskState;
use crate::timers::Timer;
use windrow_model::{JobId, JobState, WorkerId};

impl Stage {
    /// Whether some of its tasks may turn out to be slow.
    fn is_late(&self) -> bool {
        self.running > 0 && self.blocked_by == 0 && is_late_stage(self.done, self.tasks.len())
    }
}

impl Job {
    /// Two attempts of a nondeterministic stage would not give the same output.
    pub(crate) fn may_have_backups(&self, stage: &Stage) -> bool {
        self.spec.options.backup_attempts && stage.deterministic
    }

    /// Whether it has stages in which a slow task can be recognised.
    pub(crate) fn watches_for_slow_tasks(&self) -> bool {
        self.state == JobState::Running
            && self.spec.options.backup_attempts
            && self.stages.iter().any(|s| s.is_late() && s.deterministic)
    }
}

impl State {
    /// Sets the time of the next search for slow tasks after the job has changed.
    pub(crate) fn watch_for_slow_tasks(&mut self, id: JobId) {
        let watch = self.jobs.get(&id).is_some_and(Job::watches_for_slow_tasks);
        if watch && !self.timers.is_set(Timer::Backups(id)) {
            // The search must go on even with a very long configured interval.
            let due = self.now.plus_ms(self.config.backup_every_ms.max(1)).min(windrow_model::Time(u64::MAX - 1));
            self.timers.set(Timer::Backups(id), due);
        }
    }

    /// Records the progress of the attempts of a worker.
    pub(crate) fn handle_beat(&mut self, worker: WorkerId, progress: Vec<Progress>, full: Option<bool>) {
        self.renew_lease(worker);
        full.into_iter().for_each(|full| self.note_room(worker, full));
        let now = self.now;
        for progress in &progress {
            let attempt = progress.attempt;
            let (s, t) = (attempt.task.stage.0 as usize, attempt.task.index as usize);
            let Some(task) = self.task_mut(attempt.task) else { continue };
            let first = matches!(task.state, TaskState::Running(run) if run.worker == worker && run.attempt == attempt);
            let bytes = task.bytes;
            let permille = match task.pace_on(worker) {
                Some((run, pace)) if run.attempt == attempt => {
                    pace.update(now, progress);
                    pace.permille()
                }
                _ => continue,
            };
            if first && let Some(job) = self.jobs.get_mut(&attempt.task.job) {
                let read = (u128::from(bytes) * u128::from(permille) / 1_000) as u64;
                job.note_read(s, t, read, progress.records);
            }
        }
    }

    /// Starts backups for the tasks that are expected to end last.
    pub(crate) fn look_for_slow_tasks(&mut self, id: JobId) {
        // A waiting task has the better claim to a slot.
        if self.queue.len() + self.ahead.len() == 0 && self.workers.free().next().is_some() {
            for (s, t) in self.slow_tasks(id) {
                let Some(job) = self.jobs.get(&id) else { break };
                if job.spec.options.slots_max.is_some_and(|max| job.uses() >= max) {
                    break;
                }
                self.start_backup(id, s, t);
            }
        }
        self.requeue(id);
    }

    /// The tasks that may have a backup now, longest remaining time first, as many as are allowed.
    fn slow_tasks(&self, id: JobId) -> Vec<(usize, usize)> {
        let Some(job) = self.jobs.get(&id).filter(|j| j.state == JobState::Running && !j.held) else {
            return Vec::new();
        };
        let tasks: usize = job.stages.iter().map(|s| s.tasks.len()).sum();
        let slots = self.workers.slots();
        let most = allowance(job.backups_running, job.backups, tasks as u64, slots);
        if most == 0 {
            return Vec::new();
        }
        let mut slow: Vec<(u64, (usize, usize))> = Vec::new();
        for (s, stage) in job.stages.iter().enumerate().filter(|(_, s)| s.is_late() && job.may_have_backups(s)) {
            for (t, task) in stage.tasks.iter().enumerate() {
                let alone = matches!(task.state, TaskState::Running(_)) && task.backup.is_none();
                if !alone || task.is_suspect() || task.backups >= BACKUPS_PER_TASK {
                    continue;
                }
                let Some(expected) = stage.durations.expected_ms(task.bytes) else { continue };
                if let Some(left) = task.pace.backup_pays(self.now, expected, self.config.backup_after_ms) {
                    slow.push((left, (s, t)));
                }
            }
        }
        slow.sort_by_key(|(left, place)| (std::cmp::Reverse(*left), *place));
        slow.truncate(most as usize);
        slow.into_iter().map(|(_, place)| place).collect()
    }
}
