//! Who watches which job: each watcher sees the latest status, some times a second, and the last one for certain.
//!
//! A watcher that is slow skips what it missed. Its stream ends when the job's sender is dropped.

use std::collections::BTreeMap;
use tokio::sync::watch;
use windrow_model::{JobId, JobStatus, Time};

/// At most one status in so many milliseconds, except for the last.
const INTERVAL_MS: u64 = 50;

struct Watched {
    sender: watch::Sender<JobStatus>,
    /// The next status may go out from here on.
    next: Time,
}

#[derive(Default)]
pub(crate) struct Watchers {
    jobs: BTreeMap<JobId, Watched>,
    /// Something may have changed since the last look.
    dirty: bool,
}

impl Watchers {
    /// Watches a job whose status is `now`.
    pub fn watch(&mut self, job: JobId, status: JobStatus) -> watch::Receiver<JobStatus> {
        match self.jobs.get(&job) {
            Some(watched) => watched.sender.subscribe(),
            None => {
                let (sender, receiver) = watch::channel(status);
                self.jobs.insert(job, Watched { sender, next: Time(0) });
                receiver
            }
        }
    }

    /// Something has happened.
    pub fn touch(&mut self) {
        self.dirty = !self.jobs.is_empty();
    }

    /// When `look` wants to be called.
    pub fn next_deadline(&self) -> Option<Time> {
        self.dirty.then(|| self.jobs.values().map(|w| w.next).min()).flatten()
    }

    /// Sends what has changed for jobs whose time has come. `status` answers `None` for what shall not be told now.
    pub fn look(&mut self, now: Time, mut status: impl FnMut(JobId) -> Option<JobStatus>) {
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

    /// Sends the last status of a job, and ends.
    pub fn finish(&mut self, job: JobId, status: JobStatus) {
        if let Some(watched) = self.jobs.remove(&job) {
            watched.sender.send_replace(status);
        }
    }
}

/// Time alone changes nothing that is worth a message.
fn differs(a: &JobStatus, b: &JobStatus) -> bool {
    a.state != b.state
        || a.attempts != b.attempts
        || a.tasks != b.tasks
        || a.waiting != b.waiting
        || a.stages != b.stages
}
