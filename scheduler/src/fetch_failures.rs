//! Tracks failed fetches between workers, and decides what they mean.
//!
//! A reader that cannot fetch a segment complains about its holder. One complaint may be chance. After complaints of
//! two different readers about a worker, all of its outputs that are still needed are made again elsewhere: each
//! output by itself would cost two more complaints with all their time-outs. The pairs of workers show which machine
//! is at fault: a worker that two others cannot reach, or one that cannot reach two others, gets no tasks for a while.
//! If there are only two workers, the holder is excluded. Without that, two workers that cannot reach each other could
//! make the same outputs again and again, each time on the wrong one.

use crate::job::Job;
use crate::shuffle::is_held;
use crate::state::State;
use crate::worker::Workers;
use std::collections::BTreeSet;
use windrow_model::{JobId, TaskId, WorkerId};

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
enum Verdict {
    Open,
    /// The holder: its outputs are made again, and it is excluded.
    Holder,
    /// The connection: the holder's outputs are made again.
    Link,
    /// The reader's worker: it is excluded.
    Reader,
}

impl FetchFailures {
    fn add(&mut self, holder: WorkerId, reader: TaskId, reader_worker: WorkerId, workers: usize) -> Verdict {
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
    pub fn forget(&mut self, worker: WorkerId) {
        self.forget_holder(worker);
        self.pairs.retain(|(h, s)| *h != worker && *s != worker);
    }

    /// Forgets complaints about a holder whose outputs are made again.
    fn forget_holder(&mut self, holder: WorkerId) {
        self.readers.retain(|(h, _)| *h != holder);
    }

    /// Forgets the complaints of readers on this worker.
    fn forget_reader_worker(&mut self, reader_worker: WorkerId) {
        self.pairs.retain(|(_, s)| *s != reader_worker);
    }
}

impl Job {
    /// Runs tasks again elsewhere whose outputs lie on this worker and are needed.
    fn remake(&mut self, holder: WorkerId, workers: &Workers) {
        // Readers are examined before what they read: a reopened reader makes its producers needed.
        for s in (0..self.stages.len()).rev() {
            if self.stages[s].links.edge_readers.is_empty() || !self.is_needed(s) {
                continue;
            }
            for t in 0..self.stages[s].tasks.len() {
                let task = &mut self.stages[s].tasks[t];
                if !task.is_done() || !is_held(task, workers) {
                    continue;
                }
                let Some(held) = task.held.as_mut().filter(|held| held.worker == holder) else { continue };
                held.doubted = true;
                task.avoid(holder);
                self.reopen(s, t, workers);
            }
        }
    }
}

impl State {
    /// Handles a reader on `reader_worker` that could not fetch from the live worker `holder`.
    pub fn cannot_reach(&mut self, id: JobId, holder: WorkerId, reader: TaskId, reader_worker: WorkerId) {
        let State { jobs, workers, .. } = self;
        let Some(job) = jobs.get_mut(&id) else { return };
        let verdict = job.fetch_failures.add(holder, reader, reader_worker, workers.live_count());
        if matches!(verdict, Verdict::Holder | Verdict::Link) {
            job.fetch_failures.forget_holder(holder);
            job.remake(holder, workers);
        }
        match verdict {
            Verdict::Open | Verdict::Link => {}
            Verdict::Holder => self.exclude(holder, "other workers cannot fetch from it".to_string()),
            Verdict::Reader => {
                job.fetch_failures.forget_reader_worker(reader_worker);
                self.exclude(reader_worker, "it cannot fetch from other workers".to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_model::StageId;

    fn worker(n: u8) -> WorkerId {
        WorkerId::from_bytes([n; 16])
    }

    fn reader(index: u32) -> TaskId {
        TaskId { job: JobId::from_bytes([1; 16]), stage: StageId(1), index }
    }

    /// The last verdict after these complaints: holder, reader, reader's worker.
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
