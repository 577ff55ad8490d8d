//! Unreferenced chunks on workers whose deletion no recorded change has ordered. Pure.
//!
//! They were stored by lost attempts of a job, or by a put whose coordinator ended; or, if the journal is a wrong one,
//! they are a user's data. So each stays for `kept_ms`, then moves to its workers' trash, at most `per_hour` in an
//! hour. Chunks in the trash are remembered too: they are copies of last resort.
//!
//! Time is that of the *orphans' clock*: the sum of the running times of this journal's coordinators, by monotonic
//! clocks. Neither a wall clock that jumps nor a coordinator that is down makes an orphan older. Only the time during
//! which a connected worker holds it counts. The journal keeps the clock and the waiting time of each orphan
//! (`OrphanWaits`), written at most once a minute: a killed coordinator loses a minute of every wait.

use crate::hour::Hour;
use crate::planted::{self, Planted};
use crate::waits::{OrphanChanges, OrphanRule, OrphanWaits, ReservationId, Wait};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use windrow_model::{Digest, Time};

/// Interval of recording the clock.
pub(crate) const NOTE_EVERY_MS: u64 = 60_000;
/// Bound on the orphans whose waits the journal keeps. Others begin to wait anew with each epoch.
pub(crate) const RECORDED_MAX: usize = 500_000;

/// The relation of a chunk to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A connected worker holds it, and it is unreferenced.
    Orphan,
    /// No connected worker holds it, and it is unreferenced.
    Away,
    /// It is referenced, or its deletion was ordered.
    Settled,
}

/// The orphans of a table.
#[derive(Debug, Default)]
pub struct Orphans {
    rule: OrphanRule,
    /// The orphans' clock at the beginning of this epoch.
    base_ms: u64,
    /// Found since the last call of `stamp`.
    fresh: BTreeSet<Digest>,
    /// Orphans that have lost their last holder since then.
    left: BTreeSet<Digest>,
    /// Start of each wait, on the orphans' clock.
    since: BTreeMap<Digest, u64>,
    by_time: BTreeSet<(u64, Digest)>,
    /// Waiting times of orphans without a holder.
    paused: BTreeMap<Digest, u64>,
    /// Orphans whose record in the journal is outdated.
    changed: BTreeSet<Digest>,
    /// Some moved to the trash, which is recorded at once.
    urgent: bool,
    noted_at: Time,
    /// Reported lengths in bytes.
    lengths: BTreeMap<Digest, u64>,
    hour: Hour,
    /// The next deadline, on the orphans' clock.
    next: Option<u64>,
}

impl Orphans {
    /// Starts with the journal's record of earlier epochs. The time of this epoch begins at zero.
    pub fn new(rule: OrphanRule, waits: OrphanWaits) -> Self {
        let OrphanWaits { clock_ms, hour, waits } = waits;
        let waited = |wait| match wait {
            Wait::Since(at) => clock_ms.saturating_sub(at),
            Wait::Paused(ms) => ms,
        };
        let mut paused: Vec<(Digest, u64)> = waits.into_iter().map(|(digest, wait)| (digest, waited(wait))).collect();
        let mut changed = BTreeSet::new();
        if paused.len() > RECORDED_MAX {
            paused.sort_unstable_by_key(|(digest, waited)| (std::cmp::Reverse(*waited), *digest));
            changed.extend(paused.split_off(RECORDED_MAX).into_iter().map(|(digest, _)| digest));
        }
        let hour = Hour::new(rule.per_hour, hour);
        Orphans { rule, base_ms: clock_ms, hour, paused: paused.into_iter().collect(), changed, ..Orphans::default() }
    }

    fn clock(&self, now: Time) -> u64 {
        self.base_ms.saturating_add(now.0)
    }

    /// Records the present standing of this chunk.
    pub(crate) fn note(&mut self, digest: Digest, standing: Standing) {
        match standing {
            Standing::Orphan => {
                self.left.remove(&digest);
                if !self.since.contains_key(&digest) {
                    self.fresh.insert(digest);
                }
            }
            Standing::Away => {
                self.fresh.remove(&digest);
                if self.since.contains_key(&digest) {
                    self.left.insert(digest);
                }
            }
            Standing::Settled => self.forget(digest),
        }
    }

    fn forget(&mut self, digest: Digest) {
        self.fresh.remove(&digest);
        self.left.remove(&digest);
        let since = self.since.remove(&digest);
        since.into_iter().for_each(|at| _ = self.by_time.remove(&(at, digest)));
        if since.is_some() | self.paused.remove(&digest).is_some() {
            self.changed.insert(digest);
        }
    }

    /// Whether this chunk is an orphan, or was one when a worker held it.
    pub(crate) fn is_known(&self, digest: Digest) -> bool {
        self.since.contains_key(&digest) || self.fresh.contains(&digest) || self.paused.contains_key(&digest)
    }

    /// A worker holds this chunk with this length in bytes.
    pub(crate) fn note_length(&mut self, digest: Digest, length: u64) {
        self.lengths.insert(digest, length);
    }

    /// No worker has it, not even in a trash.
    pub(crate) fn forget_length(&mut self, digest: Digest) {
        self.lengths.remove(&digest);
    }

