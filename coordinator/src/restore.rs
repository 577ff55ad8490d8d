//! Jobs of an earlier life go on: what the journal had of them is put back to where it was.
//!
//! They wait for the workers of that life, who say what they run and hold when they register; not for ever.

use crate::driver::{ActiveJob, Driver};
use crate::recover::RecoveredJob;
use windrow_model::dataset::dataset_name;
use windrow_model::{DatasetChunk, JobId};
use windrow_scheduler::Event;

/// What chunks a worker holds it tells right after it has registered.
const CHUNKS_TOLD_MS: u64 = 1_000;
/// Workers look for their coordinator at least every two seconds.
const AWAITED_MS: u64 = 6_000;

impl Driver {
    pub fn restore(&mut self, jobs: Vec<RecoveredJob>) {
        if jobs.is_empty() {
            // Nobody needs what they have.
            return;
        }
        for RecoveredJob { job, staging, published, datasets_done } in jobs {
            let id = job.spec.id;
            self.active.insert(id, ActiveJob { staging, ..ActiveJob::default() });
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
                self.outputs_published(done.task.worker, done.task.attempt, done.chunks);
            }
        }
        let workers = self.members.iter().copied().collect();
        self.awaited_until = Some(self.clock.now().plus_ms(AWAITED_MS));
        self.step(Event::Awaited { workers, ms: AWAITED_MS });
        if self.members.is_empty() {
            self.stop_waiting();
        }
    }

    /// The chunks of datasets that the job reads stay, whatever their names mean now.
    fn keep_inputs(&mut self, id: JobId, job: &windrow_scheduler::RestoredJob) {
        let stages = job.split.iter().flat_map(|s| &s.stages);
        let ranges = stages.flat_map(|s| &s.chunks).flat_map(|c| &c.ranges);
        let chunks = ranges.filter_map(|r| Some(DatasetChunk { digest: r.content?, length: r.identity.length }));
        self.datasets.keep_inputs(id, chunks.collect());
    }

    /// Every worker has registered again.
    pub fn all_are_back(&mut self) {
        if self.unsplit.is_empty() && self.active.values().all(|a| a.outputs.is_empty()) {
            return self.stop_waiting();
        }
        let told = self.clock.now().plus_ms(CHUNKS_TOLD_MS);
        self.awaited_until = self.awaited_until.map(|until| until.min(told));
    }

    /// Jobs whose inputs were never cut begin with that; their datasets can be looked for now.
    pub fn stop_waiting(&mut self) {
        self.awaited_until = None;
        for job in std::mem::take(&mut self.unsplit) {
            self.start_split(job);
        }
    }

    /// Whether splitting this job has to wait until workers have told what they hold.
    pub fn waits_for_datasets(&self, job: JobId) -> bool {
        let reads = |plan: &windrow_model::Plan| {
            let sources = plan.stages.iter().filter_map(|s| s.source());
            sources.flat_map(|s| &s.inputs).any(|i| dataset_name(i).is_some())
        };
        self.awaited_until.is_some() && self.scheduler.spec(job).is_some_and(|spec| reads(&spec.plan))
    }
}
