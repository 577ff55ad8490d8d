//! Jobs without an eligible worker: no worker takes new tasks, because there is none, or because all of them drain or
//! have full disks.
//!
//! The status of such a job says so at once, and the job waits, since workers come back and disks are cleared. After a
//! long time it fails with `UNSCHEDULABLE`, or with `NO_SPACE` where disks are full, so that its client does not wait
//! for ever. Attempts that still run elsewhere are awaited.

use crate::job::Job;
use crate::state::State;
use crate::timers::Timer;
use windrow_model::{Code, Failure, JobId, JobState};

impl State {
    /// Checks whether any worker takes tasks, after a step that may have changed it.
    pub(crate) fn update_starvation(&mut self) {
        let starved = !self.workers.any_takes_tasks(|_| false);
        if std::mem::replace(&mut self.starved, starved) == starved {
            if self.partial.is_empty() {
                return;
            }
            let partial: Vec<JobId> = self.partial.iter().copied().collect();
            return partial.into_iter().for_each(|id| self.watch_starvation(id));
        }
        let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in jobs {
            match starved {
                true => self.watch_starvation(id),
                false => {
                    self.timers.clear(Timer::Starved(id));
                    self.watch_starvation(id);
                }
            }
        }
    }

    /// Sets or clears the time at which the job has waited too long. No time is set while a worker takes its tasks.
    pub(crate) fn watch_starvation(&mut self, id: JobId) {
        let partial = !self.partial.is_empty() && self.partial.contains(&id);
        if !self.starved && !partial {
            return;
        }
        let timer = Timer::Starved(id);
        let waits = |job: &Job| job.slots == 0 && !job.sealed && job.wants_workers() && self.is_starved(job);
        match self.jobs.get(&id).is_some_and(waits) {
            false => self.timers.clear(timer),
            true if self.timers.is_set(timer) => {}
            true => self.timers.set(timer, self.now.plus_ms(self.config.unschedulable_after_ms)),
        }
    }

    /// No worker takes tasks of this job.
    pub(crate) fn is_starved(&self, job: &Job) -> bool {
        self.starved || !job.left_out.is_empty() && !self.workers.any_takes_tasks(|w| job.left_out.contains_key(w))
    }

    /// Fails a job for which no worker has come in all that time.
    pub(crate) fn fail_starved_job(&mut self, id: JobId) {
        let (why, full) = match self.jobs.get(&id) {
            Some(job) => (self.waits_for(job), self.waits_for_disks(job).is_some()),
            None => return,
        };
        let code = if full { Code::NoSpace } else { Code::Unschedulable };
        let why = why.unwrap_or_else(|| "no worker takes new tasks".to_string());
        let message =
            format!("nothing of the job could run for {} s: {why}", self.config.unschedulable_after_ms / 1_000);
        self.end_job(id, JobState::Failed, Some(Failure::new(code, message)));
    }
}