    pub(crate) fn length(&self, digest: Digest) -> Option<u64> {
        self.lengths.get(&digest).copied()
    }

    /// Sets the time of orphans that were found, or lost their holders, since the last call.
    pub(crate) fn stamp(&mut self, now: Time) {
        let clock = self.clock(now);
        for digest in std::mem::take(&mut self.left) {
            if let Some(at) = self.since.remove(&digest) {
                self.by_time.remove(&(at, digest));
                self.paused.insert(digest, clock.saturating_sub(at));
                self.changed.insert(digest);
            }
        }
        for digest in std::mem::take(&mut self.fresh) {
            let at = clock.saturating_sub(self.paused.remove(&digest).unwrap_or(0));
            self.since.insert(digest, at);
            self.by_time.insert((at, digest));
            self.changed.insert(digest);
        }
    }

    /// Expired orphans, as many as may be ordered to move now. They stay orphans until `went`. If a durable reservation
    /// is needed first, the next changes for the journal have it.
    pub(crate) fn due(&mut self, now: Time) -> Vec<Digest> {
        let clock = self.clock(now);
        let kept_ms = if planted::has(Planted::OrphansUnkept) { 0 } else { self.rule.kept_ms };
        // A chunk whose wait began then has just expired.
        let began = clock.checked_sub(kept_ms);
        let room = self.hour.room(clock);
        let expired = self.by_time.iter().take_while(|(at, _)| Some(*at) <= began).take(room);
        let mut due: Vec<Digest> = expired.map(|(_, digest)| *digest).collect();
        let room_at = self.hour.room_at().filter(|_| due.len() == room);
        let later = match began {
            Some(began) => {
                let after = Bound::Excluded((began, Digest([u8::MAX; 32])));
                self.by_time.range((after, Bound::Unbounded)).next()
            }
            None => self.by_time.first(),
        };
        let may_go = self.hour.claim(clock, due.len());
        // Those beyond the reservation need the next one.
        let rest = (0 < may_go && may_go < due.len()).then_some(clock);
        self.next = rest.or(room_at).or(later.map(|(at, _)| at.saturating_add(kept_ms)));
        due.truncate(may_go);
        due
    }

    /// The journal has this reservation.
    pub(crate) fn reservation_recorded(&mut self, id: ReservationId) {
        self.hour.recorded(id);
    }

    /// This orphan is in the trash of every worker that held it.
    pub(crate) fn went(&mut self, digest: Digest, now: Time) {
        self.forget(digest);
        self.urgent = true;
        let clock = self.clock(now);
        self.hour.went(clock);
        if self.hour.room(clock) == 0 {
            self.next = self.hour.room_at();
        }
    }

    /// When `due` may have new orphans without an event.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.next.map(|at| Time(at.saturating_sub(self.base_ms)))
    }

    /// When `take_changes` has changes without an event.
    pub(crate) fn next_note(&self) -> Option<Time> {
        self.has_changes().then(|| self.noted_at.plus_ms(NOTE_EVERY_MS))
    }

    fn has_changes(&self) -> bool {
        // The clock advances as long as there is an orphan.
        !self.changed.is_empty() || !self.since.is_empty()
    }

    /// The changes to record in the journal, if it is time for that, or this epoch ends.
    pub(crate) fn take_changes(&mut self, now: Time, ends: bool) -> Option<OrphanChanges> {
        if ends {
            self.hour.end();
        }
        let at_once = ends || self.urgent || self.hour.is_asked();
        let is_time = at_once || self.next_note().is_some_and(|at| at <= now);
        if !is_time || !self.has_changes() {
            return None;
        }
        (self.noted_at, self.urgent) = (now, false);
        let wait = |digest: &Digest| match (self.since.get(digest), self.paused.get(digest)) {
            (Some(at), _) => Some(Wait::Since(*at)),
            (None, waited) => waited.map(|ms| Wait::Paused(*ms)),
        };
        let waits = std::mem::take(&mut self.changed).into_iter().map(|digest| (digest, wait(&digest))).collect();
        let clock_ms = self.clock(now);
        let (reserves, hour) = self.hour.take_record(clock_ms);
        Some(OrphanChanges { clock_ms, hour, waits, reserves })
    }

    /// How long it has been an orphan, and how much longer it is kept, in milliseconds.
    pub(crate) fn ages(&self, digest: Digest, now: Time) -> (u64, u64) {
        let waited = || self.paused.get(&digest).copied().unwrap_or(0);
        let for_ms = self.since.get(&digest).map_or_else(waited, |at| self.clock(now).saturating_sub(*at));
        (for_ms, self.rule.kept_ms.saturating_sub(for_ms))
    }

    /// Every orphan.
    pub(crate) fn all(&self) -> impl Iterator<Item = Digest> {
        self.since.keys().filter(|digest| !self.left.contains(digest)).chain(&self.fresh).copied()
    }

    /// Chunks whose lengths are known.
    #[cfg(test)]
    pub(crate) fn lengths_known(&self) -> usize {
        self.lengths.len()
    }
}

#[cfg(test)]
#[path = "orphans_tests.rs"]
mod tests;
