//! Decides when a backup attempt of a slow task pays.
//!
//! Backup tasks are those of Google's MapReduce (Dean and Ghemawat 2004, section 3.6); the choice of the task follows
//! LATE (Zaharia et al., OSDI 2008): the task that will end last at the rate of its own progress, not the one that has
//! run longest. A backup pays if the task needs clearly longer to its end than a fresh attempt needs altogether,
//! judged by the finished tasks of the stage. This file knows nothing of workers and slots.

use crate::event::Progress;
use windrow_model::Time;

/// Backup attempts that one task may get per epoch.
pub(crate) const BACKUPS_PER_TASK: u32 = 2;
/// Backups that a job may get in all, plus one for every ten tasks.
const BACKUPS_PER_JOB: u64 = 10;
/// Backups that a job may run at a time, or a tenth of all slots if that is more (LATE's cap).
const BACKUPS_AT_ONCE: u64 = 2;

/// Buckets of a quarter of a power of two: enough for every number of milliseconds.
const BUCKETS: usize = 4 * 64;

/// The progress of an attempt over time, from the beats of its worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    /// When the assignment was sent to its worker, with the addresses of its inputs.
    pub assigned: Time,
    /// How often the stages that it reads had been reopened then. Absent if the attempt was not assigned in this epoch, or was
    /// given up meanwhile.
    pub inputs_reopened: Option<u64>,
    /// When it could start.
    pub since: Time,
    /// Thousandths of its input; 0: unknown.
    permille: u32,
    progress_at: Time,
    /// As in `Progress`.
    mark: u64,
    changed: Time,
    /// When a beat last named it.
    heard: Time,
    /// Beats since then that list all attempts of its worker without this one.
    missed: u32,
    /// When a beat first said that it runs.
    begun: Option<Time>,
    /// The last beat said that it is queued.
    waits: bool,
}

/// One beat, and the next one, may have been on its way when the attempt was sent. This number cannot be coincidence.
const MISSED_MAX: u32 = 3;

impl Pace {
    /// An attempt that starts now, or of which the scheduler hears first now.
    pub(crate) fn begin(now: Time) -> Self {
        Pace { assigned: now, since: now, progress_at: now, changed: now, heard: now, ..Pace::default() }
    }

    /// The queued attempt gets a slot now. The time in the queue does not make it slow.
    pub(crate) fn can_begin(&mut self, now: Time) {
        let Pace { assigned, inputs_reopened, heard, missed, waits, .. } = *self;
        *self = Pace { assigned, inputs_reopened, heard, missed, waits, ..Pace::begin(now) };
    }

    /// Records what a beat says about it. More than all of the input counts as all of it, and less than before as no change:
    /// otherwise a worker could report progress for ever.
    pub(crate) fn update(&mut self, now: Time, progress: &Progress) {
        let Progress { permille, mark, waits, .. } = *progress;
        let permille = permille.min(1_000).max(self.permille);
        (self.heard, self.missed, self.waits) = (now, 0, waits);
        match (waits, self.begun) {
            (true, _) => self.begun = None,
            (false, None) => (self.begun, self.changed) = (Some(now), now),
            (false, Some(_)) => {}
        }
        if (permille, mark) != (self.permille, self.mark) {
            (self.changed, self.mark) = (now, mark);
        }
        if permille > 0 {
            (self.permille, self.progress_at) = (permille, now);
        }
    }

    /// Thousandths of its input that it has read.
    pub(crate) fn permille(&self) -> u32 {
        self.permille
    }

    /// Records a beat that lists all attempts without it.
    pub(crate) fn miss(&mut self) {
        self.missed = self.missed.saturating_add(1);
    }

    /// Whether the present beat named it.
    pub(crate) fn is_heard(&self, now: Time) -> bool {
        self.heard == now
    }

    /// Whether its worker does not have it, by several beats over this time.
    pub(crate) fn is_missing(&self, now: Time, after_ms: u64) -> bool {
        self.missed >= MISSED_MAX && now.since_ms(self.heard) >= after_ms
    }

    /// The time since which it runs, if it does. A worker that does not report this starts it at once.
    pub(crate) fn begun(&self) -> Option<Time> {
        (!self.waits).then(|| self.begun.unwrap_or(self.since))
    }

