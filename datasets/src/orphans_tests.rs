//! The waits and rates of orphans.

use super::*;
use crate::testing::digest;
use crate::waits::HOUR_MS;
use Standing::{Away, Orphan, Settled};

fn orphans(kept_ms: u64, per_hour: u32) -> Orphans {
    Orphans::new(OrphanRule { kept_ms, per_hour }, OrphanWaits::default())
}

/// Orphans that may go, with a journal that records reservations at once.
fn due(orphans: &mut Orphans, now: Time) -> Vec<Digest> {
    let due = orphans.due(now);
    if !orphans.hour.is_asked() {
        return due;
    }
    assert_eq!(due, [], "not before the reservation is recorded");
    let (id, _) = orphans.hour.take_record(orphans.clock(now));
    orphans.reservation_recorded(id.unwrap());
    orphans.due(now)
}

/// The journal's record after these changes.
fn record(waits: &mut OrphanWaits, changes: OrphanChanges) {
    let OrphanChanges { clock_ms, hour, waits: changed, .. } = changes;
    (waits.clock_ms, waits.hour) = (clock_ms, hour);
    for (digest, wait) in changed {
        waits.waits.retain(|(d, _)| *d != digest);
        waits.waits.extend(wait.map(|wait| (digest, wait)));
    }
}

#[test]
fn orphans_are_kept_from_their_discovery_on() {
    let mut orphans = orphans(100, 10);
    orphans.note(digest(1), Orphan);
    // An hour without a look at the clock is not an hour of waiting.
    orphans.stamp(Time(HOUR_MS));
    assert_eq!(due(&mut orphans, Time(HOUR_MS + 99)), []);
    assert_eq!(orphans.next_deadline(), Some(Time(HOUR_MS + 100)));
    orphans.note(digest(1), Orphan);
    orphans.stamp(Time(HOUR_MS + 50));
    assert_eq!(orphans.ages(digest(1), Time(HOUR_MS + 60)), (60, 40));
    assert_eq!(due(&mut orphans, Time(HOUR_MS + 100)), [digest(1)]);
    assert_eq!(orphans.next_deadline(), None, "what could not go is asked for with the next event");
    // It is referenced again, and then not any more: its wait starts anew.
    orphans.note(digest(1), Settled);
    orphans.note(digest(1), Orphan);
    orphans.stamp(Time(HOUR_MS + 200));
    assert_eq!(due(&mut orphans, Time(HOUR_MS + 200)), []);
}

#[test]
fn orphans_removed_in_an_hour_are_bounded() {
    let mut orphans = orphans(0, 2);
    (1..=5).for_each(|n| orphans.note(digest(n), Orphan));
    orphans.stamp(Time(7));
    let mut gone = 0;
    // Any hour counts, not only one that begins with the first.
    for (now, expected) in [(7, 2), (8, 0), (6 + HOUR_MS, 0), (7 + HOUR_MS, 2), (8 + 2 * HOUR_MS, 1)] {
        let due = due(&mut orphans, Time(now));
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
        let due = due(&mut orphans, Time(now));
        due.iter().for_each(|d| orphans.went(*d, Time(now)));
        due.len()
    };
    assert_eq!(take(1, 7), 1);
    assert_eq!(take(2, HOUR_MS), 1);
    assert_eq!(take(3, HOUR_MS + 7), 1, "the first went an hour ago");
    assert_eq!(take(4, HOUR_MS + 8), 0, "two went in the last hour");
    assert_eq!(take(5, 2 * HOUR_MS), 1);
}

/// The fault: the wait began anew with each epoch, so with a restart every day no orphan ever went.
#[test]
fn wait_of_an_orphan_continues_in_the_next_epoch() {
    let (rule, mut journal) = (OrphanRule { kept_ms: 10 * HOUR_MS, per_hour: 2 }, OrphanWaits::default());
    let mut epochs = 0;
    let went = loop {
        epochs += 1;
        let mut orphans = Orphans::new(rule, journal.clone());
        // The worker joins a while after the start. That is no time of waiting, whatever clocks say meanwhile.
        orphans.stamp(Time(5 * HOUR_MS));
        orphans.note(digest(1), Orphan);
        orphans.stamp(Time(5 * HOUR_MS));
        assert_eq!(orphans.ages(digest(1), Time(5 * HOUR_MS)).0, (epochs - 1) * 3 * HOUR_MS, "epoch {epochs}");
        let now = Time(8 * HOUR_MS);
        match due(&mut orphans, now)[..] {
            [] => {}
            [due] => break due,
            _ => panic!("more than there are"),
        }
        record(&mut journal, orphans.take_changes(now, true).unwrap());
    };
    assert_eq!((went, epochs), (digest(1), 4));
}

#[test]
fn orphan_that_no_worker_holds_gets_no_older() {
    let mut orphans = orphans(100, 10);
    orphans.note(digest(1), Orphan);
    orphans.stamp(Time(10));
    orphans.note(digest(1), Away);
    assert_eq!(orphans.all().count(), 0);
    orphans.stamp(Time(40));
    assert_eq!((due(&mut orphans, Time(500)), orphans.ages(digest(1), Time(500))), (vec![], (30, 70)));
    orphans.note(digest(1), Orphan);
    orphans.stamp(Time(1_000));
    assert_eq!((due(&mut orphans, Time(1_069)), due(&mut orphans, Time(1_070))), (vec![], vec![digest(1)]));
    // A chunk that is away and back within one step did not leave.
    orphans.note(digest(1), Away);
    orphans.note(digest(1), Orphan);
    orphans.stamp(Time(1_070));
    assert_eq!(due(&mut orphans, Time(1_070)), [digest(1)]);
}

#[test]
fn waits_are_recorded_each_minute_and_removals_at_once() {
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
fn hour_of_deletions_continues_in_the_next_epoch() {
    let mut journal = OrphanWaits::default();
    let rule = OrphanRule { kept_ms: 0, per_hour: 2 };
    let mut gone = 0;
    for _ in 0..3 {
        let mut orphans = Orphans::new(rule, journal.clone());
        (1..=5).for_each(|n| orphans.note(digest(n), Orphan));
        orphans.stamp(Time(7));
        let due = due(&mut orphans, Time(7));
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
