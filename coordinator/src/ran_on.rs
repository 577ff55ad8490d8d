//! The workers that ran attempts of each job, and so have its logs. Pure.

use std::collections::{BTreeMap, BTreeSet};
use windrow_model::{JobId, WorkerId};

/// Workers by job.
#[derive(Default)]
pub(crate) struct RanOn(BTreeMap<JobId, BTreeSet<WorkerId>>);

impl RanOn {
    /// The worker gets an attempt of the job.
    pub(crate) fn note(&mut self, job: JobId, worker: WorkerId) {
        self.0.entry(job).or_default().insert(worker);
    }

    /// The workers of a job.
    pub(crate) fn workers(&self, job: JobId) -> impl Iterator<Item = WorkerId> + '_ {
        self.0.get(&job).into_iter().flatten().copied()
    }

    /// Forgets the oldest jobs that may go, until there are at most `max`.
    pub(crate) fn forget_beyond(&mut self, max: usize, may_go: impl Fn(JobId) -> bool) {
        while self.0.len() > max
            && let Some(oldest) = self.0.keys().copied().find(|job| may_go(*job))
        {
            self.0.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_jobs_that_may_go_are_forgotten() {
        let (job, worker) = (|n: u8| JobId::from_bytes([n; 16]), WorkerId::from_bytes([1; 16]));
        let mut ran = RanOn::default();
        (1..=4).for_each(|n| ran.note(job(n), worker));
        ran.forget_beyond(2, |id| id != job(1));
        let kept: Vec<usize> = (1..=4).map(|n| ran.workers(job(n)).count()).collect();
        assert_eq!(kept, [1, 0, 0, 1]);
        ran.forget_beyond(0, |_| false);
        assert_eq!(ran.workers(job(4)).collect::<Vec<_>>(), [worker]);
    }
}