    /// When it last made progress, as far as is known.
    pub(crate) fn changed(&self) -> Time {
        self.changed
    }

    /// Milliseconds until it ends at its present rate. Without a better estimate, as long again as it has run so far.
    fn left_ms(&self, now: Time) -> u64 {
        let elapsed = now.since_ms(self.since);
        let Some(all) = (self.progress_at.since_ms(self.since) * 1_000).checked_div(u64::from(self.permille)) else {
            return elapsed;
        };
        // Beyond its own estimate: as long again as the time since the last report of progress.
        all.checked_sub(elapsed).unwrap_or(now.since_ms(self.progress_at))
    }

    /// Milliseconds that the attempt still needs, if a backup that is expected to need `expected_ms` pays. A recent
    /// attempt gets none: its rate is not reliable, and it is not slow before `after_ms`.
    pub(crate) fn backup_pays(&self, now: Time, expected_ms: u64, after_ms: u64) -> Option<u64> {
        let elapsed = now.since_ms(self.since);
        let left = self.left_ms(now);
        let judged = elapsed >= after_ms && elapsed >= expected_ms / 2;
        (judged && left > expected_ms + expected_ms / 2 && left >= after_ms).then_some(left)
    }
}

/// The durations of the finished attempts of a stage: a histogram, so that a median costs the same for any number of
/// them.
#[derive(Default)]
pub(crate) struct Durations {
    counts: Vec<u32>,
    done: u64,
    bytes: u64,
}

