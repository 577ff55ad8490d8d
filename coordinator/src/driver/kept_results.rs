//! Results of jobs that are done: the journal keeps them until they expire or give way to others (`results.rs`).

use crate::driver::Driver;
use crate::job_states::Bound;
use crate::journal::{KeptResult, Record};
use crate::wall_clock::unix_ms;
use windrow_model::JobId;
use windrow_scheduler::Collected;

impl Driver {
    /// Records a result in the journal.
    pub(crate) fn record_result(&self, job: JobId, collected: Collected) -> KeptResult {
        let result = KeptResult { collected, ended_unix_ms: unix_ms(), fetched: false };
        self.journal.note(Record::Collected(job, Box::new(result.clone())));
        result
    }

    /// A client has read the result of a job: it may give way to others now.
    pub(crate) fn fetched(&mut self, job: JobId) {
        if let Some(result) = self.results.fetched(job) {
            self.journal.note(Record::Collected(job, Box::new(result)));
        }
    }

    /// Drops expired results.
    pub(crate) fn expire_results(&mut self) {
        for job in self.results.expire(self.clock.now()) {
            tracing::info!(%job, "collected result expired");
            self.journal.note(Record::ResultForgotten(job));
            self.files.remove(job);
        }
    }

    /// Forgets the oldest ended jobs beyond the number that lists show. Those whose result no client has fetched go last.
    pub(crate) fn forget_old_jobs(&mut self) {
        while self.job_states.is_beyond(Bound::Once) {
            let waits = |job| self.results.get(job).is_some_and(|result| !result.fetched);
            let oldest = match self.job_states.forget_oldest(|job| !waits(job)) {
                None if self.job_states.is_beyond(Bound::Twice) => self.job_states.forget_oldest(|_| true),
                oldest => oldest,
            };
            let Some(job) = oldest else { return };
            self.results.remove(job);
            self.files.remove(job);
            self.journal.note(Record::Forgotten(job));
        }
    }
}
