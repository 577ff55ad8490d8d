//! Watchers of jobs: each gets the latest status at most every 50 ms, and always the last one.
//!
//! A slow watcher skips statuses. Its stream ends when the job's sender is dropped.

use std::collections::BTreeMap;
use tokio::sync::watch;
use windrow_model::{JobId, JobStatus, Time};

/// Least milliseconds between two statuses, except for the last.
const INTERVAL_MS: u64 = 50;

struct Watched {
    sender: watch::Sender<JobStatus>,
    /// The time of the next status at the earliest.
    next: Time,
}

#[derive(Default)]
pub(crate) struct Watchers {
    jobs: BTreeMap<JobId, Watched>,
    /// A status may have changed since the last `look`.
    dirty: bool,
}

impl Watchers {
    /// Watches a job, which has this status.
    pub(crate) fn watch(&mut self, job: JobId, status: JobStatus) -> watch::Receiver<JobStatus> {
        match self.jobs.get(&job) {
            Some(watched) => watched.sender.subscribe(),
            None => {
                let (sender, receiver) = watch::channel(status);
                self.jobs.insert(job, Watched { sender, next: Time(0) });
                receiver
            }
        }
    }

    /// A status may have changed.
    pub(crate) fn touch(&mut self) {
        self.dirty = !self.jobs.is_empty();
    }

    /// The time of the next `look`.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.dirty.then(|| self.jobs.values().map(|w| w.next).min()).flatten()
    }

    /// Sends changed statuses of jobs whose interval is over. `status` returns `None` for a job that is not shown now.
    pub(crate) fn look(&mut self, now: Time, mut status: impl FnMut(JobId) -> Option<JobStatus>) {
        if !self.dirty {
            return;
        }
        self.jobs.retain(|_, w| w.sender.receiver_count() > 0);
        self.dirty = false;
        for (job, watched) in &mut self.jobs {
            if watched.next > now {
                self.dirty = true;
                continue;
            }
            if let Some(status) = status(*job)
                && differs(&status, &watched.sender.borrow())
            {
                watched.sender.send_replace(status);
                watched.next = now.plus_ms(INTERVAL_MS);
            }
        }
    }

    /// Sends the last status of a job, and ends its streams.
    pub(crate) fn finish(&mut self, job: JobId, status: JobStatus) {
        if let Some(watched) = self.jobs.remove(&job) {
            watched.sender.send_replace(status);
        }
    }
}

/// The time that has passed is no change.
fn differs(a: &JobStatus, b: &JobStatus) -> bool {
    a.state != b.state
        || a.attempts != b.attempts
        || a.tasks != b.tasks
        || a.waiting != b.waiting
        || a.stages != b.stages
}
