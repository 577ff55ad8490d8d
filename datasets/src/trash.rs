//! The chunks in each worker's trash, by its own report. These are copies of last resort.

use std::collections::{BTreeMap, BTreeSet};
use windrow_model::{Digest, WorkerId};

#[derive(Debug, Default)]
pub(crate) struct Trash {
    /// Never an empty set.
    by_chunk: BTreeMap<Digest, BTreeSet<WorkerId>>,
    /// Number of chunks in each worker's trash; never 0.
    counts: BTreeMap<WorkerId, usize>,
}

impl Trash {
    /// A worker has this chunk in its trash. False if it has reported `most` others and this one is ignored.
    pub(crate) fn note(&mut self, worker: WorkerId, digest: Digest, most: usize) -> bool {
        let is_known = self.by_chunk.get(&digest).is_some_and(|workers| workers.contains(&worker));
        let count = self.counts.get(&worker).copied().unwrap_or(0);
        if is_known || count >= most {
            return is_known;
        }
        self.by_chunk.entry(digest).or_default().insert(worker);
        self.counts.insert(worker, count + 1);
        true
    }

    /// A worker no longer has it there: it was restored, or the worker left.
    pub(crate) fn forget(&mut self, worker: WorkerId, digest: Digest) {
        let Some(workers) = self.by_chunk.get_mut(&digest) else { return };
        if workers.remove(&worker)
            && let Some(count) = self.counts.get_mut(&worker)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&worker);
            }
        }
        if workers.is_empty() {
            self.by_chunk.remove(&digest);
        }
    }

    /// Forgets a worker. Returns the chunks that are in no trash any more.
    pub(crate) fn worker_left(&mut self, worker: WorkerId) -> Vec<Digest> {
        let mut gone = Vec::new();
        self.counts.remove(&worker);
        self.by_chunk.retain(|digest, workers| {
            if workers.remove(&worker) && workers.is_empty() {
                gone.push(*digest);
            }
            !workers.is_empty()
        });
        gone
    }

    /// The workers that have it in their trash.
    pub(crate) fn of(&self, digest: Digest) -> impl Iterator<Item = WorkerId> + '_ {
        self.by_chunk.get(&digest).into_iter().flatten().copied()
    }

    /// Every chunk that is in some trash.
    pub(crate) fn all(&self) -> impl Iterator<Item = Digest> + '_ {
        self.by_chunk.keys().copied()
    }
}
