//! Which workers there are, and which of them hold which chunk, as they tell it. Pure; what chunks are for is known to
//! `table.rs`.
//!
//! A worker that has registered is *telling* until it has told everything that it holds. Till then what it held in an earlier
//! session of the same life counts, and what nobody seems to hold may turn up.

use crate::planted::{self, Planted};
use std::collections::{BTreeMap, BTreeSet};
use windrow_model::{Digest, Incarnation, Time, WorkerId};

/// A worker tells what it holds right after it has registered. One that has not said by then that this was all never
/// does: it could not list its chunks, or is of an earlier release.
pub(crate) const TELLING_MAX_MS: u64 = 30_000;
/// A worker that has gone may come back with its chunks: for so long a chunk that only it held is not taken to be lost.
pub(crate) const ABSENCE_MS: u64 = 60_000;

/// A worker that can be told to do something.
#[derive(Debug)]
struct Live {
    incarnation: Incarnation,
    /// Its disk has no room.
    full: bool,
    telling: Option<Telling>,
}

#[derive(Debug)]
struct Telling {
    until: Time,
    told: BTreeSet<Digest>,
}

#[derive(Debug, Default)]
pub(crate) struct Holders {
    /// Never an empty set.
    by_chunk: BTreeMap<Digest, BTreeSet<WorkerId>>,
    live: BTreeMap<WorkerId, Live>,
    /// How many chunks each worker holds; never 0.
    counts: BTreeMap<WorkerId, usize>,
    /// What workers held that have gone, and until when they are expected back.
    gone: BTreeMap<WorkerId, (Time, BTreeSet<Digest>)>,
    /// Until then workers of an earlier life are expected, which may hold anything.
    expected_until: Option<Time>,
}

impl Holders {
    /// A worker has registered.
    pub fn joined(&mut self, worker: WorkerId, incarnation: Incarnation, now: Time) {
        if self.live.get(&worker).is_none_or(|known| known.incarnation != incarnation) {
            self.left(worker, now);
        }
        // It tells now what it has.
        self.gone.remove(&worker);
        let telling = Some(Telling { until: now.plus_ms(TELLING_MAX_MS), told: BTreeSet::new() });
        self.live.insert(worker, Live { incarnation, full: false, telling });
    }

    /// A worker is gone. Gives the chunks that it held.
    pub fn left(&mut self, worker: WorkerId, now: Time) -> Vec<Digest> {
        self.live.remove(&worker);
        let held = self.forget(worker, |_| true);
        if !held.is_empty() {
            self.gone.insert(worker, (now.plus_ms(ABSENCE_MS), held.iter().copied().collect()));
        }
        held
    }

    /// Workers that have been away for too long are not expected back. True if there was one.
    pub fn give_up_absent(&mut self, now: Time) -> bool {
        let before = self.gone.len();
        self.gone.retain(|_, (until, _)| *until > now);
        self.expected_until.take_if(|until| *until <= now).is_some() | (self.gone.len() < before)
    }

    /// Workers of an earlier life are expected back.
    pub fn expect_workers(&mut self, now: Time) {
        self.expected_until = Some(now.plus_ms(ABSENCE_MS));
    }

    pub fn all_are_back(&mut self) {
        self.expected_until = None;
    }

    /// Whether a worker that is expected back held this chunk.
    pub fn may_return(&self, digest: Digest) -> bool {
        self.expected_until.is_some() || self.gone.values().any(|(_, held)| held.contains(&digest))
    }

    /// Whether this worker holds this chunk, by its own word.
    pub fn has(&self, worker: WorkerId, digest: Digest) -> bool {
        self.by_chunk.get(&digest).is_some_and(|holders| holders.contains(&worker))
    }

    pub fn is_live(&self, worker: WorkerId) -> bool {
        self.live.contains_key(&worker)
    }

    fn forget(&mut self, worker: WorkerId, is_gone: impl Fn(&Digest) -> bool) -> Vec<Digest> {
        let mut lost = Vec::new();
        self.by_chunk.retain(|digest, holders| {
            if is_gone(digest) && holders.remove(&worker) {
                lost.push(*digest);
            }
            !holders.is_empty()
        });
        self.count_less(worker, lost.len());
        lost
    }

