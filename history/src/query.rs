//! Lists attempts of a job, filtered, sorted and in pages, in memory bounded by the page.

use crate::attempts::{AttemptRow, AttemptState, Attempts};
use crate::event::{Key, Line};
use std::collections::BTreeMap;

/// What attempts are listed by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Failed ones first, then the longest.
    #[default]
    Worst,
    /// The longest first.
    Duration,
    /// The largest inputs first.
    Bytes,
    /// In the order of their assignment.
    Start,
}

impl Sort {
    /// The order with this name; an empty one is the default.
    pub fn parse(name: &str) -> Option<Sort> {
        match name {
            "" | "worst" => Some(Sort::Worst),
            "duration" => Some(Sort::Duration),
            "bytes" => Some(Sort::Bytes),
            "start" => Some(Sort::Start),
            _ => None,
        }
    }
}

/// Selects attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptQuery {
    /// In one of these states; empty: in any.
    pub states: Vec<AttemptState>,
    /// Of this stage.
    pub stage: Option<u32>,
    /// Of this task of the stage.
    pub task: Option<u32>,
    /// The order.
    pub sort: Sort,
    /// Attempts that are left off at the beginning.
    pub skip: u32,
    /// Most attempts in the list.
    pub limit: u32,
}

impl AttemptQuery {
    /// Most attempts of a list, together with those that are left off before it.
    pub const WINDOW_MAX: u32 = 20_000;
    /// Most attempts in one list.
    pub const LIMIT_MAX: u32 = 10_000;

    /// Whether the attempt is one of those.
    pub fn admits(&self, row: &AttemptRow) -> bool {
        (self.states.is_empty() || self.states.contains(&row.state))
            && self.stage.is_none_or(|stage| stage == row.stage)
            && self.task.is_none_or(|task| task == row.task)
    }
}

/// A page of attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptPage {
    /// The attempts, in order.
    pub rows: Vec<AttemptRow>,
    /// How many the query admits in all.
    pub admitted: u64,
}

/// Bytes of each text of a failure in a list; the log has all of it.
const TEXT_BYTES_MAX: usize = 2 << 10;

/// Smaller comes first. The last number makes ranks differ: an attempt that was lost and comes back has two rows.
type Rank = (u64, u64, Key, u64);

/// Collects a page while events arrive.
pub struct Listing {
    query: AttemptQuery,
    attempts: Attempts,
    best: BTreeMap<Rank, AttemptRow>,
    admitted: u64,
    t: u64,
}

impl Listing {
    /// A listing of this page.
    pub fn new(query: AttemptQuery) -> Listing {
        let (attempts, best) = Default::default();
        Listing { query, attempts, best, admitted: 0, t: 0 }
    }

    /// Takes the next event.
    pub fn apply(&mut self, line: &Line) {
        let Listing { query, attempts, best, admitted, t } = self;
        *t = (*t).max(line.t);
        attempts.apply(line, &mut |row| add(query, best, admitted, row));
    }

    /// The page. `now`: attempts that have not ended go on until then.
    pub fn page(self, now: u64) -> AttemptPage {
        let Listing { query, attempts, mut best, mut admitted, t } = self;
        for row in attempts.open(now.max(t)) {
            add(&query, &mut best, &mut admitted, row);
        }
        AttemptPage { rows: best.into_values().skip(query.skip as usize).collect(), admitted }
    }
}

