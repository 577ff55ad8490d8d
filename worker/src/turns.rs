//! Which attempts have a slot: those that came first, over all jobs. The others wait, and whenever one of those before them
//! is over the next one gets its slot.

use std::collections::BTreeMap;
use windrow_model::{AttemptId, JobId};

/// A place in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(u64);

/// Attempts that run or will run, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Turns {
    slots: usize,
    next: u64,
    order: BTreeMap<Place, AttemptId>,
    /// Somebody has left since it was asked for.
    moved_up: bool,
}

impl Turns {
    /// Nobody is here, and so many may run at a time.
    pub fn new(slots: usize) -> Self {
        Turns { slots, next: 0, order: BTreeMap::new(), moved_up: false }
    }

    /// How many run at a time.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The attempt comes last.
    pub fn enter(&mut self, id: AttemptId) -> Place {
        let place = Place(self.next);
        self.next += 1;
        self.order.insert(place, id);
        place
    }

    /// Whoever has this place needs it no more, perhaps for long.
    pub fn leave(&mut self, place: Place) {
        self.moved_up |= self.order.remove(&place).is_some();
    }

    /// The same for a whole job.
    pub fn leave_all(&mut self, job: JobId) {
        let before = self.order.len();
        self.order.retain(|_, id| id.task.job != job);
        self.moved_up |= self.order.len() < before;
    }

    /// The last place that has a slot: all before it have one, too.
    pub fn last_with_slot(&self) -> Option<Place> {
        self.order.keys().take(self.slots).next_back().copied()
    }

    /// Those that have a slot now, if there may be others than when this was asked before.
    pub fn moved_up(&mut self) -> Vec<AttemptId> {
        match std::mem::take(&mut self.moved_up) {
            true => self.order.values().take(self.slots).copied().collect(),
            false => Vec::new(),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = AttemptId> + '_ {
        self.order.values().copied()
    }
}
