//! What workers report of their chunks: an inventory after each registration, and every change after it.

use crate::planted::{self, Planted};
use crate::table::Datasets;
use windrow_model::{Digest, Incarnation, Time, WorkerId};

/// Bound on the unreferenced chunks of one worker that are remembered, and on those in its trash. A put of this many
/// chunks on one worker may be under way.
pub(crate) const UNREFERRED_MAX: usize = 1 << 17;

impl Datasets {
    /// A worker has registered; its inventory follows. In the same incarnation it still holds what it held.
    pub fn worker_joined(&mut self, worker: WorkerId, incarnation: Incarnation, now: Time) {
        if !self.holders.is_live_as(worker, incarnation) {
            self.forget_stored(worker);
        }
        self.holders.joined(worker, incarnation, now);
        self.trash.worker_left(worker);
        self.forget_orders(worker);
        // With one more worker, chunks may get another copy.
        self.short = self.references.keys().copied().filter(|d| self.missing(*d) > 0).collect();
    }

    /// Workers of an earlier epoch of this coordinator are expected back.
    pub fn expect_workers(&mut self, now: Time) {
        self.holders.expect_workers(now);
    }

    /// All workers of an earlier epoch are back.
    pub fn all_are_back(&mut self) {
        self.changed = true;
        self.may_lack = true;
        self.holders.all_are_back();
    }

    /// A worker has left, and its copies with it for now.
    pub fn worker_left(&mut self, worker: WorkerId, now: Time) {
        self.departures += 1;
        self.may_lack = true;
        self.forget_stored(worker);
        let lost = self.holders.left(worker, now);
        let trashed = self.trash.worker_left(worker);
        self.forget_orders(worker);
        self.look_at_lost(lost.into_iter().chain(trashed));
    }

    /// Its orders have ended with the worker's session, or were lost with it.
    pub(crate) fn forget_orders(&mut self, worker: WorkerId) {
        self.changed = true;
        self.dropping.remove(&worker);
        self.copying.forget_worker(worker);
    }

    /// A worker holds these chunks. Returns the number of ignored ones: a worker cannot make this process remember more
    /// chunks than the referenced ones and `UNREFERRED_MAX`.
    pub fn held(&mut self, worker: WorkerId, digests: impl IntoIterator<Item = Digest>) -> usize {
        let mut passed_over = 0;
        for digest in digests {
            let is_new = !self.references.contains_key(&digest) && !self.holders.has(worker, digest);
            if is_new && self.holders.count_of(worker) >= self.references.len() + UNREFERRED_MAX {
                passed_over += 1;
                continue;
            }
            if self.holders.held(worker, digest) {
                self.changed = true;
                self.copying.made(worker, digest);
                self.trash.forget(worker, digest);
                self.keep_if_found_elsewhere(worker, digest);
                self.look_at(digest);
            }
        }
        passed_over
    }

    /// Whether some worker holds a chunk, or has it in its trash.
    pub fn is_there(&self, digest: Digest) -> bool {
        self.copies(digest) > 0 || self.trash.of(digest).next().is_some()
    }

    /// Whether for each of these chunks some worker has it, if only in its trash.
    pub fn are_here(&self, digests: &[Digest]) -> bool {
        digests.iter().all(|digest| self.is_there(*digest))
    }

    /// Records the reported lengths of chunks in bytes. Called after `held` or `trashed`: a length of a chunk that was
    /// ignored there is ignored, too.
    pub fn note_lengths(&mut self, lengths: impl IntoIterator<Item = (Digest, u64)>) {
        for (digest, length) in lengths {
            if self.is_there(digest) && !self.references.contains_key(&digest) {
                self.orphans.note_length(digest, length);
            }
        }
    }

    /// A worker has these chunks in its trash. Returns the number of ignored ones beyond `UNREFERRED_MAX` others.
    pub fn trashed(&mut self, worker: WorkerId, digests: impl IntoIterator<Item = Digest>) -> usize {
        if !self.holders.is_live(worker) {
            return 0;
        }
        self.changed = true;
        digests.into_iter().filter(|digest| !self.trash.note(worker, *digest, UNREFERRED_MAX)).count()
    }

    /// A worker no longer has these chunks: they are damaged or missing, or were deleted by an order that a report of them
    /// had crossed. Returns those that it was known to have.
    pub fn lost(&mut self, worker: WorkerId, digests: &[Digest]) -> Vec<Digest> {
        let lost = self.holders.lost(worker, digests);
        self.changed |= !lost.is_empty();
        self.may_lack |= !lost.is_empty();
        if planted::has(Planted::LossUnseen) {
            return lost;
        }
        self.look_at_lost(lost.iter().copied());
        lost
    }

    /// Workers have lost copies of these chunks. The length of a chunk that no worker has is forgotten: a worker that
    /// brings it back reports it again.
    fn look_at_lost(&mut self, digests: impl IntoIterator<Item = Digest>) {
        for digest in digests {
            self.look_at(digest);
            if !self.is_there(digest) {
                self.orphans.forget_length(digest);
            }
        }
    }

    /// Number of unreferenced chunks whose lengths are known.
    #[cfg(test)]
    pub fn lengths_known(&self) -> usize {
        self.orphans.lengths_known()
    }

    /// A worker's inventory is complete.
    pub fn inventory_complete(&mut self, worker: WorkerId) {
        self.changed = true;
        self.may_lack = true;
        let lost = self.holders.inventory_complete(worker);
        self.look_at_lost(lost);
    }

    /// Whether a chunk without a holder may be on a worker whose inventory is incomplete.
    pub fn inventory_pending(&self) -> bool {
        self.holders.any_is_listing()
    }

    /// Workers that have been listing for too long are no longer awaited.
    pub fn give_up_silent(&mut self, now: Time) {
        let gave_up = self.holders.give_up_silent(now) | self.holders.give_up_absent(now);
        self.changed |= gave_up;
        self.may_lack |= gave_up;
    }

    /// A worker's disk is full, or has space again.
    pub fn note_room(&mut self, worker: WorkerId, full: bool) {
        self.changed |= self.holders.note_room(worker, full);
    }
}
