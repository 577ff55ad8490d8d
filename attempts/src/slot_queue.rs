//! Which attempts have a slot: the oldest ones, over all jobs. The others are queued; when an earlier attempt ends, the
//! next one gets its slot.

use std::collections::BTreeMap;
use windrow_model::{AttemptId, JobId};

/// A position in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// Attempts that run or will run, in order of arrival.
#[derive(Debug)]
pub(crate) struct SlotQueue {
    slots: usize,
    next: u64,
    order: BTreeMap<Ticket, AttemptId>,
    /// An attempt has left since the last call of `take_newly_eligible`.
    has_moved: bool,
}

impl SlotQueue {
    /// An empty queue; the first `slots` attempts in it may run.
    pub(crate) fn new(slots: usize) -> Self {
        SlotQueue { slots, next: 0, order: BTreeMap::new(), has_moved: false }
    }

    /// How many attempts run at a time.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// Appends an attempt.
    pub(crate) fn enter(&mut self, id: AttemptId) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.order.insert(ticket, id);
        ticket
    }

    /// Removes an attempt that will not run any more.
    pub(crate) fn leave(&mut self, ticket: Ticket) {
        self.has_moved |= self.order.remove(&ticket).is_some();
    }

    /// Removes all attempts of a job.
    pub(crate) fn leave_all(&mut self, job: JobId) {
        let before = self.order.len();
        self.order.retain(|_, id| id.task.job != job);
        self.has_moved |= self.order.len() < before;
    }

    /// The last ticket that has a slot: every earlier one has a slot, too.
    pub(crate) fn last_with_slot(&self) -> Option<Ticket> {
        self.order.keys().take(self.slots).next_back().copied()
    }

    /// The attempts that have a slot, if that may have changed since the last call.
    pub(crate) fn take_newly_eligible(&mut self) -> Vec<AttemptId> {
        match std::mem::take(&mut self.has_moved) {
            true => self.order.values().take(self.slots).copied().collect(),
            false => Vec::new(),
        }
    }

    /// All attempts, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = AttemptId> + '_ {
        self.order.values().copied()
    }
}
