//! Events as text for people, one line each. The text is not escaped: it holds names and messages from outside.

use crate::event::{Event, Key, Worker};
use crate::failure::LoggedFailure;
use windrow_model::ByteSize;

/// What has happened, in a line.
pub fn describe(event: &Event) -> String {
    match event {
        Event::Log(h) => {
            format!("log, part {}, written by windrow {} in epoch {}: `{}`", h.part, h.engine, h.epoch, h.name)
        }
        Event::Submitted(s) => {
            format!("submitted: {} of binary {}, {} stages", s.program, short(&s.binary), s.stages.len())
        }
        Event::Planned { input_bytes, tasks } => {
            let all: u64 = tasks.iter().map(|n| u64::from(*n)).sum();
            format!("planned: {} of input, {all} tasks in {} stages", ByteSize(*input_bytes), tasks.len())
        }
        Event::StageOpened { stage } => format!("stage {stage} is open"),
        Event::StageDone { stage } => format!("stage {stage} is done"),
        Event::StageReopened { stage } => format!("stage {stage} is open again: outputs were lost"),
        Event::Assigned(a) => {
            let queued = if a.queued { ", queued" } else { "" };
            format!("{} assigned to {}: {}, {}{queued}", name(a.key()), a.worker, a.cause, ByteSize(a.bytes))
        }
        Event::Started(key) => format!("{} has a slot", name(*key)),
        Event::Granted(key) => format!("{} places its parts", name(*key)),
        Event::Done(d) => {
            let (bytes, records) =
                d.outputs.iter().fold((0u64, 0u64), |(b, r), o| (b.saturating_add(o.0), r.saturating_add(o.1)));
            let spilled = if d.spilled > 0 { format!(", {} spilled", ByteSize(d.spilled)) } else { String::new() };
            format!(
                "{} done in {} ms: {} records in, {records} records and {} out{spilled}",
                name(d.key()),
                d.run_ms,
                d.records_in,
                ByteSize(bytes)
            )
        }
        Event::Failed(f) => {
            let charged = match (&f.cause, f.charged) {
                (Some(cause), false) => format!(" (not charged: {cause})"),
                (None, false) => " (not charged)".to_string(),
                (_, true) => String::new(),
            };
            format!("{} failed on {}{charged}: {}", name(f.key()), f.worker, of_failure(&f.failure))
        }
        Event::Stopped(s) => format!("{} stopped on {}: {}", name(s.key()), s.worker, s.why),
        Event::SetAside(s) => {
            format!("a record of task s{}/{} is set aside: {}", s.stage, s.task, of_failure(&s.failure))
        }
        Event::WorkerJoined(w) => format!("{} joined, {} slots", of_worker(w), w.slots),
        Event::WorkerExcluded(w) => format!("{} gets no tasks: {}", of_worker(w), w.reason),
        Event::WorkerReadmitted(w) => format!("{} takes tasks again", of_worker(w)),
        Event::WorkerLost(w) => format!("{} is lost: {}", of_worker(w), w.reason),
        Event::WorkerLeftOut { worker, failure } => format!("{worker} is left out: {}", of_failure(failure)),
        Event::WorkerTakenIn { worker } => format!("{worker} is taken in again"),
        Event::CommitBegan { parts } => format!("commit of {parts} parts began"),
        Event::CommitWaits { reason: Some(reason) } => format!("commit waits: {reason}"),
        Event::CommitWaits { reason: None } => "commit goes on".to_string(),
        Event::Cancelled => "cancelled by a client".to_string(),
        Event::Away { from: 0, epoch, .. } => format!("epoch {epoch} began; what was logged before is missing"),
        Event::Away { from, to, epoch } => {
            let seconds = to.saturating_sub(*from) as f64 / 1_000.0;
            format!("the coordinator was away for {seconds:.1} s; epoch {epoch} began")
        }
        Event::Resumed => "the job goes on; attempts that no worker reported are over".to_string(),
        Event::Ended(e) => match &e.error {
            Some(error) => format!("{} after {} ms: {}", e.state, e.elapsed_ms, of_failure(error)),
            None => format!("{} after {} ms, {} attempts", e.state, e.elapsed_ms, e.attempts),
        },
        Event::Dropped { n } => format!("{n} events are missing here"),
        Event::Damaged { part, offset, what } => format!("the log is damaged in part {part} at byte {offset}: {what}"),
        Event::Unknown => "an event of a later release".to_string(),
    }
}

fn name(key: Key) -> String {
    format!("s{}/{}#{}", key.stage, key.task, key.attempt)
}

fn of_failure(failure: &LoggedFailure) -> String {
    let place = failure.file.as_ref().zip(failure.offset);
    let place = place.map(|(file, offset)| format!(" (record at {file}:{offset})")).unwrap_or_default();
    format!("{}: {}{place}", failure.code, failure.message)
}

fn of_worker(worker: &Worker) -> String {
    match worker.host.is_empty() {
        true => worker.worker.clone(),
        false => format!("{} on {}", worker.worker, worker.host),
    }
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
