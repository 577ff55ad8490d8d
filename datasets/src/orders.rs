//! What workers are to do: copy chunks of which there are too few copies, delete chunks whose deletion is ordered, and move orphans
//! whose time is over to the trash.

use crate::planted::{self, Planted};
use crate::table::Datasets;
use std::collections::BTreeMap;
use windrow_model::{Code, Digest, Time, WorkerId};

/// Something for a worker to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Get this chunk from one of these workers.
    Copy { worker: WorkerId, digest: Digest, from: Vec<WorkerId> },
    /// Delete these chunks; answered by `dropped`.
    Drop { worker: WorkerId, digests: Vec<Digest> },
    /// Put these chunks into the trash; answered by `dropped`.
    Trash { worker: WorkerId, digests: Vec<Digest> },
}

impl Datasets {
    /// What is to be done now: missing copies, and chunks that nothing refers to.
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
                // What is in a trash comes back.
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

    /// What was ordered to be deleted goes; orphans whose time is over go to the trash.
    pub(crate) fn delete(&mut self, now: Time, orders: &mut Vec<Order>) {
        let mut dropped: BTreeMap<WorkerId, Vec<Digest>> = BTreeMap::new();
        for digest in self.doomed.iter().copied().collect::<Vec<_>>() {
            for worker in self.holders.take(digest) {
                dropped.entry(worker).or_default().push(digest);
            }
            if self.copies(digest) == 0 {
                self.doomed.remove(&digest);
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
        let drops = dropped.into_iter().map(|(worker, digests)| Order::Drop { worker, digests });
        let trashes = trashed.into_iter().map(|(worker, digests)| Order::Trash { worker, digests });
        for order in drops.chain(trashes) {
            if let Order::Drop { worker, .. } | Order::Trash { worker, .. } = &order {
                *self.dropping.entry(*worker).or_default() += 1;
            }
            orders.push(order);
        }
    }

    /// A worker could not make the copy that it was ordered to make.
    pub fn not_copied(&mut self, worker: WorkerId, digest: Digest, code: Code, now: Time) {
        self.changed = true;
        self.copying.refused(worker, digest, code == Code::NoSpace, now);
        // Nor has it the chunk in its trash, from where it would have come back.
        self.trash.forget(worker, digest);
        self.may_lack = true;
    }

    /// A worker has deleted what it was told to delete.
    pub fn dropped(&mut self, worker: WorkerId) {
        self.changed = true;
        if let Some(open) = self.dropping.get_mut(&worker) {
            *open -= 1;
            if *open == 0 {
                self.dropping.remove(&worker);
            }
        }
    }

    /// A put may begin only when nothing is being deleted: it could be what the put is about to store again.
    pub fn is_dropping(&self) -> bool {
        !self.dropping.is_empty()
    }
}
