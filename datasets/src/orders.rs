//! Orders to workers: copy chunks with too few copies, delete chunks whose deletion was ordered, and move expired
//! orphans to the trash.

use crate::planted::{self, Planted};
use crate::table::Datasets;
use std::collections::BTreeMap;
use windrow_model::{Code, Digest, Time, WorkerId};

/// An order to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Fetch this chunk from one of these workers.
    Copy { worker: WorkerId, digest: Digest, from: Vec<WorkerId> },
    /// Delete these chunks; answered by `dropped`.
    Drop { worker: WorkerId, digests: Vec<Digest> },
    /// Move these chunks to the trash; answered by `dropped`.
    Trash { worker: WorkerId, digests: Vec<Digest> },
}

impl Datasets {
    /// The orders that are due: missing copies, and unreferenced chunks.
    pub fn orders(&mut self, now: Time) -> Vec<Order> {
        if !std::mem::take(&mut self.changed) && self.next_deadline().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let mut orders = Vec::new();
        self.copying.give_up_overdue(now);
        let short = self.urgent.intersection(&self.short).chain(self.short.difference(&self.urgent));
        for digest in short.copied() {
            if !self.copying.has_place() {
                break;
            }
            if self.copying.is_making(digest) {
                continue;
            }
            if self.copies(digest) == 0 {
                // A copy in a trash is restored.
                if !planted::has(Planted::TrashForgotten)
                    && let Some(worker) = self.copying.begin(digest, self.trash.of(digest), now)
                {
                    orders.push(Order::Copy { worker, digest, from: Vec::new() });
                }
                continue;
            }
            if let Some(worker) = self.copying.begin(digest, self.holders.could_take(digest), now) {
                orders.push(Order::Copy { worker, digest, from: self.holders.of(digest).collect() });
            }
        }
        self.copying.note_asked(now);
        self.orphans.stamp(now);
        let may_delete = (self.puts.is_empty() || planted::has(Planted::DeletedDuringPut))
            && (!self.frozen || planted::has(Planted::FrozenIgnored));
        if may_delete {
            self.delete(now, &mut orders);
        }
        orders
    }

    /// Deletes chunks whose deletion was ordered, and moves expired orphans to the trash.
    pub(crate) fn delete(&mut self, now: Time, orders: &mut Vec<Order>) {
        let mut dropped: BTreeMap<WorkerId, Vec<Digest>> = BTreeMap::new();
        for digest in self.doomed.iter().copied().collect::<Vec<_>>() {
            for worker in self.holders.take(digest) {
                dropped.entry(worker).or_default().push(digest);
            }
            if self.copies(digest) == 0 {
                self.doomed.remove(&digest);
                self.failed.remove(&digest);
                self.orphans.forget_length(digest);
            }
        }
        let mut trashed: BTreeMap<WorkerId, Vec<Digest>> = BTreeMap::new();
        for digest in self.orphans.due(now) {
            let workers = self.holders.take(digest);
            if !workers.is_empty() || self.copies(digest) == 0 {
                self.orphans.went(digest, now);
            }
            self.look_at(digest);
            workers.into_iter().for_each(|worker| trashed.entry(worker).or_default().push(digest));
        }
        for worker in dropped.keys().chain(trashed.keys()) {
            *self.dropping.entry(*worker).or_default() += 1;
        }
        orders.extend(dropped.into_iter().map(|(worker, digests)| Order::Drop { worker, digests }));
        orders.extend(trashed.into_iter().map(|(worker, digests)| Order::Trash { worker, digests }));
    }

    /// A worker could not make the ordered copy.
    pub fn not_copied(&mut self, worker: WorkerId, digest: Digest, code: Code, now: Time) {
        self.changed = true;
        self.copying.refused(worker, digest, code == Code::NoSpace, now);
        // The chunk is not in the worker's trash either, from where it would have been restored.
        self.trash.forget(worker, digest);
        self.may_lack = true;
    }

    /// A worker has carried out an order to delete.
    pub fn dropped(&mut self, worker: WorkerId) {
        self.changed = true;
        if let Some(open) = self.dropping.get_mut(&worker) {
            *open -= 1;
            if *open == 0 {
                self.dropping.remove(&worker);
            }
        }
    }

    /// Whether deletions are in progress. A put must wait for their end: it may be about to store the same chunks
    /// again.
    pub fn is_dropping(&self) -> bool {
        !self.dropping.is_empty()
    }
}