fn add(query: &AttemptQuery, best: &mut BTreeMap<Rank, AttemptRow>, admitted: &mut u64, mut row: AttemptRow) {
    if !query.admits(&row) {
        return;
    }
    *admitted += 1;
    row.failure.iter_mut().for_each(|failure| **failure = failure.cut_to(TEXT_BYTES_MAX));
    let longest = u64::MAX - row.duration_ms;
    let rank = match query.sort {
        Sort::Worst => (u64::from(row.state != AttemptState::Failed), longest, row.key(), *admitted),
        Sort::Duration => (longest, 0, row.key(), *admitted),
        Sort::Bytes => (u64::MAX - row.bytes_in, 0, row.key(), *admitted),
        Sort::Start => (row.assigned_unix_ms, 0, row.key(), *admitted),
    };
    best.insert(rank, row);
    let window = query.skip.saturating_add(query.limit).min(AttemptQuery::WINDOW_MAX) as usize;
    if best.len() > window {
        best.pop_last();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Assigned, Done, Event, Failed, Key, Stopped};

    fn assigned(task: u32, bytes: u64, queued: bool) -> Event {
        let (worker, cause) = ("w".to_string(), "first".into());
        Event::Assigned(Assigned { stage: task % 2, task, attempt: 0, epoch: 1, worker, cause, queued, bytes })
    }

    fn done(task: u32) -> Event {
        let outputs = vec![(10, 1), (20, 2)];
        Event::Done(Done { stage: task % 2, task, epoch: 1, worker: "w".into(), outputs, ..Done::default() })
    }

    fn page(query: AttemptQuery) -> AttemptPage {
        let mut listing = Listing::new(query);
        let mut apply = |t, event| listing.apply(&Line { t, event });
        (0..100).for_each(|n| apply(u64::from(n), assigned(n, u64::from(n * 7 % 100), false)));
        apply(200, assigned(100, 1, true));
        (0..98).for_each(|n| apply(1_000 + u64::from(n % 10) * 100, done(n)));
        let failed = Failed { stage: 0, task: 98, epoch: 1, worker: "w".into(), charged: true, ..Failed::default() };
        apply(300, Event::Failed(Box::new(failed)));
        listing.page(5_000)
    }

    #[test]
    fn pages_are_parts_of_one_order() {
        for sort in [Sort::Worst, Sort::Duration, Sort::Bytes, Sort::Start] {
            let whole = page(AttemptQuery { sort, limit: 1_000, ..AttemptQuery::default() });
            assert_eq!((whole.rows.len(), whole.admitted), (101, 101));
            let mut parts = Vec::new();
            for skip in (0..101).step_by(7) {
                let part = page(AttemptQuery { sort, skip, limit: 7, ..AttemptQuery::default() });
                assert_eq!(part.admitted, 101);
                parts.extend(part.rows);
            }
            assert_eq!(parts, whole.rows, "{sort:?}");
        }
    }

    #[test]
    fn failed_attempt_comes_first_and_states_filter() {
        let all = page(AttemptQuery { limit: 3, ..AttemptQuery::default() });
        assert_eq!((all.rows[0].task, all.rows[0].state, all.rows[0].charged), (98, AttemptState::Failed, true));
        assert_eq!((all.rows[1].task, all.rows[1].duration_ms), (99, 4_901), "it still runs");
        let queued = page(AttemptQuery { states: vec![AttemptState::Queued], limit: 9, ..AttemptQuery::default() });
        assert_eq!((queued.admitted, queued.rows[0].task, queued.rows[0].queued_ms), (1, 100, 4_800));
        let stage =
            AttemptQuery { stage: Some(1), states: vec![AttemptState::Done], limit: 1_000, ..AttemptQuery::default() };
        let stage = page(stage);
        assert!(stage.admitted == 49 && stage.rows.iter().all(|row| row.task % 2 == 1 && row.bytes_out == 30));
    }

    #[test]
    fn attempts_that_no_worker_returns_with_end_at_a_restart() {
        let mut listing = Listing::new(AttemptQuery { limit: 10, sort: Sort::Start, ..AttemptQuery::default() });
        let mut apply = |t, event| listing.apply(&Line { t, event });
        apply(0, assigned(0, 1, false));
        apply(1, assigned(1, 1, true));
        apply(2, assigned(2, 1, false));
        apply(100, Event::Away { from: 50, to: 100, epoch: 2 });
        apply(110, assigned(0, 1, false));
        apply(111, assigned(1, 1, false));
        apply(120, Event::Resumed);
        let taken = Stopped { stage: 1, task: 1, epoch: 1, why: "other-won".into(), ..Stopped::default() };
        apply(130, Event::Stopped(taken));
        apply(131, Event::Granted(Key::default()));
        let rows = listing.page(200).rows;
        let seen: Vec<_> = rows.iter().map(|r| (r.task, r.state, r.duration_ms, r.stopped.as_deref())).collect();
        let (running, stopped) = (AttemptState::Running, AttemptState::Stopped);
        assert_eq!(
            seen,
            [(0, running, 200, None), (1, stopped, 19, Some("other-won")), (2, stopped, 118, Some("coordinator-away"))]
        );
    }
}
