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

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use windrow_model::{Digest, Time, WorkerId};

const HOUR_MS: u64 = 3_600_000;
/// Between two records of the clock.
pub(crate) const NOTE_EVERY_MS: u64 = 60_000;
/// Orphans whose waits the journal keeps. Others begin to wait anew with each life.
pub(crate) const RECORDED_MAX: usize = 500_000;

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

/// How long an orphan has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// Since this time of the orphans' clock.
    Since(u64),
    /// For so many milliseconds; it does not wait now, since no worker that is there holds it.
    Paused(u64),
}

/// What the journal has of orphans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrphanWaits {
    /// The orphans' clock when this was recorded, in milliseconds.
    pub clock_ms: u64,
    /// When, on that clock, a chunk last went to the trash, and how many went in the hour up to then.
    pub hour: Option<(u64, u32)>,
    pub waits: Vec<(Digest, Wait)>,
}

/// What has changed since the journal was last told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrphanChanges {
    /// As in [`OrphanWaits`].
    pub clock_ms: u64,
    pub hour: Option<(u64, u32)>,
    /// `None`: it is no orphan any more.
    pub waits: Vec<(Digest, Option<Wait>)>,
}

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

#[derive(Debug, Default)]
pub(crate) struct Orphans {
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
    trashed: BTreeMap<Digest, BTreeSet<WorkerId>>,
    /// How many chunks each worker has in its trash; never 0.
    trashed_counts: BTreeMap<WorkerId, usize>,
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
    pub fn note(&mut self, digest: Digest, standing: Standing) {
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
    pub fn is_known(&self, digest: Digest) -> bool {
        self.since.contains_key(&digest) || self.fresh.contains(&digest) || self.paused.contains_key(&digest)
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

    /// The time of those that were found, or left, since the last call is now.
    pub fn stamp(&mut self, now: Time) {
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
    pub fn due(&mut self, now: Time) -> Vec<Digest> {
        let clock = self.clock(now);
        while self.gone.front().is_some_and(|at| at.saturating_add(HOUR_MS) <= clock) {
            self.gone.pop_front();
        }
        let may_go = (self.rule.per_hour as usize).saturating_sub(self.gone.len());
        let over = |at: u64| at.saturating_add(self.rule.kept_ms);
        let due = self.by_time.iter().take_while(|(at, _)| over(*at) <= clock);
        let due: Vec<Digest> = due.take(may_go).map(|(_, digest)| *digest).collect();
        let later = self.by_time.iter().map(|(at, _)| over(*at)).find(|at| *at > clock);
        let room_at = self.gone.front().filter(|_| due.len() == may_go).map(|at| at.saturating_add(HOUR_MS));
        self.next = room_at.or(later);
        due
    }

    /// This one is in the trash of every worker that held it.
    pub fn went(&mut self, digest: Digest, now: Time) {
        self.forget(digest);
        self.urgent = true;
        self.gone.push_back(self.clock(now));
        if self.gone.len() >= self.rule.per_hour as usize {
            self.next = self.gone.front().map(|at| at.saturating_add(HOUR_MS));
        }
    }

    /// When `due` may have something new without an event.
    pub fn next_deadline(&self) -> Option<Time> {
        self.next.map(|at| Time(at.saturating_sub(self.base_ms)))
    }

    /// When `take_changes` has something without an event.
    pub fn next_note(&self) -> Option<Time> {
        self.has_changes().then(|| self.noted_at.plus_ms(NOTE_EVERY_MS))
    }

    fn has_changes(&self) -> bool {
        // While there is an orphan the clock goes on.
        !self.changed.is_empty() || !self.since.is_empty()
    }

    /// What the journal is to record, if it is time for that, or this life ends.
    pub fn take_changes(&mut self, now: Time, ends: bool) -> Option<OrphanChanges> {
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
    pub fn ages(&self, digest: Digest, now: Time) -> (u64, u64) {
        let waited = || self.paused.get(&digest).copied().unwrap_or(0);
        let for_ms = self.since.get(&digest).map_or_else(waited, |at| self.clock(now).saturating_sub(*at));
        (for_ms, self.rule.kept_ms.saturating_sub(for_ms))
    }

    /// Every orphan.
    pub fn all(&self) -> impl Iterator<Item = Digest> {
        self.since.keys().filter(|digest| !self.left.contains(digest)).chain(&self.fresh).copied()
    }

    /// A worker has this chunk in its trash. False if it has told of so many others and this one is not noted.
    pub fn trashed(&mut self, worker: WorkerId, digest: Digest, most: usize) -> bool {
        let is_known = self.trashed.get(&digest).is_some_and(|workers| workers.contains(&worker));
        let count = self.trashed_counts.get(&worker).copied().unwrap_or(0);
        if is_known || count >= most {
            return is_known;
        }
        self.trashed.entry(digest).or_default().insert(worker);
        self.trashed_counts.insert(worker, count + 1);
        true
    }

    /// A worker has it no more there: it came back, or the worker left.
    pub fn not_trashed(&mut self, worker: WorkerId, digest: Digest) {
        let Some(workers) = self.trashed.get_mut(&digest) else { return };
        if workers.remove(&worker)
            && let Some(count) = self.trashed_counts.get_mut(&worker)
        {
            *count -= 1;
            if *count == 0 {
                self.trashed_counts.remove(&worker);
            }
        }
        if workers.is_empty() {
            self.trashed.remove(&digest);
        }
    }

    /// Gives what is in no trash any more.
    pub fn worker_left(&mut self, worker: WorkerId) -> Vec<Digest> {
        let mut gone = Vec::new();
        self.trashed_counts.remove(&worker);
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
    use Standing::{Away, Orphan, Settled};

    fn digest(n: u8) -> Digest {
        Digest([n; 32])
    }

    fn orphans(kept_ms: u64, per_hour: u32) -> Orphans {
        Orphans::new(OrphanRule { kept_ms, per_hour }, OrphanWaits::default())
    }

    /// What a journal has after it has recorded these changes, too.
    fn record(waits: &mut OrphanWaits, changes: OrphanChanges) {
        let OrphanChanges { clock_ms, hour, waits: changed } = changes;
        (waits.clock_ms, waits.hour) = (clock_ms, hour);
        for (digest, wait) in changed {
            waits.waits.retain(|(d, _)| *d != digest);
            waits.waits.extend(wait.map(|wait| (digest, wait)));
        }
    }

    #[test]
    fn orphans_are_kept_for_their_time_from_when_it_was_noticed() {
        let mut orphans = orphans(100, 10);
        orphans.note(digest(1), Orphan);
        // A quiet hour without a look at the clock is no hour of keeping.
        orphans.stamp(Time(HOUR_MS));
        assert_eq!(orphans.due(Time(HOUR_MS + 99)), []);
        assert_eq!(orphans.next_deadline(), Some(Time(HOUR_MS + 100)));
        orphans.note(digest(1), Orphan);
        orphans.stamp(Time(HOUR_MS + 50));
        assert_eq!(orphans.ages(digest(1), Time(HOUR_MS + 60)), (60, 40));
        assert_eq!(orphans.due(Time(HOUR_MS + 100)), [digest(1)]);
        assert_eq!(orphans.next_deadline(), None, "what could not go is asked for with the next event");
        // It is referred to again, and then not any more: it is kept anew.
        orphans.note(digest(1), Settled);
        orphans.note(digest(1), Orphan);
        orphans.stamp(Time(HOUR_MS + 200));
        assert_eq!(orphans.due(Time(HOUR_MS + 200)), []);
    }

    #[test]
    fn no_more_orphans_go_in_an_hour_than_the_rule_says() {
        let mut orphans = orphans(0, 2);
        (1..=5).for_each(|n| orphans.note(digest(n), Orphan));
        orphans.stamp(Time(7));
        let mut gone = 0;
        // Any hour counts, not only one that begins with the first.
        for (now, expected) in [(7, 2), (8, 0), (6 + HOUR_MS, 0), (7 + HOUR_MS, 2), (8 + 2 * HOUR_MS, 1)] {
            let due = orphans.due(Time(now));
            assert_eq!(due.len(), expected, "{now}");
            due.into_iter().for_each(|d| orphans.went(d, Time(now)));
            gone += expected;
            assert_eq!(orphans.next_deadline().is_some(), gone < 5, "{now}");
        }
    }

    #[test]
    fn limit_of_an_hour_holds_for_every_hour() {
        let mut orphans = orphans(0, 2);
        let mut take = |n: u8, now: u64| {
            orphans.note(digest(n), Orphan);
            orphans.stamp(Time(now));
            let due = orphans.due(Time(now));
            due.iter().for_each(|d| orphans.went(*d, Time(now)));
            due.len()
        };
        assert_eq!(take(1, 7), 1);
        assert_eq!(take(2, HOUR_MS), 1);
        assert_eq!(take(3, HOUR_MS + 7), 1, "the first went an hour ago");
        assert_eq!(take(4, HOUR_MS + 8), 0, "two went in the last hour");
        assert_eq!(take(5, 2 * HOUR_MS), 1);
    }

    /// The wait began anew with each life: with a restart every day nothing ever went.
    #[test]
    fn wait_of_an_orphan_goes_on_in_the_next_life() {
        let (rule, mut journal) = (OrphanRule { kept_ms: 10 * HOUR_MS, per_hour: 2 }, OrphanWaits::default());
        let mut lives = 0;
        let went = loop {
            lives += 1;
            let mut orphans = Orphans::new(rule, journal.clone());
            // The worker comes a while after the start. That is no time of waiting, whatever clocks say meanwhile.
            orphans.stamp(Time(5 * HOUR_MS));
            orphans.note(digest(1), Orphan);
            orphans.stamp(Time(5 * HOUR_MS));
            assert_eq!(orphans.ages(digest(1), Time(5 * HOUR_MS)).0, (lives - 1) * 3 * HOUR_MS, "life {lives}");
            let now = Time(8 * HOUR_MS);
            match orphans.due(now)[..] {
                [] => {}
                [due] => break due,
                _ => panic!("more than there are"),
            }
            record(&mut journal, orphans.take_changes(now, true).unwrap());
        };
        assert_eq!((went, lives), (digest(1), 4));
    }

    #[test]
    fn orphan_that_no_worker_holds_gets_no_older() {
        let mut orphans = orphans(100, 10);
        orphans.note(digest(1), Orphan);
        orphans.stamp(Time(10));
        orphans.note(digest(1), Away);
        assert_eq!(orphans.all().count(), 0);
        orphans.stamp(Time(40));
        assert_eq!((orphans.due(Time(500)), orphans.ages(digest(1), Time(500))), (vec![], (30, 70)));
        orphans.note(digest(1), Orphan);
        orphans.stamp(Time(1_000));
        assert_eq!((orphans.due(Time(1_069)), orphans.due(Time(1_070))), (vec![], vec![digest(1)]));
        // A look that finds it away and back within one step is none.
        orphans.note(digest(1), Away);
        orphans.note(digest(1), Orphan);
        orphans.stamp(Time(1_070));
        assert_eq!(orphans.due(Time(1_070)), [digest(1)]);
    }

    #[test]
    fn journal_is_told_once_a_minute_and_of_what_went_at_once() {
        let mut orphans = orphans(2 * HOUR_MS, 10);
        assert_eq!((orphans.next_note(), orphans.take_changes(Time(NOTE_EVERY_MS), true)), (None, None));
        (1..=3).for_each(|n| orphans.note(digest(n), Orphan));
        orphans.stamp(Time(5));
        assert_eq!(orphans.take_changes(Time(NOTE_EVERY_MS - 1), false), None);
        let first = orphans.take_changes(Time(NOTE_EVERY_MS), false).unwrap();
        assert_eq!((first.clock_ms, first.waits.len()), (NOTE_EVERY_MS, 3));
        assert_eq!(orphans.next_note(), Some(Time(2 * NOTE_EVERY_MS)));
        let clock = orphans.take_changes(Time(2 * NOTE_EVERY_MS), false).unwrap();
        assert_eq!((clock.clock_ms, clock.waits), (2 * NOTE_EVERY_MS, vec![]), "the clock goes on");
        orphans.note(digest(1), Settled);
        let now = Time(2 * NOTE_EVERY_MS + 1);
        orphans.went(digest(2), now);
        let gone = orphans.take_changes(now, false).unwrap();
        assert_eq!(gone.waits, [(digest(1), None), (digest(2), None)]);
        assert_eq!(gone.hour, Some((2 * NOTE_EVERY_MS + 1, 1)));
    }

    #[test]
    fn hour_of_deletions_goes_on_in_the_next_life() {
        let mut journal = OrphanWaits::default();
        let rule = OrphanRule { kept_ms: 0, per_hour: 2 };
        let mut gone = 0;
        for _ in 0..3 {
            let mut orphans = Orphans::new(rule, journal.clone());
            (1..=5).for_each(|n| orphans.note(digest(n), Orphan));
            orphans.stamp(Time(7));
            let due = orphans.due(Time(7));
            gone += due.len();
            due.into_iter().for_each(|d| orphans.went(d, Time(7)));
            record(&mut journal, orphans.take_changes(Time(8), true).unwrap());
        }
        assert_eq!(gone, 2);
    }

    #[test]
    fn recorded_waits_have_a_bound() {
        let digest = |n: usize| Digest::of(&n.to_le_bytes());
        let waits = (0..RECORDED_MAX + 3).map(|n| (digest(n), Wait::Paused(n as u64))).collect();
        let mut orphans = Orphans::new(OrphanRule::default(), OrphanWaits { waits, ..OrphanWaits::default() });
        assert_eq!(orphans.paused.len(), RECORDED_MAX);
        let mut forgotten = orphans.take_changes(Time(0), true).unwrap().waits;
        forgotten.sort();
        let mut least: Vec<_> = (0..3).map(|n| (digest(n), None)).collect();
        least.sort();
        assert_eq!(forgotten, least, "those that have waited least");
    }
}
