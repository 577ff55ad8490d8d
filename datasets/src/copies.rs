//! Copies of chunks that are being made, and who could not make one. Pure; which copies are missing is known to
//! `table.rs`.
//!
//! Whoever could not make a copy is asked again after a pause that grows, and others before it. From a worker that has no
//! room, or has failed `TRIES_MAX` times, no copy is *expected* any more: it is still asked now and then, but nobody waits
//! for it.

use crate::planted::{self, Planted};
use std::collections::BTreeMap;
use windrow_model::{Digest, Time, WorkerId};

/// Copies that are made at the same time, over the whole cluster.
const COPIES_MAX: usize = 4;
/// A copy that was not reported by then counts as one that failed.
const COPY_PATIENCE_MS: u64 = 60_000;
/// The pause after a first failure. It doubles with each one up to 32 times.
pub(crate) const COPY_PAUSE_MS: u64 = 2_000;
const PAUSE_DOUBLINGS_MAX: u32 = 5;
/// What fails so often is not a link that broke for a moment.
pub(crate) const TRIES_MAX: u32 = 3;

#[derive(Clone, Copy, Debug)]
struct Refusal {
    tries: u32,
    again: Time,
}

#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// By whom they are made, and until when they are waited for.
    making: BTreeMap<Digest, (WorkerId, Time)>,
    refusals: BTreeMap<Digest, BTreeMap<WorkerId, Refusal>>,
    /// When the next of those who refused may be asked again.
    next_try: Option<Time>,
}

impl Copies {
    /// Whether one more may be made.
    pub fn has_place(&self) -> bool {
        self.making.len() < COPIES_MAX
    }

    pub fn is_making(&self, digest: Digest) -> bool {
        self.making.contains_key(&digest)
    }

    /// Chooses who makes a copy of this chunk, if one of them may be asked now: one that has not failed before, and among
    /// those the one with the least to copy.
    pub fn begin(&mut self, digest: Digest, candidates: impl Iterator<Item = WorkerId>, now: Time) -> Option<WorkerId> {
        let refusals = self.refusals.get(&digest);
        let refusal = |w: &WorkerId| refusals.and_then(|by| by.get(w));
        let load = |w: &WorkerId| self.making.values().filter(|(by, _)| by == w).count();
        let worker = candidates
            .filter(|w| refusal(w).is_none_or(|r| r.again <= now))
            .min_by_key(|w| (refusal(w).map_or(0, |r| r.tries), load(w), *w))?;
        self.making.insert(digest, (worker, now.plus_ms(COPY_PATIENCE_MS)));
        Some(worker)
    }

    /// The worker has the chunk.
    pub fn made(&mut self, worker: WorkerId, digest: Digest) {
        if self.making.get(&digest).is_some_and(|(by, _)| *by == worker) {
            self.making.remove(&digest);
        }
        if let Some(by) = self.refusals.get_mut(&digest) {
            by.remove(&worker);
        }
    }

    /// The worker could not make the copy that it was asked for. `for_good`: it will not soon.
    pub fn refused(&mut self, worker: WorkerId, digest: Digest, for_good: bool, now: Time) {
        if self.making.get(&digest).is_none_or(|(by, _)| *by != worker) {
            return;
        }
        self.making.remove(&digest);
        let refusal = self.refusals.entry(digest).or_default().entry(worker);
        let refusal = refusal.or_insert(Refusal { tries: 0, again: now });
        refusal.tries = (refusal.tries + 1).max(if for_good { TRIES_MAX } else { 0 });
        refusal.again = now.plus_ms(COPY_PAUSE_MS << (refusal.tries - 1).min(PAUSE_DOUBLINGS_MAX));
    }

    /// Copies that nobody has heard of for too long have failed.
    pub fn give_up_overdue(&mut self, now: Time) {
        if planted::has(Planted::CopyAwaited) {
            return;
        }
        let overdue = self.making.iter().filter(|(_, (_, until))| *until <= now);
        for (digest, worker) in overdue.map(|(digest, (worker, _))| (*digest, *worker)).collect::<Vec<_>>() {
            self.refused(worker, digest, false, now);
        }
    }

    /// Whether this worker can be expected to make a copy, if it does not have one.
    pub fn is_expected(&self, worker: WorkerId, digest: Digest) -> bool {
        self.refusals.get(&digest).and_then(|by| by.get(&worker)).is_none_or(|r| r.tries < TRIES_MAX)
    }

    /// The chunk needs no more copies, or is not needed.
    pub fn forget(&mut self, digest: Digest) {
        self.refusals.remove(&digest);
    }

    pub fn forget_worker(&mut self, worker: WorkerId) {
        self.making.retain(|_, (by, _)| *by != worker);
        self.refusals.retain(|_, by| {
            by.remove(&worker);
            !by.is_empty()
        });
    }

    /// Everybody who may be asked now was.
    pub fn note_asked(&mut self, now: Time) {
        let again = self.refusals.values().flat_map(|by| by.values()).map(|r| r.again);
        self.next_try = again.filter(|at| *at > now).min();
    }

    pub fn next_deadline(&self) -> Option<Time> {
        self.making.values().map(|(_, until)| *until).chain(self.next_try).min()
    }
}
