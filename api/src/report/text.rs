//! The texts of a report: pure functions from statuses to text.

use super::pace::Pace;
use std::fmt::Write;
use windrow_model::counters::names;
use windrow_model::{ByteSize, Escape, Failure, JobState, JobStatus, StageStatus};

/// One plain line for the whole job: its state and the active stages.
pub(super) fn line(status: &JobStatus, paces: &[Pace]) -> String {
    let mut line = status.state.as_str().to_string();
    for (i, (stage, pace)) in status.stages.iter().zip(paces).enumerate() {
        if stage.tasks.running > 0 || (stage.tasks.done > 0 && stage.tasks.done < stage.tasks.total) {
            let _ = write!(line, "; stage {i} ({}): {}", stage.label.escaped(), progress(stage, pace));
        }
    }
    if let Some(waiting) = &status.waiting {
        let _ = write!(line, "; {}", waiting.escaped());
    }
    line
}

/// Thousandths of the stage's input that finished and running tasks have read; by tasks if its bytes are unknown.
pub(super) fn permille(stage: &StageStatus) -> u64 {
    let (done, total) = match stage.bytes_total {
        0 => (stage.tasks.done, stage.tasks.total),
        total => (stage.bytes_done.saturating_add(stage.bytes_running), total),
    };
    match stage.tasks.done >= stage.tasks.total {
        true => 1_000,
        // A stage with unfinished tasks is not complete, whatever they have read.
        false => (u128::from(done) * 1_000 / u128::from(total.max(1))).min(999) as u64,
    }
}

/// `12/40 tasks, 3 running, 1 failed, 37 %, 120 MiB/s, 12.5 records/s, 4 s left`
pub(super) fn progress(stage: &StageStatus, pace: &Pace) -> String {
    let tasks = &stage.tasks;
    let mut text = format!("{}/{} tasks", tasks.done, tasks.total);
    if tasks.running > 0 {
        let _ = write!(text, ", {} running", tasks.running);
    }
    if tasks.failed > 0 {
        let _ = write!(text, ", {} failed", tasks.failed);
    }
    if tasks.done < tasks.total {
        if tasks.running > 0 && stage.bytes_total > 0 {
            let _ = write!(text, ", {} %", permille(stage) / 10);
        }
        if let Some(rate) = pace.bytes_per_s() {
            let _ = write!(text, ", {}/s", ByteSize(rate));
        }
        if let Some(rate) = pace.slow_records_per_1000_s() {
            let _ = match rate {
                0..10_000 => write!(text, ", {}.{} records/s", rate / 1_000, rate % 1_000 / 100),
                _ => write!(text, ", {} records/s", number(rate / 1_000)),
            };
        }
        if let Some(left) = pace.left_ms() {
            let _ = write!(text, ", {} left", seconds(left));
        }
    }
    text
}

/// The end of a job in a few lines: the records read and written and the outputs, or the first cause and what to do.
pub fn summary(status: &JobStatus) -> String {
    let elapsed = seconds(status.elapsed_ms);
    let mut text = match status.state {
        JobState::Done => format!("done in {elapsed}"),
        JobState::Failed => format!("failed after {elapsed}"),
        JobState::Cancelled => format!("cancelled after {elapsed}"),
        state => format!("{} for {elapsed}", state.as_str()),
    };
    if status.tasks.done > 0 {
        let _ = write!(text, ", {} tasks", number(status.tasks.done));
    }
    match status.backups {
        0 => {}
        1 => text.push_str(", 1 backup attempt"),
        n => {
            let _ = write!(text, ", {} backup attempts", number(n));
        }
    }
    let count = |name| status.counters.get(name);
    for (what, records, bytes) in
        [("read", names::RECORDS_READ, names::BYTES_READ), ("written", names::RECORDS_WRITTEN, names::BYTES_WRITTEN)]
    {
        if count(records) > 0 || count(bytes) > 0 {
            let _ = write!(text, ", {} records ({}) {what}", number(count(records)), ByteSize(count(bytes)));
        }
    }
    for (name, n) in status.counters.0.iter().filter(|(name, _)| !name.starts_with("windrow.")) {
        let _ = write!(text, "\n  {}: {}", name.escaped(), number(*n));
    }
    if status.state == JobState::Done {
        for output in &status.outputs {
            let _ = write!(text, "\n  output: {}", output.escaped());
        }
    }
    // For a cancelled job the first word is enough.
    if let Some(error) = status.error.as_ref().filter(|_| status.state != JobState::Cancelled) {
        let _ = write!(text, "\n{}", failure_text(error));
    }
    text
}

/// A failure for people: message, record, the end of stderr, and what to do. Text from outside is escaped.
pub fn failure_text(failure: &Failure) -> String {
    let mut text = format!("error {}: {}", failure.code, failure.message.escaped_lines());
    if let Some(place) = &failure.place {
        let _ = write!(text, "\n  record at {}:{}", place.file.escaped(), place.offset);
        if !place.excerpt.is_empty() {
            let _ = write!(text, ": {}", place.excerpt.escaped());
        }
    }
    if !failure.stderr_tail.trim().is_empty() {
        text.push_str("\n  last lines of its stderr:");
        for line in failure.stderr_tail.trim_end().lines() {
            let _ = write!(text, "\n    | {}", line.escaped_lines());
        }
    }
    let _ = write!(text, "\n  hint: {}", failure.code.hint());
    text
}

/// A duration: `4 ms`, `1.2 s`, `3 min 20 s`, `2 h 5 min`.
pub fn seconds(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// A number with separators: `1,234,567`.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
