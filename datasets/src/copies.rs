//! Copies of chunks in progress, and workers that could not make one. Pure; `table.rs` knows which copies are missing.
//!
//! A worker that could not make a copy is asked again after a growing pause, and others before it. After `TRIES_MAX`
//! failures, or with a full disk, no copy is *expected* from it any more: it is still asked at intervals, but no job
//! waits for it.

use crate::planted::{self, Planted};
use std::collections::BTreeMap;
use windrow_model::{Digest, Time, WorkerId};

/// Copies in progress at the same time, over the whole cluster.
const COPIES_MAX: usize = 4;
/// A copy that was not reported by then counts as failed.
const COPY_PATIENCE_MS: u64 = 60_000;
/// The pause after a first failure. It doubles with each further one, up to 32 times.
pub(crate) const COPY_PAUSE_MS: u64 = 2_000;
const PAUSE_DOUBLINGS_MAX: u32 = 5;
/// Failures after which the cause is not a transient broken link.
pub(crate) const TRIES_MAX: u32 = 3;

#[derive(Clone, Copy, Debug)]
struct Refusal {
    tries: u32,
    again: Time,
}

#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// The worker that makes each, and the deadline for its report.
    making: BTreeMap<Digest, (WorkerId, Time)>,
    refusals: BTreeMap<Digest, BTreeMap<WorkerId, Refusal>>,
    /// When the next worker that refused may be asked again.
    next_try: Option<Time>,
}

impl Copies {
    /// Whether another copy may be started.
    pub(crate) fn has_place(&self) -> bool {
        self.making.len() < COPIES_MAX
    }

    pub(crate) fn is_making(&self, digest: Digest) -> bool {
        self.making.contains_key(&digest)
    }

    /// Chooses the worker that makes a copy of this chunk, if one may be asked now: workers without a failure first,
    /// then the one with the fewest copies to make.
    pub(crate) fn begin(
        &mut self,
        digest: Digest,
        candidates: impl Iterator<Item = WorkerId>,
        now: Time,
    ) -> Option<WorkerId> {
        let refusals = self.refusals.get(&digest);
        let refusal = |w: &WorkerId| refusals.and_then(|by| by.get(w));
        let load = |w: &WorkerId| self.making.values().filter(|(by, _)| by == w).count();
        let worker = candidates
            .filter(|w| refusal(w).is_none_or(|r| r.again <= now))
            .min_by_key(|w| (refusal(w).map_or(0, |r| r.tries), load(w), *w))?;
        self.making.insert(digest, (worker, now.plus_ms(COPY_PATIENCE_MS)));
        Some(worker)
    }

    /// The worker holds the chunk.
    pub(crate) fn made(&mut self, worker: WorkerId, digest: Digest) {
        if self.making.get(&digest).is_some_and(|(by, _)| *by == worker) {
            self.making.remove(&digest);
        }
        if let Some(by) = self.refusals.get_mut(&digest) {
            by.remove(&worker);
        }
    }

    /// The worker could not make the requested copy. `for_good`: it will not be able to soon.
    pub(crate) fn refused(&mut self, worker: WorkerId, digest: Digest, for_good: bool, now: Time) {
        if self.making.get(&digest).is_none_or(|(by, _)| *by != worker) {
            return;
        }
        self.making.remove(&digest);
        let refusal = self.refusals.entry(digest).or_default().entry(worker);
        let refusal = refusal.or_insert(Refusal { tries: 0, again: now });
        refusal.tries = (refusal.tries + 1).max(if for_good { TRIES_MAX } else { 0 });
        refusal.again = now.plus_ms(COPY_PAUSE_MS << (refusal.tries - 1).min(PAUSE_DOUBLINGS_MAX));
    }

    /// Copies without a report until their deadline have failed.
    pub(crate) fn give_up_overdue(&mut self, now: Time) {
        if planted::has(Planted::CopyAwaited) {
            return;
        }
        let overdue = self.making.iter().filter(|(_, (_, until))| *until <= now);
        for (digest, worker) in overdue.map(|(digest, (worker, _))| (*digest, *worker)).collect::<Vec<_>>() {
            self.refused(worker, digest, false, now);
        }
    }

    /// Whether a copy can be expected from this worker, if it holds none.
    pub(crate) fn is_expected(&self, worker: WorkerId, digest: Digest) -> bool {
        self.refusals.get(&digest).and_then(|by| by.get(&worker)).is_none_or(|r| r.tries < TRIES_MAX)
    }

    /// The chunk has enough copies, or is not needed.
    pub(crate) fn forget(&mut self, digest: Digest) {
        self.refusals.remove(&digest);
    }

    pub(crate) fn forget_worker(&mut self, worker: WorkerId) {
        self.making.retain(|_, (by, _)| *by != worker);
        self.refusals.retain(|_, by| {
            by.remove(&worker);
            !by.is_empty()
        });
    }

    /// Every worker that may be asked now was asked.
    pub(crate) fn note_asked(&mut self, now: Time) {
        let again = self.refusals.values().flat_map(|by| by.values()).map(|r| r.again);
        self.next_try = again.filter(|at| *at > now).min();
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.making.values().map(|(_, until)| *until).chain(self.next_try).min()
    }
}
