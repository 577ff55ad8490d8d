//! Chunks on workers: reports of workers, and orders to them.

use crate::driver::Driver;
use crate::journal::{Durable, Record};
use crate::mailbox::{BeginPut, ChunkReport, DataMessage, Message};
use windrow_datasets::{Order, OrphanChanges};
use windrow_model::{Digest, Failure, WorkerId};
use windrow_proto::v1::{self, to_worker::Message as Tell};

impl Driver {
    pub(crate) fn handle_chunk_report(&mut self, worker: WorkerId, report: ChunkReport) {
        match report {
            ChunkReport::Held { digests, lengths, all, stored } => {
                if stored {
                    self.datasets.arrived(worker, &digests, self.clock.now());
                }
                let passed_over = self.datasets.held(worker, digests.iter().copied());
                self.note_lengths(worker, &digests, lengths, passed_over);
                if all {
                    self.datasets.inventory_complete(worker);
                }
            }
            ChunkReport::Trashed { digests, lengths } => {
                let passed_over = self.datasets.trashed(worker, digests.iter().copied());
                self.note_lengths(worker, &digests, lengths, passed_over);
            }
            ChunkReport::Lost(digests) => {
                for digest in self.datasets.lost(worker, &digests) {
                    let copies = self.datasets.copies(digest);
                    match self.datasets.is_known(&digest) {
                        true => tracing::error!(%worker, %digest, copies, "a copy of a chunk is damaged or gone"),
                        // As ordered, if the report that it is there had crossed the order.
                        false => tracing::info!(%worker, %digest, copies, "an unreferenced chunk is gone"),
                    }
                }
            }
            ChunkReport::Dropped => self.datasets.dropped(worker),
            ChunkReport::NotCopied(digest, failure) => {
                tracing::warn!(%worker, %digest, "a copy was not made: {failure}");
                self.datasets.not_copied(worker, digest, failure.code, self.clock.now());
            }
        }
    }

    fn note_lengths(&mut self, worker: WorkerId, digests: &[Digest], lengths: Vec<u64>, passed_over: usize) {
        self.datasets.note_lengths(digests.iter().copied().zip(lengths));
        if passed_over > 0 {
            tracing::warn!(
                %worker,
                passed_over,
                "the worker has reported more unreferenced chunks than are remembered: they stay where they are"
            );
        }
    }

    /// Begins puts and jobs that have waited, orders missing copies, and drops unreferenced chunks: in this order, or the next deletion
    /// would begin before the puts and jobs that wait for the end of the last one.
    pub(crate) fn reconcile_datasets(&mut self) {
        let now = self.clock.now();
        // How many copies a put makes depends on how many workers there are.
        if !self.datasets.is_dropping() && self.awaited_until.is_none() {
            for BeginPut { name, overwrite, replicas, answer } in std::mem::take(&mut self.waiting_calls.waiting_puts) {
                let _ = answer.send(self.begin_put(&name, overwrite, replicas));
            }
        }
        self.datasets.give_up_silent(now);
        self.answer_held_back();
        self.commit_placed_puts();
        self.plan_waiting_jobs();
        self.fail_jobs_without_chunks();
        let orders = self.datasets.orders(now);
        if let Some(changes) = self.datasets.take_orphan_changes(now, false) {
            self.record_orphans(changes);
        }
        for order in orders {
            match order {
                Order::Copy { worker, digest, .. } => {
                    tracing::debug!(%worker, %digest, "a copy of a chunk is ordered");
                    let addresses = self.chunk_addresses(digest);
                    let chunk = v1::ChunkSource { digest: Some(digest.into()), addresses };
                    self.sessions.send(worker, Tell::CopyChunk(v1::CopyChunk { chunk: Some(chunk) }));
                }
                Order::Drop { worker, digests } => {
                    tracing::info!(%worker, chunks = digests.len(), "chunks are deleted, as recorded changes order it");
                    self.send_drop(worker, digests, true);
                }
                Order::Trash { worker, digests } => {
                    let chunks = digests.len();
                    tracing::warn!(%worker, chunks, "chunks to which nothing has referred for long go to the trash");
                    self.send_drop(worker, digests, false);
                }
            }
        }
        let unrecorded = self.datasets.take_unrecorded();
        if !unrecorded.is_empty() {
            self.journal.note(Record::Dropped(unrecorded));
        }
    }

    /// Records changes of orphans. The table gives the orders under a reservation when that is durable.
    fn record_orphans(&self, changes: OrphanChanges) {
        let reserves = changes.reserves;
        let record = Record::Orphans(Box::new(changes));
        let Some(reservation) = reserves else { return self.journal.note(record) };
        let mailbox = self.mailbox.clone();
        let done = Box::new(move |result: Result<Durable, Failure>| {
            // If the journal fails, the coordinator ends.
            if result.is_ok() {
                mailbox.blocking_send(Message::Data(DataMessage::OrphansReserved { reservation }));
            }
        });
        self.journal.record(record, done);
    }

    fn send_drop(&self, worker: WorkerId, digests: Vec<Digest>, ordered: bool) {
        let digests = digests.into_iter().map(Into::into).collect();
        let order = v1::DropChunks { digests, ordered, revision: self.revision };
        self.sessions.send(worker, Tell::DropChunks(order));
    }
}
