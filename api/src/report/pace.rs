//! Estimates the rate of a stage and its remaining time from the statuses seen so far.

use windrow_model::StageStatus;

/// With fewer records per second a stage is slow by its functions, not by its bytes.
const SLOW_PER_S: u64 = 10_000;

/// The observations of one stage.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    /// The job's time when the stage first had a running or finished task, and the progress at that time.
    began: Option<Mark>,
    now: Mark,
    total: Mark,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    ms: u64,
    /// Of finished tasks and running ones.
    bytes: u64,
    tasks: u64,
    records: u64,
}

impl Pace {
    /// Records the status of the stage at `elapsed_ms` milliseconds of the job.
    pub(super) fn see(&mut self, stage: &StageStatus, elapsed_ms: u64) {
        let bytes = stage.bytes_done.saturating_add(stage.bytes_running);
        self.now = Mark { ms: elapsed_ms, bytes, tasks: stage.tasks.done, records: stage.records };
        self.total = Mark { ms: 0, bytes: stage.bytes_total, tasks: stage.tasks.total, records: 0 };
        if self.began.is_none() && stage.tasks.running + stage.tasks.done > 0 {
            self.began = Some(self.now);
        }
    }

    /// Bytes per second since the stage began; none while unknown.
    pub(super) fn bytes_per_s(&self) -> Option<u64> {
        let began = self.began?;
        rate(self.now.bytes.saturating_sub(began.bytes), self.now.ms.saturating_sub(began.ms))
    }

    /// Thousandths of records per second since the stage began, if its functions are slow: less than [`SLOW_PER_S`] records per
    /// second. None while unknown.
    pub(super) fn slow_records_per_1000_s(&self) -> Option<u64> {
        let began = self.began?;
        let records = self.now.records.saturating_sub(began.records).saturating_mul(1_000);
        rate(records, self.now.ms.saturating_sub(began.ms)).filter(|rate| *rate < SLOW_PER_S * 1_000)
    }

    /// Estimated remaining milliseconds: by bytes if they are known, else by tasks.
    pub(super) fn left_ms(&self) -> Option<u64> {
        let began = self.began?;
        let ms = self.now.ms.saturating_sub(began.ms);
        let (done, left) = if self.total.bytes > 0 {
            (self.now.bytes.saturating_sub(began.bytes), self.total.bytes.saturating_sub(self.now.bytes))
        } else {
            (self.now.tasks.saturating_sub(began.tasks), self.total.tasks.saturating_sub(self.now.tasks))
        };
        (done > 0 && left > 0 && ms > 0).then(|| (u128::from(left) * u128::from(ms) / u128::from(done)) as u64)
    }
}

fn rate(amount: u64, ms: u64) -> Option<u64> {
    (amount > 0 && ms > 0).then(|| (u128::from(amount) * 1000 / u128::from(ms)) as u64)
}
