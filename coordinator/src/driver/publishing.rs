//! Tasks whose parts are chunks of a dataset on their worker: they are done when the chunks have their copies.
//!
//! Until then the scheduler takes their attempts to be publishing. So it runs them again if their worker is lost meanwhile,
//! and the job can still be cancelled, and times out. When the job commits, each chunk of its datasets was on two workers,
//! if there were two with room for it.

use crate::driver::Driver;
use crate::mailbox::PublishedParts;
use windrow_model::{AttemptId, WorkerId};
use windrow_scheduler::Event;

impl Driver {
    /// A granted attempt has placed its parts. May be reported again.
    pub(crate) fn handle_published(&mut self, worker: WorkerId, attempt: AttemptId, parts: PublishedParts) {
        self.note_alive(worker);
        let PublishedParts { chunks, receipts } = parts;
        let is_publishing = self.scheduler.is_publishing(worker, attempt);
        // Also of an attempt that has lost meanwhile: the end of the job discards its parts.
        self.jobs.keep_receipts(attempt, receipts, is_publishing);
        // The chunks of an attempt that does not publish on this worker are not kept. The scheduler decides about the attempt.
        if !is_publishing {
            return self.step(Event::Published { worker, attempt });
        }
        self.keep_outputs(worker, attempt, &chunks);
        match chunks.is_empty() {
            true => self.step(Event::Published { worker, attempt }),
            false => self.jobs.publish(attempt, worker, chunks.iter().map(|(_, chunk)| chunk.digest).collect()),
        }
    }

    /// Reports attempts as published whose chunks have all the copies that can be expected.
    pub(crate) fn finish_copied_attempts(&mut self) {
        if self.awaited_until.is_some() {
            // Workers that are to take copies may not be back yet.
            return;
        }
        let copied = self.jobs.take_copied(|digests| digests.iter().all(|d| self.datasets.is_settled(*d)));
        for (attempt, worker) in copied {
            self.step(Event::Published { worker, attempt });
        }
    }
}
