//! Tasks that have left parts as chunks of a dataset on their worker: they are done when the chunks have their copies.
//!
//! Until then the scheduler takes their attempts to be publishing. So it runs them again if their worker is lost meanwhile,
//! and the job can still be cancelled, and times out. When the job commits, each chunk of its datasets was on two workers,
//! if there were two with room for it.

use crate::driver::Driver;
use crate::jobs::Publishing;
use windrow_model::{AttemptId, DatasetChunk, JobId, WorkerId};
use windrow_scheduler::Event;

impl Driver {
    /// A granted attempt has placed its parts. May be told again.
    pub fn handle_published(&mut self, worker: WorkerId, attempt: AttemptId, chunks: &[(u32, DatasetChunk)]) {
        self.step(Event::WorkerBeat { worker, progress: Vec::new(), lists_all: false, full: None });
        // Nothing is kept of one that is of no use, or that is another worker's: the scheduler says what becomes of it.
        if !self.scheduler.is_publishing(worker, attempt) {
            return self.step(Event::Published { worker, attempt });
        }
        self.keep_outputs(worker, attempt, chunks);
        let digests = chunks.iter().map(|(_, chunk)| chunk.digest).collect();
        self.publishing.insert(attempt, Publishing { worker, digests });
        if chunks.is_empty() {
            self.finish_publishing(attempt);
        }
    }

    /// Tasks are done whose chunks have all the copies that can be expected.
    pub fn finish_what_is_copied(&mut self) {
        if self.awaited_until.is_some() {
            // Whoever is to take copies may not be back yet.
            return;
        }
        let is_copied = |p: &Publishing| p.digests.iter().all(|d| self.datasets.is_settled(*d));
        let copied = self.publishing.iter().filter(|(_, p)| is_copied(p)).map(|(attempt, _)| *attempt);
        copied.collect::<Vec<_>>().into_iter().for_each(|attempt| self.finish_publishing(attempt));
    }

    fn finish_publishing(&mut self, attempt: AttemptId) {
        if let Some(Publishing { worker, .. }) = self.publishing.remove(&attempt) {
            self.step(Event::Published { worker, attempt });
        }
    }

    /// The job is over.
    pub fn forget_publishing(&mut self, job: JobId) {
        self.publishing.retain(|attempt, _| attempt.task.job != job);
    }
}
