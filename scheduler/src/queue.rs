//! The order in which jobs get the next free slot: higher priority first; among equals the job with the fewest
//! attempts, then the one that has waited longest since its last attempt, then the one submitted first. It knows nothing of
//! tasks and workers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use windrow_model::JobId;

/// A job's position: smaller is sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    pub priority: Reverse<i32>,
    /// Attempts that run or are queued on a worker.
    pub attempts: u32,
    /// Sequence number of its last assignment, 0 before the first. With more jobs than slots most have no attempt: each
    /// gets one in its turn.
    pub served: u64,
    pub seq: u64,
}

impl Turn {
    /// Whether a job at this position goes before one at the other even if the other's attempt is already queued on a
    /// worker: it has a higher priority, or would not have more attempts after it has taken one of the other's. A
    /// weaker condition would let two equal jobs displace each other in turn.
    pub(crate) fn beats(&self, other: &Turn) -> bool {
        self.priority < other.priority || self.priority == other.priority && self.attempts + 2 <= other.attempts
    }
}

/// Jobs that can use a slot now, or that have attempts queued for one.
#[derive(Default)]
pub(crate) struct Queue {
    turns: BTreeMap<JobId, Turn>,
    order: BTreeSet<(Turn, JobId)>,
}

impl Queue {
    /// Moves a job to its position, or removes it.
    pub(crate) fn set(&mut self, job: JobId, turn: Option<Turn>) {
        let before = match turn {
            Some(new) => self.turns.insert(job, new),
            None => self.turns.remove(&job),
        };
        if before != turn {
            if let Some(old) = before {
                self.order.remove(&(old, job));
            }
            if let Some(new) = turn {
                self.order.insert((new, job));
            }
        }
    }

    pub(crate) fn get(&self, job: JobId) -> Option<Turn> {
        self.turns.get(&job).copied()
    }

    pub(crate) fn first(&self) -> Option<(Turn, JobId)> {
        self.order.first().copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Turn, JobId)> + '_ {
        self.order.iter().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.turns.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_model::JobId;

    fn job(n: u8) -> JobId {
        JobId::from_bytes([n; 16])
    }

    #[test]
    fn priority_goes_before_share_and_share_before_wait() {
        let mut queue = Queue::default();
        let turn =
            |priority, attempts, seq| Some(Turn { priority: Reverse(priority), attempts, served: 10 - seq / 4, seq });
        queue.set(job(1), turn(0, 0, 1));
        queue.set(job(2), turn(5, 9, 2));
        queue.set(job(3), turn(5, 3, 3));
        queue.set(job(4), turn(5, 3, 4));
        queue.set(job(5), turn(5, 3, 5));
        let mut order = Vec::new();
        while let Some((_, next)) = queue.first() {
            order.push(next);
            queue.set(next, None);
        }
        assert_eq!(order, [job(4), job(5), job(3), job(2), job(1)]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn order_is_stable_after_a_job_takes_a_slot() {
        let turn = |priority, attempts| Turn { priority: Reverse(priority), attempts, served: 0, seq: 0 };
        assert!(turn(1, 100).beats(&turn(0, 1)) && !turn(0, 0).beats(&turn(1, 100)));
        for (few, many) in (0..6).flat_map(|few| (0..6).map(move |many| (few, many))) {
            if turn(0, few).beats(&turn(0, many)) {
                assert!(!turn(0, many - 1).beats(&turn(0, few + 1)), "{few} and {many}");
            }
        }
        assert!(!turn(0, 1).beats(&turn(0, 2)));
    }
}