impl Durations {
    /// Adds a finished attempt that read `bytes`.
    pub(crate) fn add(&mut self, ms: u64, bytes: u64) {
        if self.counts.is_empty() {
            self.counts.resize(BUCKETS, 0);
        }
        self.counts[bucket(ms)] += 1;
        self.done += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// The expected duration of an attempt on `bytes`: the median, scaled up if its input is larger than the average.
    pub(crate) fn expected_ms(&self, bytes: u64) -> Option<u64> {
        let mut before = 0;
        let median = self.counts.iter().position(|n| {
            before += u64::from(*n);
            before * 2 >= self.done
        });
        let ms = upper(median.filter(|_| self.done > 0)?);
        let average = (self.bytes / self.done).max(1);
        let scaled = u128::from(ms) * u128::from(bytes.max(average)) / u128::from(average);
        Some(u64::try_from(scaled).unwrap_or(u64::MAX))
    }
}

fn bucket(ms: u64) -> usize {
    let n = ms.max(1);
    let power = n.ilog2();
    let quarter = if power >= 2 { n >> (power - 2) & 3 } else { n << (2 - power) & 3 };
    4 * power as usize + quarter as usize
}

/// The upper bound of the bucket.
fn upper(bucket: usize) -> u64 {
    let (power, quarter) = (bucket as u32 / 4, bucket as u128 % 4);
    u64::try_from(((5 + quarter) << power) / 4).unwrap_or(u64::MAX)
}

/// Whether enough of a stage is done to recognise slow tasks.
pub(crate) fn is_late_stage(done: usize, tasks: usize) -> bool {
    done > 0 && done < tasks && done * 2 >= tasks
}

/// How many backups a job may start now.
pub(crate) fn allowance(running: u64, begun: u64, tasks: u64, slots: u64) -> u64 {
    let at_once = BACKUPS_AT_ONCE.max(slots / 10).saturating_sub(running);
    let in_all = (BACKUPS_PER_JOB + tasks / 10).saturating_sub(begun);
    at_once.min(in_all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_model::{AttemptId, Epoch, Incarnation, JobId, StageId, TaskId};

    fn progress(permille: u32, mark: u64, waits: bool) -> Progress {
        let task = TaskId { job: JobId::from_bytes([1; 16]), stage: StageId(0), index: 0 };
        let attempt = AttemptId { task, number: 0, epoch: Epoch(1), incarnation: Incarnation(1) };
        Progress { attempt, permille, mark, waits, records: 0 }
    }

    fn beat(pace: &mut Pace, ms: u64, permille: u32) {
        pace.update(Time(ms), &progress(permille, 0, false));
    }

    #[test]
    fn attempt_runs_from_the_beat_that_says_so() {
        let mut pace = Pace::begin(Time(5));
        assert_eq!(pace.begun(), Some(Time(5)), "a worker that says nothing begins it at once");
        pace.update(Time(10), &progress(0, 0, true));
        assert_eq!(pace.begun(), None);
        pace.update(Time(20), &progress(0, 7, false));
        pace.update(Time(30), &progress(0, 7, false));
        assert_eq!((pace.begun(), pace.changed()), (Some(Time(20)), Time(20)));
        pace.update(Time(40), &progress(0, 8, false));
        assert_eq!((pace.begun(), pace.changed()), (Some(Time(20)), Time(40)));
        pace.update(Time(50), &progress(0, 0, true));
        pace.update(Time(60), &progress(0, 8, false));
        assert_eq!(pace.begun(), Some(Time(60)), "its process was started again");
    }

    #[test]
    fn attempt_is_missing_after_several_beats_and_some_time() {
        let mut pace = Pace::begin(Time(0));
        (0..3).for_each(|_| pace.miss());
        assert!(!pace.is_missing(Time(99), 100) && pace.is_missing(Time(100), 100));
        beat(&mut pace, 50, 1);
        pace.miss();
        assert!(!pace.is_missing(Time(500), 100));
    }

    #[test]
    fn bucket_width_is_at_most_a_quarter() {
        for ms in (1..5_000).chain([u64::from(u32::MAX), 1 << 40, u64::MAX >> 1]) {
            let most = upper(bucket(ms));
            assert!(most >= ms && (most - ms) * 3 <= ms.max(3), "{ms}: {most}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn larger_input_raises_the_expected_duration() {
        let mut durations = Durations::default();
        assert_eq!(durations.expected_ms(10), None);
        [90, 100, 100, 5_000].into_iter().for_each(|ms| durations.add(ms, 10));
        let expected = durations.expected_ms(10).unwrap();
        assert!((100..=125).contains(&expected), "{expected}");
        assert_eq!(durations.expected_ms(1), Some(expected));
        assert_eq!(durations.expected_ms(30), Some(3 * expected));
    }

    #[test]
    fn backup_follows_progress_rate() {
        // Running for long and nearly done.
        let mut pace = Pace::begin(Time(0));
        beat(&mut pace, 10_000, 950);
        assert_eq!(pace.backup_pays(Time(10_000), 1_000, 500), None);
        // Not running longer than others, and slow.
        let mut pace = Pace::begin(Time(0));
        beat(&mut pace, 900, 100);
        assert_eq!(pace.backup_pays(Time(900), 1_000, 500), Some(8_100));
        // Has just started.
        assert_eq!(pace.backup_pays(Time(900), 1_000, 1_000), None);
        assert_eq!(pace.backup_pays(Time(900), 2_000, 500), None);
        // Stands still: each report moves its expected end.
        beat(&mut pace, 3_000, 100);
        assert_eq!(pace.backup_pays(Time(3_000), 1_000, 500), Some(27_000));
    }

    #[test]
    fn backup_follows_time_without_progress() {
        let pace = Pace::begin(Time(0));
        assert_eq!(pace.backup_pays(Time(1_400), 1_000, 500), None);
        assert_eq!(pace.backup_pays(Time(1_600), 1_000, 500), Some(1_600));
        // It should be done by its last report, and no further one came.
        let mut pace = Pace::begin(Time(0));
        beat(&mut pace, 100, 500);
        assert_eq!(pace.backup_pays(Time(150), 100, 50), None);
        assert_eq!(pace.backup_pays(Time(1_000), 100, 50), Some(900));
    }

    #[test]
    fn backups_are_bounded() {
        assert!(!is_late_stage(0, 0) && !is_late_stage(0, 1) && !is_late_stage(1, 3) && !is_late_stage(3, 3));
        assert!(is_late_stage(1, 2) && is_late_stage(2, 3));
        assert_eq!(allowance(0, 0, 0, 4), 2);
        assert_eq!(allowance(1, 1, 0, 4), 1);
        assert_eq!(allowance(0, 10, 9, 4), 0);
        assert_eq!(allowance(0, 10, 30, 400), 3);
        assert_eq!(allowance(3, 3, 1_000, 40), 1);
    }
}
