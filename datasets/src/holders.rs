//! The connected workers, and the chunks that each holds by its own report. Pure; `table.rs` knows what chunks are for.
//!
//! A worker that has registered is *listing* until its inventory is complete. Until then its holdings of an earlier
//! session of the same incarnation count, and a chunk without a holder may still be listed.

use crate::planted::{self, Planted};
use std::collections::{BTreeMap, BTreeSet};
use windrow_model::{Digest, Incarnation, Time, WorkerId};

/// A worker lists its chunks right after it has registered. A list that is not complete by then is not awaited any more:
/// the worker may be unable to list its chunks, or of an earlier release.
pub(crate) const LISTING_MAX_MS: u64 = 30_000;
/// A worker that has left may return with its chunks: for this long a chunk that only it held does not count as lost.
pub(crate) const ABSENCE_MS: u64 = 60_000;

/// A connected worker.
#[derive(Debug)]
struct Live {
    incarnation: Incarnation,
    /// Its disk is full.
    full: bool,
    listing: Option<Listing>,
}

impl Live {
    /// Until when the rest of its list is awaited.
    fn lists_until(&self) -> Option<Time> {
        self.listing.as_ref().and_then(|listing| listing.until)
    }
}

#[derive(Debug)]
struct Listing {
    /// `None`: the end of the list is not awaited any more.
    until: Option<Time>,
    listed: BTreeSet<Digest>,
}

#[derive(Debug, Default)]
pub(crate) struct Holders {
    /// Never an empty set.
    by_chunk: BTreeMap<Digest, BTreeSet<WorkerId>>,
    live: BTreeMap<WorkerId, Live>,
    /// Number of chunks that each worker holds; never 0.
    counts: BTreeMap<WorkerId, usize>,
    /// Chunks of workers that have left, and until when these are expected back.
    gone: BTreeMap<WorkerId, (Time, BTreeSet<Digest>)>,
    /// Until then workers of an earlier epoch are expected, which may hold any chunk.
    expected_until: Option<Time>,
}

impl Holders {
    /// A worker has registered.
    pub(crate) fn joined(&mut self, worker: WorkerId, incarnation: Incarnation, now: Time) {
        if self.live.get(&worker).is_none_or(|known| known.incarnation != incarnation) {
            self.left(worker, now);
        }
        // Its inventory follows.
        self.gone.remove(&worker);
        let listing = Some(Listing { until: Some(now.plus_ms(LISTING_MAX_MS)), listed: BTreeSet::new() });
        self.live.insert(worker, Live { incarnation, full: false, listing });
    }

    /// A worker has left. Returns the chunks that it held.
    pub(crate) fn left(&mut self, worker: WorkerId, now: Time) -> Vec<Digest> {
        self.live.remove(&worker);
        let held = self.forget(worker, |_| true);
        if !held.is_empty() {
            self.gone.insert(worker, (now.plus_ms(ABSENCE_MS), held.iter().copied().collect()));
        }
        held
    }

    /// Workers that have been away for too long are no longer expected back. True if there was one.
    pub(crate) fn give_up_absent(&mut self, now: Time) -> bool {
        let before = self.gone.len();
        self.gone.retain(|_, (until, _)| *until > now);
        self.expected_until.take_if(|until| *until <= now).is_some() | (self.gone.len() < before)
    }

    /// Workers of an earlier epoch are expected back.
    pub(crate) fn expect_workers(&mut self, now: Time) {
        self.expected_until = Some(now.plus_ms(ABSENCE_MS));
    }

    pub(crate) fn all_are_back(&mut self) {
        self.expected_until = None;
    }

    /// Whether a worker that is expected back held this chunk.
    pub(crate) fn may_return(&self, digest: Digest) -> bool {
        self.expected_until.is_some() || self.gone.values().any(|(_, held)| held.contains(&digest))
    }

    /// Whether this worker has reported that it holds this chunk.
    pub(crate) fn has(&self, worker: WorkerId, digest: Digest) -> bool {
        self.by_chunk.get(&digest).is_some_and(|holders| holders.contains(&worker))
    }

    /// Whether a worker is connected in this incarnation.
    pub(crate) fn is_live_as(&self, worker: WorkerId, incarnation: Incarnation) -> bool {
        self.live.get(&worker).is_some_and(|live| live.incarnation == incarnation)
    }

