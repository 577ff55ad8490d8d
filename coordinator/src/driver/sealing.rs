//! The beginning of a commit: before the first output becomes visible, the journal records it with the job's result. From then on the
//! job ends as done or failed, with the recorded parts and result.

use crate::commit::Commit;
use crate::driver::Driver;
use crate::journal::{Durable, Record};
use crate::mailbox::Message;
use windrow_model::{Failure, JobId, JobState};
use windrow_scheduler::{Collected, Event};

impl Driver {
    /// Every task of the job is done.
    pub(crate) fn tasks_done(&mut self, job: JobId, commit: Commit, collected: Collected) {
        if self.jobs.seal(job, commit, collected).is_some() {
            self.store_collected(job);
        }
    }

    /// The result is stored: records it, and the beginning of the commit.
    pub(crate) fn seal(&mut self, job: JobId) {
        let Some((collected, tries)) = self.jobs.begin_commit(job) else { return };
        if !collected.is_empty() {
            self.record_result(job, collected);
        }
        let Some(status) = self.scheduler.status(job, self.clock.now()) else { return };
        let Some(record) = self.record_of(job, status) else { return };
        self.note_tries(job, tries);
        let mailbox = self.mailbox.clone();
        let done = Box::new(move |result: Result<Durable, Failure>| {
            mailbox.blocking_send(Message::Sealed { job, result });
        });
        self.journal.record(record.into(), done);
    }

    /// Records a number of tries that has changed.
    pub(crate) fn note_tries(&self, job: JobId, tries: Option<u32>) {
        if let Some(tries) = tries {
            self.journal.note(Record::Tries(job, tries));
        }
    }

    /// The beginning of the commit is durable, or could not be recorded.
    pub(crate) fn sealed(&mut self, job: JobId, result: Result<Durable, Failure>) {
        match result {
            Ok(durable) => {
                self.job_states.advance(job, JobState::Committing, durable);
                self.watchers.touch();
                self.jobs.sealed(job);
            }
            Err(failure) => self.step(Event::CommitFailed { job, failure }),
        }
    }
}
