//! When a worker that has ended is restarted: soon at first, then with growing pauses, and within a bound per minute.
//!
//! Pure: the time is an argument, counted from any beginning.

use std::collections::VecDeque;
use std::time::Duration;

/// Pause before the first restart.
const DELAY_MIN: Duration = Duration::from_millis(200);
/// Longest pause.
const DELAY_MAX: Duration = Duration::from_secs(10);
/// A worker that has run this long counts as healthy.
const HEALTHY: Duration = Duration::from_secs(60);
const WINDOW: Duration = Duration::from_secs(60);
/// Starts of one worker within [`WINDOW`].
const STARTS_MAX: usize = 8;

/// The starts of one worker.
#[derive(Debug)]
pub(super) struct Restarts {
    /// The latest starts, at most [`STARTS_MAX`].
    starts: VecDeque<Duration>,
    delay: Duration,
}

impl Restarts {
    /// A worker that is started now.
    pub(super) fn new(now: Duration) -> Restarts {
        Restarts { starts: [now].into(), delay: DELAY_MIN }
    }

    /// How long to wait before the next start of a worker that has ended.
    pub(super) fn delay(&mut self, now: Duration) -> Duration {
        if self.starts.back().is_some_and(|started| now.saturating_sub(*started) >= HEALTHY) {
            self.delay = DELAY_MIN;
        }
        let delay = self.delay;
        self.delay = (delay * 2).min(DELAY_MAX);
        match self.starts.front() {
            Some(first) if self.starts.len() == STARTS_MAX => delay.max((*first + WINDOW).saturating_sub(now)),
            _ => delay,
        }
    }

    /// Records a start.
    pub(super) fn started(&mut self, now: Duration) {
        if self.starts.len() == STARTS_MAX {
            self.starts.pop_front();
        }
        self.starts.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_within_a_minute_are_bounded() {
        let mut now = Duration::from_secs(1_000);
        let mut restarts = Restarts::new(now);
        let mut starts = vec![now];
        for _ in 0..100 {
            // It ends as soon as it is started.
            now += restarts.delay(now);
            restarts.started(now);
            starts.push(now);
        }
        assert_eq!(starts[1] - starts[0], DELAY_MIN);
        for (first, next) in starts.iter().zip(&starts[STARTS_MAX..]) {
            assert!(*next - *first >= WINDOW, "{first:?} {next:?}");
        }
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] <= WINDOW), "it is never given up");
    }

    #[test]
    fn worker_that_lived_long_is_started_soon() {
        let mut now = Duration::ZERO;
        let mut restarts = Restarts::new(now);
        for _ in 0..20 {
            now += HEALTHY;
            assert_eq!(restarts.delay(now), DELAY_MIN);
            now += DELAY_MIN;
            restarts.started(now);
        }
    }
}