    pub(crate) fn is_live(&self, worker: WorkerId) -> bool {
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

    /// A worker holds this chunk. False if the worker is not connected.
    pub(crate) fn held(&mut self, worker: WorkerId, digest: Digest) -> bool {
        let Some(live) = self.live.get_mut(&worker) else { return false };
        if let Some(listing) = &mut live.listing {
            listing.listed.insert(digest);
        }
        if self.by_chunk.entry(digest).or_default().insert(worker) {
            *self.counts.entry(worker).or_default() += 1;
        }
        true
    }

    /// Number of chunks that a worker holds.
    pub(crate) fn count_of(&self, worker: WorkerId) -> usize {
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

    /// A worker no longer holds these chunks. Returns those that it was known to hold.
    pub(crate) fn lost(&mut self, worker: WorkerId, digests: &[Digest]) -> Vec<Digest> {
        if let Some(listing) = self.live.get_mut(&worker).and_then(|live| live.listing.as_mut()) {
            digests.iter().for_each(|digest| _ = listing.listed.remove(digest));
        }
        let mut lost = Vec::new();
        for digest in digests {
            let Some(holders) = self.by_chunk.get_mut(digest) else { continue };
            if holders.remove(&worker) {
                lost.push(*digest);
            }
            if holders.is_empty() {
                self.by_chunk.remove(digest);
            }
        }
        self.count_less(worker, lost.len());
        lost
    }

    /// A worker's inventory is complete, if only after its time. Returns the chunks that it no longer holds.
    pub(crate) fn inventory_complete(&mut self, worker: WorkerId) -> Vec<Digest> {
        match self.live.get_mut(&worker).and_then(|live| live.listing.take()) {
            Some(_) if planted::has(Planted::StaleInventory) => Vec::new(),
            Some(Listing { listed, .. }) => self.forget(worker, |digest| !listed.contains(digest)),
            None => Vec::new(),
        }
    }

    /// Workers that have been listing for too long are no longer awaited. True if there was one.
    pub(crate) fn give_up_silent(&mut self, now: Time) -> bool {
        let listings = self.live.values_mut().filter_map(|live| live.listing.as_mut());
        listings.filter_map(|listing| listing.until.take_if(|until| *until <= now)).count() > 0
    }

    /// When the next wait for a worker ends.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let listing = self.live.values().filter_map(Live::lists_until);
        listing.chain(self.gone.values().map(|(until, _)| *until)).chain(self.expected_until).min()
    }

    /// Whether a worker is still listing, so that a chunk without a holder may be on it.
    pub(crate) fn any_is_listing(&self) -> bool {
        self.live.values().any(|live| live.lists_until().is_some())
    }

    /// A worker's disk is full, or has space again. True if that has changed.
    pub(crate) fn note_room(&mut self, worker: WorkerId, full: bool) -> bool {
        self.live.get_mut(&worker).is_some_and(|live| std::mem::replace(&mut live.full, full) != full)
    }

    /// Every connected worker.
    pub(crate) fn workers(&self) -> impl Iterator<Item = WorkerId> + '_ {
        self.live.keys().copied()
    }

    pub(crate) fn workers_count(&self) -> u32 {
        self.live.len() as u32
    }

    /// The holders of a chunk.
    pub(crate) fn of(&self, digest: Digest) -> impl Iterator<Item = WorkerId> + '_ {
        self.by_chunk.get(&digest).into_iter().flatten().copied()
    }

    /// The number of its holders.
    pub(crate) fn count(&self, digest: Digest) -> u32 {
        self.by_chunk.get(&digest).map_or(0, |holders| holders.len() as u32)
    }

    /// Workers without this chunk that have space for it.
    pub(crate) fn could_take(&self, digest: Digest) -> impl Iterator<Item = WorkerId> + '_ {
        let holders = self.by_chunk.get(&digest);
        let could = move |w: &WorkerId, live: &Live| !live.full && holders.is_none_or(|holders| !holders.contains(w));
        self.live.iter().filter(move |(w, live)| could(w, live)).map(|(w, _)| *w)
    }

    /// Removes every copy of a chunk that may be deleted. Not those of a worker that is listing: it could list the
    /// chunk just before it deletes it.
    pub(crate) fn take(&mut self, digest: Digest) -> Vec<WorkerId> {
        let Some(holders) = self.by_chunk.get_mut(&digest) else { return Vec::new() };
        let has_listed = |w: &WorkerId| {
            self.live
                .get(w)
                .is_some_and(|live| live.lists_until().is_none() || planted::has(Planted::DeletedDuringInventory))
        };
        let taken: Vec<WorkerId> = holders.extract_if(.., |w| has_listed(w)).collect();
        if holders.is_empty() {
            self.by_chunk.remove(&digest);
        }
        taken.iter().for_each(|worker| self.count_less(*worker, 1));
        taken
    }
}
