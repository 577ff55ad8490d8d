//! Chunks that workers hold and that nothing refers to, although no recorded change has ordered their deletion. Pure.
//!
//! They are what a job's lost attempts stored, what a put left whose coordinator ended, or, if the journal is not what it should
//! be, somebody's data. So each stays for `kept_ms`, then goes to its workers' trash, and of all of them no more than `per_hour` in
//! an hour. Those in the trash are remembered too: they are copies of last resort.
//!
//! Time is that of the *orphans' clock*: the sum of the times for which coordinators of this journal have run, by monotonic clocks.
//! Neither a wall clock that jumps nor a coordinator that is down makes an orphan older. Only the time for which a worker that is
//! there holds it counts. The journal keeps the clock and how long each has waited (`OrphanWaits`), written at most once a minute:
//! a life that ends without a word loses a minute of every wait.

use crate::planted::{self, Planted};
use crate::waits::{HOUR_MS, OrphanChanges, OrphanRule, OrphanWaits, Wait};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use windrow_model::{Digest, Time};

/// Between two records of the clock.
pub(crate) const NOTE_EVERY_MS: u64 = 60_000;
/// Orphans whose waits the journal keeps. Others begin to wait anew with each life.
pub(crate) const RECORDED_MAX: usize = 500_000;

/// What a chunk is to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A worker that is there holds it, and nothing refers to it.
    Orphan,
    /// No worker that is there holds it, and nothing refers to it.
    Away,
    /// Something refers to it, or its deletion was ordered.
    Settled,
}

/// The orphans of a table.
#[derive(Debug, Default)]
pub struct Orphans {
    rule: OrphanRule,
    /// The orphans' clock when this life began.
    base_ms: u64,
    /// Found since `stamp` was last called.
    fresh: BTreeSet<Digest>,
    /// Those that no worker holds any more since then.
    left: BTreeSet<Digest>,
    /// Times of the orphans' clock.
    since: BTreeMap<Digest, u64>,
    by_time: BTreeSet<(u64, Digest)>,
    /// How long those have waited that no worker holds now.
    paused: BTreeMap<Digest, u64>,
    /// The journal does not have how these stand.
    changed: BTreeSet<Digest>,
    /// Some went to the trash, which is recorded at once.
    urgent: bool,
    noted_at: Time,
    /// Bytes, as far as workers have told.
    lengths: BTreeMap<Digest, u64>,
    /// When chunks went to the trash in the last hour, on the orphans' clock, oldest first.
    gone: VecDeque<u64>,
    /// When something is due, on the orphans' clock.
    next: Option<u64>,
}

impl Orphans {
    /// With what the journal has of earlier lives. The time of this one begins at zero.
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
        // The journal has the time of the last one alone: all count as if they had gone then.
        let gone = hour.map_or(VecDeque::new(), |(last, gone)| {
            std::iter::repeat_n(last, gone.min(rule.per_hour) as usize).collect()
        });
        Orphans { rule, base_ms: clock_ms, gone, paused: paused.into_iter().collect(), changed, ..Orphans::default() }
    }

    fn clock(&self, now: Time) -> u64 {
        self.base_ms.saturating_add(now.0)
    }

    /// How this chunk stands now.
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

    /// A worker holds so many bytes under this name.
    pub(crate) fn note_length(&mut self, digest: Digest, length: u64) {
        self.lengths.insert(digest, length);
    }

    /// Nobody holds it, not even in a trash.
    pub(crate) fn forget_length(&mut self, digest: Digest) {
        self.lengths.remove(&digest);
    }

    pub(crate) fn length(&self, digest: Digest) -> Option<u64> {
        self.lengths.get(&digest).copied()
    }

    /// The time of those that were found, or left, since the last call is now.
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

    /// Orphans whose time is over, as many as may go now. They are orphans until `went`.
    pub(crate) fn due(&mut self, now: Time) -> Vec<Digest> {
        let clock = self.clock(now);
        while self.gone.front().is_some_and(|at| at.saturating_add(HOUR_MS) <= clock) {
            self.gone.pop_front();
        }
        let may_go = match planted::has(Planted::HourUnbounded) {
            true => usize::MAX,
            false => (self.rule.per_hour as usize).saturating_sub(self.gone.len()),
        };
        let kept_ms = if planted::has(Planted::OrphansUnkept) { 0 } else { self.rule.kept_ms };
        let over = |at: u64| at.saturating_add(kept_ms);
        let due = self.by_time.iter().take_while(|(at, _)| over(*at) <= clock);
        let due: Vec<Digest> = due.take(may_go).map(|(_, digest)| *digest).collect();
        let later = self.by_time.iter().map(|(at, _)| over(*at)).find(|at| *at > clock);
        let room_at = self.gone.front().filter(|_| due.len() == may_go).map(|at| at.saturating_add(HOUR_MS));
        self.next = room_at.or(later);
        due
    }

    /// This one is in the trash of every worker that held it.
    pub(crate) fn went(&mut self, digest: Digest, now: Time) {
        self.forget(digest);
        self.urgent = true;
        self.gone.push_back(self.clock(now));
        if self.gone.len() >= self.rule.per_hour as usize {
            self.next = self.gone.front().map(|at| at.saturating_add(HOUR_MS));
        }
    }

    /// When `due` may have something new without an event.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.next.map(|at| Time(at.saturating_sub(self.base_ms)))
    }

    /// When `take_changes` has something without an event.
    pub(crate) fn next_note(&self) -> Option<Time> {
        self.has_changes().then(|| self.noted_at.plus_ms(NOTE_EVERY_MS))
    }

    fn has_changes(&self) -> bool {
        // While there is an orphan the clock goes on.
        !self.changed.is_empty() || !self.since.is_empty()
    }

    /// What the journal is to record, if it is time for that, or this life ends.
    pub(crate) fn take_changes(&mut self, now: Time, ends: bool) -> Option<OrphanChanges> {
        let is_time = ends || self.urgent || self.next_note().is_some_and(|at| at <= now);
        if !is_time || !self.has_changes() {
            return None;
        }
        (self.noted_at, self.urgent) = (now, false);
        let wait = |digest: &Digest| match (self.since.get(digest), self.paused.get(digest)) {
            (Some(at), _) => Some(Wait::Since(*at)),
            (None, waited) => waited.map(|ms| Wait::Paused(*ms)),
        };
        let waits = std::mem::take(&mut self.changed).into_iter().map(|digest| (digest, wait(&digest))).collect();
        let hour = self.gone.back().map(|last| (*last, self.gone.len() as u32));
        Some(OrphanChanges { clock_ms: self.clock(now), hour, waits })
    }

    /// For how long it has been an orphan, and how much longer it is kept.
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
