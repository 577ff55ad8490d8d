//! Jobs for which there is nobody: no worker takes new tasks, because there is none or because every one drains.
//!
//! Such a job says so in its status at once and waits, since workers come back. After a long time it ends with
//! `UNSCHEDULABLE`: whoever waits for it should not wait for ever. What still runs elsewhere is waited for.

use crate::job::Job;
use crate::lease::Timer;
use crate::state::State;
use windrow_model::{Code, Failure, JobId, JobState};

impl State {
    /// Looks whether somebody takes tasks, after a step that may have changed it.
    pub fn note_takers(&mut self) {
        let unserved = !self.workers.any_takes_tasks(|_| false);
        if std::mem::replace(&mut self.unserved, unserved) == unserved {
            let partial: Vec<JobId> = self.partial.iter().copied().collect();
            return partial.into_iter().for_each(|id| self.watch_unserved(id));
        }
        let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in jobs {
            match unserved {
                true => self.watch_unserved(id),
                false => {
                    self.timers.clear(Timer::Unserved(id));
                    self.watch_unserved(id);
                }
            }
        }
    }

    /// Sets or clears the time at which the job has waited for too long. None is set while somebody takes tasks.
    pub fn watch_unserved(&mut self, id: JobId) {
        let partial = !self.partial.is_empty() && self.partial.contains(&id);
        if !self.unserved && !partial {
            return;
        }
        let timer = Timer::Unserved(id);
        let waits = |job: &Job| job.slots == 0 && !job.sealed && job.wants_workers() && self.is_unserved(job);
        match self.jobs.get(&id).is_some_and(waits) {
            false => self.timers.clear(timer),
            true if self.timers.is_set(timer) => {}
            true => self.timers.set(timer, self.now.plus_ms(self.config.unserved_ms)),
        }
    }

    /// No worker takes tasks of this job.
    pub fn is_unserved(&self, job: &Job) -> bool {
        self.unserved || !job.left_out.is_empty() && !self.workers.any_takes_tasks(|w| job.left_out.contains_key(w))
    }

    /// Nobody has come in all that time.
    pub fn give_up_unserved(&mut self, id: JobId) {
        let why = self.jobs.get(&id).and_then(|job| self.waits_for(job));
        let why = why.unwrap_or_else(|| "no worker takes new tasks".to_string());
        let message = format!("nothing of the job could run for {} s: {why}", self.config.unserved_ms / 1_000);
        self.end_job(id, JobState::Failed, Some(Failure::new(Code::Unschedulable, message)));
    }
}
