//! The failed attempts that the status of a job lists.
//!
//! The list is bounded: it keeps the latest failures with the beginning of their messages. It decides nothing.

use crate::job::Job;
use crate::task::Run;
use windrow_model::{FailedAttempt, Failure, Time};

impl Job {
    /// Records an attempt that ended with this failure.
    pub(crate) fn note_failed(&mut self, run: Run, host: &str, failure: &Failure, charged: bool, now: Time) {
        let id = run.attempt.task;
        let end = failure.message.floor_char_boundary(FailedAttempt::MESSAGE_BYTES_MAX);
        if self.failed.len() >= FailedAttempt::LISTED_MAX {
            self.failed.pop_front();
        }
        self.failed.push_back(FailedAttempt {
            stage: id.stage,
            task: id.index,
            attempt: run.attempt.number,
            worker: run.worker,
            host: host.to_string(),
            code: failure.code,
            message: failure.message[..end].to_string(),
            charged,
            after_ms: self.elapsed_before_ms + now.since_ms(self.submitted),
        });
    }
}
