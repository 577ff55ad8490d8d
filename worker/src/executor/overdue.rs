//! Detects attempts that run for too long, or make no progress for too long.
//!
//! A thread's crumbs (`windrow_format::crumbs`) change with every record, block and group. An attempt whose crumbs have
//! not changed for as long as its job allows counts as stuck.

use crate::job::Limits;
use std::collections::HashMap;
use std::time::Instant;
use windrow_format::crumbs::{Now, Place};
use windrow_model::{AttemptId, Code, Failure};

#[derive(Debug)]
struct Watched {
    since: Instant,
    mark: (u64, u64),
    /// Its position has not changed since then.
    same_since: Instant,
}

/// The attempts of one executor that have been seen.
#[derive(Debug)]
pub(crate) struct Overdue {
    limits: Limits,
    watched: HashMap<AttemptId, Watched>,
}

impl Overdue {
    /// Without any attempt.
    pub(crate) fn new(limits: Limits) -> Self {
        Overdue { limits, watched: HashMap::new() }
    }

    /// Takes the current positions of the threads. Each overdue attempt is reported once, with the record that it is
    /// at.
    pub(crate) fn look(&mut self, now: Instant, threads: Vec<Now>) -> Vec<(AttemptId, Failure, Option<Place>)> {
        self.watched.retain(|attempt, _| threads.iter().any(|t| t.attempt == *attempt));
        let mut overdue = Vec::new();
        for thread in threads {
            let fresh = Watched { since: now, mark: thread.mark, same_since: now };
            let known = self.watched.entry(thread.attempt).or_insert(fresh);
            if known.mark != thread.mark {
                (known.mark, known.same_since) = (thread.mark, now);
            }
            let over = |since: Instant, limit| Option::is_some_and(limit, |limit| now.duration_since(since) >= limit);
            let what = if over(known.same_since, self.limits.progress) {
                format!("the task made no progress for {} s", now.duration_since(known.same_since).as_secs())
            } else if over(known.since, self.limits.task) {
                format!("the task was not done after {} s", now.duration_since(known.since).as_secs())
            } else {
                continue;
            };
            // It is reported again after the same time.
            (known.since, known.same_since) = (now, now);
            overdue.push((thread.attempt, Failure::new(Code::TaskTimeout, what), thread.place));
        }
        overdue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use windrow_sim::samples::attempt;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(n: u32, mark: u64) -> Now {
        Now { attempt: attempt(1, n), mark: (mark, 0), place: None, records: 0, records_all: 0 }
    }

    #[test]
    fn only_attempts_without_progress_are_reported() {
        let start = Instant::now();
        let mut overdue = Overdue::new(Limits { task: None, progress: Some(3 * SECOND) });
        for second in 0..3 {
            assert!(overdue.look(start + second * SECOND, vec![at(0, 7), at(1, u64::from(second))]).is_empty());
        }
        let found = overdue.look(start + 3 * SECOND, vec![at(0, 7), at(1, 9)]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0, found[0].1.code), (attempt(1, 0), Code::TaskTimeout));
        // A later attempt at the same position begins anew.
        assert!(overdue.look(start + 4 * SECOND, vec![at(1, 10)]).is_empty());
        assert!(overdue.look(start + 5 * SECOND, vec![at(0, 7), at(1, 11)]).is_empty());
    }

    #[test]
    fn task_limit_of_the_job_applies_despite_progress() {
        let start = Instant::now();
        let limits = Limits { task: Some(2 * SECOND), progress: Some(60 * SECOND) };
        let mut overdue = Overdue::new(limits);
        let found: Vec<usize> =
            (0..3).map(|n| overdue.look(start + n * SECOND, vec![at(0, u64::from(n))]).len()).collect();
        assert_eq!(found, [0, 0, 1]);
        assert!(Overdue::new(Limits::default()).look(start, vec![at(0, 0)]).is_empty());
    }
}
