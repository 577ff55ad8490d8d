//! Chunks that workers hold and that nothing refers to, although no recorded change has ordered their deletion. Pure.
//!
//! They are what a put left that was broken off, what a job's lost attempts stored, or, if the journal is not what it should be,
//! somebody's data. So each stays for `kept_ms`, then goes to its workers' trash, and of all of them no more than `per_hour` in an
//! hour. Those in the trash are remembered too: they are copies of last resort.

use std::collections::{BTreeMap, BTreeSet};
use windrow_model::{Digest, Time, WorkerId};

const HOUR_MS: u64 = 3_600_000;

/// How long orphans are kept, and how fast they go then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrphanRule {
    /// From when a coordinator finds that nothing refers to a chunk, to the trash.
    pub kept_ms: u64,
    /// Chunks that go to the trash in an hour, over the whole cluster.
    pub per_hour: u32,
}

impl Default for OrphanRule {
    fn default() -> Self {
        OrphanRule { kept_ms: 24 * HOUR_MS, per_hour: 1_000 }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Orphans {
    rule: OrphanRule,
    /// Found since `stamp` was last called.
    fresh: BTreeSet<Digest>,
    since: BTreeMap<Digest, Time>,
    by_time: BTreeSet<(Time, Digest)>,
    /// Bytes, as far as workers have told.
    lengths: BTreeMap<Digest, u64>,
    trashed: BTreeMap<Digest, BTreeSet<WorkerId>>,
    /// When the present hour began, and how many have gone in it.
    hour: Option<(Time, u32)>,
    next: Option<Time>,
}

impl Orphans {
    pub fn new(rule: OrphanRule) -> Self {
        Orphans { rule, ..Orphans::default() }
    }

    /// Whether this chunk is an orphan now.
    pub fn note(&mut self, digest: Digest, is_orphan: bool) {
        if is_orphan {
            if !self.since.contains_key(&digest) {
                self.fresh.insert(digest);
            }
        } else {
            self.forget(digest);
        }
    }

    fn forget(&mut self, digest: Digest) {
        self.fresh.remove(&digest);
        if let Some(at) = self.since.remove(&digest) {
            self.by_time.remove(&(at, digest));
        }
    }

    /// A worker holds so many bytes under this name.
    pub fn note_length(&mut self, digest: Digest, length: u64) {
        self.lengths.insert(digest, length);
    }

    /// Nobody holds it, not even in a trash.
    pub fn forget_length(&mut self, digest: Digest) {
        self.lengths.remove(&digest);
    }

    pub fn length(&self, digest: Digest) -> Option<u64> {
        self.lengths.get(&digest).copied()
    }

    /// The time of those that were found since the last call is now.
    pub fn stamp(&mut self, now: Time) {
        for digest in std::mem::take(&mut self.fresh) {
            self.since.insert(digest, now);
            self.by_time.insert((now, digest));
        }
    }

    /// Orphans whose time is over, as many as may go now. They are orphans until `went`.
    pub fn due(&mut self, now: Time) -> Vec<Digest> {
        self.hour.take_if(|(began, _)| began.plus_ms(HOUR_MS) <= now);
        let gone = self.hour.map_or(0, |(_, gone)| gone);
        let may_go = self.rule.per_hour.saturating_sub(gone) as usize;
        let kept_ms = self.rule.kept_ms;
        let is_due = |at: Time| at.plus_ms(kept_ms) <= now;
        let due: Vec<Digest> =
            self.by_time.iter().take_while(|(at, _)| is_due(*at)).take(may_go).map(|(_, digest)| *digest).collect();
        let later = self.by_time.iter().map(|(at, _)| at.plus_ms(kept_ms)).find(|at| *at > now);
        let hour_ends = self.hour.filter(|_| due.len() == may_go).map(|(began, _)| began.plus_ms(HOUR_MS));
        self.next = hour_ends.or(later);
        due
    }

    /// This one is in the trash of every worker that held it.
    pub fn went(&mut self, digest: Digest, now: Time) {
        self.forget(digest);
        let hour = self.hour.get_or_insert((now, 0));
        hour.1 += 1;
        if hour.1 >= self.rule.per_hour {
            self.next = Some(hour.0.plus_ms(HOUR_MS));
        }
    }

    /// When `due` may have something new without an event.
    pub fn next_deadline(&self) -> Option<Time> {
        self.next
    }

    /// For how long it has been an orphan, and how much longer it is kept.
    pub fn ages(&self, digest: Digest, now: Time) -> (u64, u64) {
        let for_ms = self.since.get(&digest).map_or(0, |at| now.since_ms(*at));
        (for_ms, self.rule.kept_ms.saturating_sub(for_ms))
    }

    /// Every orphan.
    pub fn all(&self) -> impl Iterator<Item = Digest> {
        self.since.keys().chain(&self.fresh).copied()
    }

    /// A worker has this chunk in its trash.
    pub fn trashed(&mut self, worker: WorkerId, digest: Digest) {
        self.trashed.entry(digest).or_default().insert(worker);
    }

    /// A worker has it no more there: it came back, or the worker left.
    pub fn not_trashed(&mut self, worker: WorkerId, digest: Digest) {
        if let Some(workers) = self.trashed.get_mut(&digest) {
            workers.remove(&worker);
            if workers.is_empty() {
                self.trashed.remove(&digest);
            }
        }
    }

    /// Gives what is in no trash any more.
    pub fn worker_left(&mut self, worker: WorkerId) -> Vec<Digest> {
        let mut gone = Vec::new();
        self.trashed.retain(|digest, workers| {
            if workers.remove(&worker) && workers.is_empty() {
                gone.push(*digest);
            }
            !workers.is_empty()
        });
        gone
    }

    /// Chunks whose lengths are known.
    #[cfg(test)]
    pub fn lengths_known(&self) -> usize {
        self.lengths.len()
    }

    /// Who has it in the trash.
    pub fn in_trash(&self, digest: Digest) -> impl Iterator<Item = WorkerId> + '_ {
        self.trashed.get(&digest).into_iter().flatten().copied()
    }

    /// Every chunk that is in some trash.
    pub fn all_trashed(&self) -> impl Iterator<Item = Digest> + '_ {
        self.trashed.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> Digest {
        Digest([n; 32])
    }

    #[test]
    fn orphans_are_kept_for_their_time_from_when_it_was_noticed() {
        let mut orphans = Orphans::new(OrphanRule { kept_ms: 100, per_hour: 10 });
        orphans.note(digest(1), true);
        // A quiet hour without a look at the clock is no hour of keeping.
        orphans.stamp(Time(HOUR_MS));
        assert_eq!(orphans.due(Time(HOUR_MS + 99)), []);
        assert_eq!(orphans.next_deadline(), Some(Time(HOUR_MS + 100)));
        orphans.note(digest(1), true);
        orphans.stamp(Time(HOUR_MS + 50));
        assert_eq!(orphans.ages(digest(1), Time(HOUR_MS + 60)), (60, 40));
        assert_eq!(orphans.due(Time(HOUR_MS + 100)), [digest(1)]);
        assert_eq!(orphans.next_deadline(), None, "what could not go is asked for with the next event");
        // It is referred to again, and then not any more: it is kept anew.
        orphans.note(digest(1), false);
        orphans.note(digest(1), true);
        orphans.stamp(Time(HOUR_MS + 200));
        assert_eq!(orphans.due(Time(HOUR_MS + 200)), []);
    }

    #[test]
    fn no_more_orphans_go_in_an_hour_than_the_rule_says() {
        let mut orphans = Orphans::new(OrphanRule { kept_ms: 0, per_hour: 2 });
        (1..=5).for_each(|n| orphans.note(digest(n), true));
        orphans.stamp(Time(7));
        let mut gone = 0;
        for (now, expected) in [(7, 2), (8, 0), (6 + HOUR_MS, 0), (7 + HOUR_MS, 2), (8 + 2 * HOUR_MS, 1)] {
            let due = orphans.due(Time(now));
            assert_eq!(due.len(), expected, "{now}");
            due.into_iter().for_each(|d| orphans.went(d, Time(now)));
            gone += expected;
            assert_eq!(orphans.next_deadline().is_some(), gone < 5, "{now}");
        }
    }
}
