//! The table of failed fetches between workers, and the verdict that follows from it.
//!
//! The pairs of workers show which machine is at fault: a worker that two others cannot reach, or one that cannot reach
//! two others. If there are only two workers, the holder is to blame. Without that, two workers that cannot reach each
//! other could make the same outputs again and again, each time on the wrong one.

use std::collections::BTreeSet;
use windrow_model::{TaskId, WorkerId};

/// Number of different readers, or of reader workers, that suffices as evidence.
const WITNESSES: usize = 2;

/// Fetches of one job's readers from live workers that failed.
#[derive(Default)]
pub(crate) struct FetchFailures {
    /// Holder and reader, until the holder's outputs are made again.
    readers: BTreeSet<(WorkerId, TaskId)>,
    /// Holder and the worker that could not reach it.
    pairs: BTreeSet<(WorkerId, WorkerId)>,
}

/// Which part is at fault.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Open,
    /// The holder: its outputs are made again, and it is excluded.
    Holder,
    /// The connection: the holder's outputs are made again.
    Link,
    /// The reader's worker: it is excluded.
    Reader,
}

impl FetchFailures {
    /// Records a failed fetch.
    pub(crate) fn add(&mut self, holder: WorkerId, reader: TaskId, reader_worker: WorkerId, workers: usize) -> Verdict {
        self.readers.insert((holder, reader));
        self.pairs.insert((holder, reader_worker));
        let reader_workers_of = |holder| self.pairs.iter().filter(move |(h, _)| *h == holder).count();
        let unreachable: Vec<WorkerId> =
            self.pairs.iter().filter(|(_, s)| *s == reader_worker).map(|(h, _)| *h).collect();
        if reader_workers_of(holder) >= WITNESSES {
            return Verdict::Holder;
        }
        if unreachable.len() >= WITNESSES && unreachable.iter().all(|holder| reader_workers_of(*holder) == 1) {
            return Verdict::Reader;
        }
        match self.readers.iter().filter(|(h, _)| *h == holder).count() {
            n if n < WITNESSES => Verdict::Open,
            _ if workers <= 2 => Verdict::Holder,
            _ => Verdict::Link,
        }
    }

    /// Forgets a worker that has started a new incarnation, perhaps at another address.
    pub(crate) fn forget(&mut self, worker: WorkerId) {
        self.forget_holder(worker);
        self.pairs.retain(|(h, s)| *h != worker && *s != worker);
    }

    /// Forgets failed fetches from a holder whose outputs are made again.
    pub(crate) fn forget_holder(&mut self, holder: WorkerId) {
        self.readers.retain(|(h, _)| *h != holder);
    }

    /// Forgets the failed fetches of readers on this worker.
    pub(crate) fn forget_reader_worker(&mut self, reader_worker: WorkerId) {
        self.pairs.retain(|(_, s)| *s != reader_worker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_model::{JobId, StageId};

    fn worker(n: u8) -> WorkerId {
        WorkerId::from_bytes([n; 16])
    }

    fn reader(index: u32) -> TaskId {
        TaskId { job: JobId::from_bytes([1; 16]), stage: StageId(1), index }
    }

    /// The last verdict after these failed fetches: holder, reader, reader's worker.
    fn judge(workers: usize, fetch_failures: &[(u8, u32, u8)]) -> Verdict {
        let mut all = FetchFailures::default();
        let say = |(h, r, s): &(u8, u32, u8)| all.add(worker(*h), reader(*r), worker(*s), workers);
        fetch_failures.iter().map(say).last().unwrap()
    }

    #[test]
    fn verdict_follows_from_failed_pairs() {
        assert_eq!(judge(4, &[(1, 0, 2)]), Verdict::Open);
        assert_eq!(judge(4, &[(1, 0, 2), (1, 0, 2)]), Verdict::Open, "the same reader");
        assert_eq!(judge(4, &[(1, 0, 2), (1, 1, 2)]), Verdict::Link);
        assert_eq!(judge(2, &[(1, 0, 2), (1, 1, 2)]), Verdict::Holder, "of two workers the holder is blamed");
        assert_eq!(judge(4, &[(1, 0, 2), (1, 0, 3)]), Verdict::Holder, "from two workers");
        assert_eq!(judge(4, &[(1, 0, 2), (3, 1, 2)]), Verdict::Reader, "it reaches no other worker");
        assert_eq!(judge(4, &[(1, 0, 2), (3, 0, 4), (3, 1, 2)]), Verdict::Holder);
    }
}
