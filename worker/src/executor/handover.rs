//! Detects executors that ignore their tasks.
//!
//! A task's time-out counts while the task runs. An executor that is stopped or frozen before it begins a task, or
//! between its last record and its answer, runs nothing and would keep the task for ever. So every task must appear in
//! the executor's crumbs (`windrow_format::crumbs`) or be answered. Time without either is counted in looks, one per
//! second: a sleeping machine makes none.

use std::collections::HashMap;
use windrow_format::crumbs::Now;
use windrow_model::{AttemptId, Code, Failure};

/// Looks without a sign of a task after which the executor counts as stuck. A thread takes a task in microseconds; the
/// margin is for overloaded machines.
const LOOKS_MAX: u32 = 15;

/// A look at a stopped process counts as this many, since it cannot resume by itself.
const LOOKS_STOPPED: u32 = 5;

/// The unanswered tasks of an executor, with the number of successive looks that did not see them.
#[derive(Debug, Default)]
pub(super) struct HandOver {
    given: HashMap<AttemptId, u32>,
}

impl HandOver {
    /// The executor gets the task.
    pub(super) fn given(&mut self, attempt: AttemptId) {
        self.given.insert(attempt, 0);
    }

    /// The executor has answered the task. False if it does not have this task.
    pub(super) fn over(&mut self, attempt: AttemptId) -> bool {
        self.given.remove(&attempt).is_some()
    }

    /// Takes the current positions of the executor's threads. Returns a failure if it ignores a task. `stopped`:
    /// whether the kernel reports the process as stopped, which shortens the wait.
    pub(super) fn look(&mut self, threads: &[Now], stopped: impl FnOnce() -> bool) -> Option<Failure> {
        // More threads may run than the crumbs have slots.
        let all_seen = threads.len() < windrow_format::crumbs::SLOTS / 2;
        let seen = |attempt: &AttemptId| threads.iter().any(|thread| thread.attempt == *attempt) || !all_seen;
        let unseen = self.given.keys().any(|attempt| !seen(attempt));
        let more = if unseen && stopped() { LOOKS_STOPPED } else { 1 };
        let mut idle: Option<AttemptId> = None;
        for (attempt, looks) in &mut self.given {
            match seen(attempt) {
                true => *looks = 0,
                false => *looks += more,
            }
            if *looks >= LOOKS_MAX {
                idle = Some(*attempt);
            }
        }
        let attempt = idle?;
        let message = format!(
            "the job's process does nothing with attempt {attempt}, which was given to it: is it stopped or frozen?"
        );
        Some(Failure::new(Code::TaskTimeout, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_sim::samples::attempt;

    fn at(n: u32) -> Now {
        Now { attempt: attempt(1, n), mark: (0, 0), place: None, records: 0, records_all: 0 }
    }

    #[test]
    fn task_that_never_started_is_overdue() {
        let mut handed = HandOver::default();
        (0..3).for_each(|n| handed.given(attempt(1, n)));
        assert!(handed.over(attempt(1, 2)) && !handed.over(attempt(1, 2)) && !handed.over(attempt(2, 0)));
        for _ in 1..LOOKS_MAX {
            assert_eq!(handed.look(&[at(0)], || false), None);
        }
        let failure = handed.look(&[at(0)], || false).unwrap();
        assert_eq!(failure.code, Code::TaskTimeout);
        assert!(failure.message.contains(&attempt(1, 1).to_string()), "{failure}");
    }

    #[test]
    fn task_that_ran_without_an_answer_is_overdue() {
        let mut handed = HandOver::default();
        handed.given(attempt(1, 0));
        for _ in 0..100 {
            assert_eq!(handed.look(&[at(0)], || false), None);
        }
        let looks = (1..).find(|_| handed.look(&[], || false).is_some());
        assert_eq!(looks, Some(LOOKS_MAX));
        handed.over(attempt(1, 0));
        assert_eq!(handed.look(&[], || panic!("it was given nothing")), None);
    }

    #[test]
    fn stopped_process_is_overdue_sooner() {
        let mut handed = HandOver::default();
        handed.given(attempt(1, 0));
        assert_eq!((1..).find(|_| handed.look(&[], || true).is_some()), Some(3));
    }
}
