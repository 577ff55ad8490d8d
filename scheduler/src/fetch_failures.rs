//! Who cannot fetch from whom, and what follows.
//!
//! A reader that cannot have a segment complains about its holder. One complaint may be chance. After two different
//! readers have complained about a worker, everything that it holds and somebody still needs is made again elsewhere: each
//! output by itself would cost two fetch_failures more, with all their time-outs. Which machine is to blame is told by pairs: a
//! worker about which others complain from two sides, or one that complains about two itself, gets no tasks for a
//! while. Where there are only two, the one complained about is as good as the other. Without that, two workers that
//! cannot reach each other could make the same outputs again and again, each time on the wrong side.

use crate::job::Job;
use crate::shuffle::is_held;
use crate::state::State;
use crate::worker::Workers;
use std::collections::BTreeSet;
use windrow_model::{JobId, TaskId, WorkerId};

/// Different readers, or sides, that are believed.
const WITNESSES: usize = 2;

/// What readers of one job could not fetch from workers that live.
#[derive(Default)]
pub(crate) struct FetchFailures {
    /// Holder and reader, until what the holder has is made again.
    readers: BTreeSet<(WorkerId, TaskId)>,
    /// Holder and the worker that it could not be reached from.
    pairs: BTreeSet<(WorkerId, WorkerId)>,
}

/// Who is to blame.
#[derive(Debug, PartialEq)]
enum Verdict {
    Open,
    /// What the worker holds is made again, and it is excluded.
    Holder,
    /// What the worker holds is made again.
    Link,
    /// The one that complains is excluded.
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

    /// A worker has begun a new life, perhaps at another address.
    pub fn forget(&mut self, worker: WorkerId) {
        self.forget_holder(worker);
        self.pairs.retain(|(h, s)| *h != worker && *s != worker);
    }

    /// Nothing that lies there is to be fetched any more.
    fn forget_holder(&mut self, holder: WorkerId) {
        self.readers.retain(|(h, _)| *h != holder);
    }

    /// It has no say any more.
    fn forget_reader_worker(&mut self, reader_worker: WorkerId) {
        self.pairs.retain(|(_, s)| *s != reader_worker);
    }
}

impl Job {
    /// Runs again elsewhere whatever of this worker's outputs is needed.
    fn remake(&mut self, holder: WorkerId, workers: &Workers) {
        // Readers come after what they read: a reader that is reopened makes its producers needed.
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
    /// A reader on `side` could not fetch from `holder`, which lives.
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

    /// Holder, reader, side; the last verdict.
    fn judge(workers: usize, fetch_failures: &[(u8, u32, u8)]) -> Verdict {
        let mut all = FetchFailures::default();
        let say = |(h, r, s): &(u8, u32, u8)| all.add(worker(*h), reader(*r), worker(*s), workers);
        fetch_failures.iter().map(say).last().unwrap()
    }

    #[test]
    fn blame_follows_from_who_cannot_reach_whom() {
        assert_eq!(judge(4, &[(1, 0, 2)]), Verdict::Open);
        assert_eq!(judge(4, &[(1, 0, 2), (1, 0, 2)]), Verdict::Open, "the same reader");
        assert_eq!(judge(4, &[(1, 0, 2), (1, 1, 2)]), Verdict::Link);
        assert_eq!(judge(2, &[(1, 0, 2), (1, 1, 2)]), Verdict::Holder, "one of the two it must be");
        assert_eq!(judge(4, &[(1, 0, 2), (1, 0, 3)]), Verdict::Holder, "from two sides");
        assert_eq!(judge(4, &[(1, 0, 2), (3, 1, 2)]), Verdict::Reader, "it reaches nobody");
        assert_eq!(judge(4, &[(1, 0, 2), (3, 0, 4), (3, 1, 2)]), Verdict::Holder);
    }
}
