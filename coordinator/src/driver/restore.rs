//! Jobs of an earlier life go on: what the journal had of them is put back to where it was.
//!
//! They wait for the workers of that life, who say what they run and hold when they register; not for ever. So do new jobs
//! that read datasets.

use crate::driver::Driver;
use crate::jobs::ActiveJob;
use crate::recover::RecoveredJob;
use windrow_model::{DatasetChunk, JobId, KeptBytes};
use windrow_scheduler::Event;

/// Workers look for their coordinator at least every two seconds.
pub(crate) const AWAITED_MS: u64 = 6_000;

impl Driver {
    pub fn restore(&mut self, jobs: Vec<RecoveredJob>) {
        // From here on: the first thing that a job does may be to look for its datasets.
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
            let result = Some(job.collected.clone()).filter(|collected| !collected.is_empty());
            let sealed_before = job.sealed;
            let spec_bytes = job.spec.kept_bytes();
            self.spec_bytes += spec_bytes;
            let active = ActiveJob {
                staging,
                tries,
                is_queued: true,
                result,
                spec_bytes,
                sealed_before,
                commit_held,
                ..ActiveJob::default()
            };
            self.active.insert(id, active);
            self.keep_inputs(id, &job);
            let has_split = job.split.is_some();
            self.step(Event::Restored { job: Box::new(job) });
            // Outputs that are recorded are not begun again: there is nothing left to record.
            if !has_split || datasets_done {
                continue;
            }
            if let Err(failure) = self.begin_outputs(id) {
                self.step(Event::CommitFailed { job: id, failure });
                continue;
            }
            for done in published {
                self.keep_outputs(done.task.worker, done.task.attempt, &done.chunks);
            }
        }
        let workers = self.members.iter().copied().collect();
        self.step(Event::Awaited { workers, ms: AWAITED_MS });
    }

    /// The chunks of datasets that the job reads stay, whatever their names mean now.
    fn keep_inputs(&mut self, id: JobId, job: &windrow_scheduler::RestoredJob) {
        let stages = job.split.iter().flat_map(|s| &s.stages);
        let ranges = stages.flat_map(|s| &s.chunks).flat_map(|c| &c.ranges);
        let chunks = ranges.filter_map(|r| Some(DatasetChunk { digest: r.content?, length: r.identity.length }));
        self.datasets.keep_inputs(id, chunks.collect());
    }
}