    /// A worker has this chunk whole. False if it is not there.
    pub fn held(&mut self, worker: WorkerId, digest: Digest) -> bool {
        let Some(live) = self.live.get_mut(&worker) else { return false };
        if let Some(telling) = &mut live.telling {
            telling.told.insert(digest);
        }
        if self.by_chunk.entry(digest).or_default().insert(worker) {
            *self.counts.entry(worker).or_default() += 1;
        }
        true
    }

    /// How many chunks a worker holds.
    pub fn count_of(&self, worker: WorkerId) -> usize {
        self.counts.get(&worker).copied().unwrap_or(0)
    }

    fn count_less(&mut self, worker: WorkerId, by: usize) {
        if let Some(count) = self.counts.get_mut(&worker) {
            *count -= by;
            if *count == 0 {
                self.counts.remove(&worker);
            }
        }
    }

    /// A worker does not have these chunks any more. Gives those that it was known to have.
    pub fn lost(&mut self, worker: WorkerId, digests: &[Digest]) -> Vec<Digest> {
        if let Some(telling) = self.live.get_mut(&worker).and_then(|live| live.telling.as_mut()) {
            telling.told.retain(|digest| !digests.contains(digest));
        }
        self.forget(worker, |digest| digests.contains(digest))
    }

    /// A worker has told everything that it holds. Gives what it does not hold any more.
    pub fn inventory_complete(&mut self, worker: WorkerId) -> Vec<Digest> {
        match self.live.get_mut(&worker).and_then(|live| live.telling.take()) {
            Some(_) if planted::has(Planted::StaleInventory) => Vec::new(),
            Some(Telling { told, .. }) => self.forget(worker, |digest| !told.contains(digest)),
            None => Vec::new(),
        }
    }

    /// Whoever has been telling for too long is not waited for any more. True if there was one.
    pub fn give_up_silent(&mut self, now: Time) -> bool {
        let silent = |live: &mut Live| live.telling.take_if(|telling| telling.until <= now).is_some();
        self.live.values_mut().filter_map(|live| silent(live).then_some(())).count() > 0
    }

    /// When that is to be asked.
    pub fn next_deadline(&self) -> Option<Time> {
        let telling = self.live.values().filter_map(|live| live.telling.as_ref()).map(|telling| telling.until);
        telling.chain(self.gone.values().map(|(until, _)| *until)).chain(self.expected_until).min()
    }

    /// A chunk that nobody seems to hold may be on a worker that is telling.
    pub fn are_being_told(&self) -> bool {
        self.live.values().any(|live| live.telling.is_some())
    }

    /// A worker's disk has no room, or has room again. True if that is new.
    pub fn note_room(&mut self, worker: WorkerId, full: bool) -> bool {
        self.live.get_mut(&worker).is_some_and(|live| std::mem::replace(&mut live.full, full) != full)
    }

    /// Every worker that is there.
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> + '_ {
        self.live.keys().copied()
    }

    pub fn workers_count(&self) -> u32 {
        self.live.len() as u32
    }

    /// Who holds a chunk.
    pub fn of(&self, digest: Digest) -> impl Iterator<Item = WorkerId> + '_ {
        self.by_chunk.get(&digest).into_iter().flatten().copied()
    }

    /// How many hold it.
    pub fn count(&self, digest: Digest) -> u32 {
        self.by_chunk.get(&digest).map_or(0, |holders| holders.len() as u32)
    }

    /// Who does not hold a chunk and has room for it.
    pub fn could_take(&self, digest: Digest) -> impl Iterator<Item = WorkerId> + '_ {
        let holders = self.by_chunk.get(&digest);
        let could = move |w: &WorkerId, live: &Live| !live.full && holders.is_none_or(|holders| !holders.contains(w));
        self.live.iter().filter(move |(w, live)| could(w, live)).map(|(w, _)| *w)
    }

    /// Takes out every copy of a chunk that may be deleted. None of a worker that is telling: it could tell of the chunk just
    /// before it deletes it.
    pub fn take(&mut self, digest: Digest) -> Vec<WorkerId> {
        let Some(holders) = self.by_chunk.get_mut(&digest) else { return Vec::new() };
        let has_told = |w: &WorkerId| {
            self.live.get(w).is_some_and(|live| live.telling.is_none() || planted::has(Planted::DeletedDuringInventory))
        };
        let taken: Vec<WorkerId> = holders.extract_if(.., |w| has_told(w)).collect();
        if holders.is_empty() {
            self.by_chunk.remove(&digest);
        }
        taken.iter().for_each(|worker| self.count_less(*worker, 1));
        taken
    }
}
