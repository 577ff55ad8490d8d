//! How fast a stage goes, and how long it will take, from the statuses seen so far.

use windrow_model::StageStatus;

/// What has been seen of one stage.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// The job's time when the stage first had a running or finished task, and what was done by then.
    began: Option<Mark>,
    now: Mark,
    total: Mark,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    ms: u64,
    bytes: u64,
    tasks: u64,
}

impl Pace {
    /// Takes in how the stage stands at `elapsed_ms` of the job.
    pub fn see(&mut self, stage: &StageStatus, elapsed_ms: u64) {
        self.now = Mark { ms: elapsed_ms, bytes: stage.bytes_done, tasks: stage.tasks.done };
        self.total = Mark { ms: 0, bytes: stage.bytes_total, tasks: stage.tasks.total };
        if self.began.is_none() && stage.tasks.running + stage.tasks.done > 0 {
            self.began = Some(self.now);
        }
    }

    /// Bytes a second since the stage began; nothing as long as that means nothing.
    pub fn bytes_per_s(&self) -> Option<u64> {
        let began = self.began?;
        rate(self.now.bytes - began.bytes.min(self.now.bytes), self.now.ms.saturating_sub(began.ms))
    }

    /// Milliseconds that the rest takes at this pace: by bytes where they are known, else by tasks.
    pub fn left_ms(&self) -> Option<u64> {
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
