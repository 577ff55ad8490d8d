//! Jobs of an earlier epoch continue with what the journal has of them.
//!
//! They wait for the workers of that epoch, which report what they run and hold when they register, for a limited time. So do new
//! jobs that read datasets.

use crate::driver::Driver;
use crate::jobs::{EarlierCommit, Restoring};
use crate::recover::RecoveredJob;
use windrow_model::{DatasetChunk, JobId, KeptBytes};
use windrow_scheduler::Event;

/// Workers look for their coordinator at least every two seconds.
pub(crate) const AWAITED_MS: u64 = 6_000;

impl Driver {
    pub(crate) fn restore(&mut self, jobs: Vec<RecoveredJob>) {
        // First: a restored job may look for its datasets at once.
        let now = self.clock.now();
        if !self.members.is_empty() {
            self.awaited_until = Some(now.plus_ms(AWAITED_MS));
            self.datasets.expect_workers(now);
        }
        if jobs.is_empty() {
            return;
        }
        for RecoveredJob { job, staging, published, datasets_done, tries, commit_held } in jobs {
            let id = job.spec.id;
            let earlier = job.sealed.then(|| EarlierCommit { collected: job.collected.clone(), held: commit_held });
            let (is_split, spec_bytes) = (job.split.is_some(), job.spec.kept_bytes());
            self.jobs.restore(id, Restoring { tries, spec_bytes, is_split, staging, earlier });
            self.keep_inputs(id, &job);
            self.step(Event::Restored { job: Box::new(job) });
            // Outputs that are recorded are not begun again: there is nothing left to record.
            if datasets_done || !self.jobs.takes_chunks(id) {
                continue;
            }
            match self.begin_outputs(id) {
                Ok(outputs) => self.jobs.set_outputs(id, outputs),
                Err(failure) => {
                    self.step(Event::CommitFailed { job: id, failure });
                    continue;
                }
            }
            for done in published {
                self.keep_outputs(done.task.worker, done.task.attempt, &done.chunks);
            }
        }
        let workers = self.members.iter().copied().collect();
        self.step(Event::Awaited { workers, ms: AWAITED_MS });
    }

    /// Keeps the chunks of datasets that the job reads, also if their names mean other versions now.
    fn keep_inputs(&mut self, id: JobId, job: &windrow_scheduler::RestoredJob) {
        let stages = job.split.iter().flat_map(|s| &s.stages);
        let ranges = stages.flat_map(|s| &s.chunks).flat_map(|c| &c.ranges);
        let chunks = ranges.filter_map(|r| Some(DatasetChunk { digest: r.content?, length: r.identity.length }));
        self.datasets.keep_inputs(id, chunks.collect());
    }
}
