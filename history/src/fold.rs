//! Folds the events of a job to its summary. The same events give the same summary, live or from the log.

use crate::attempts::{AttemptRow, AttemptState, Attempts};
use crate::distribution::Distribution;
use crate::event::{Ended, Event, Key, Line, Worker};
use crate::failure::LoggedFailure;
use crate::summary::{Body, CauseTotal, Head, Listed, Percentiles, StageSummary, Summary, WorkerSummary};
use std::collections::BTreeMap;

/// Failed attempts that a summary lists; a summary that gets too large lists fewer.
pub const FAILED_MAX: usize = 200;
/// Slowest attempts that a summary lists.
pub const SLOWEST_MAX: usize = 200;
const WORKERS_MAX: usize = 1_000;
const BAD_RECORDS_MAX: usize = 20;
const AWAY_MAX: usize = 100;
const CAUSES_MAX: usize = 64;
/// Most stages that are followed: a plan has no more.
const STAGES_MAX: usize = 100_000;

/// Causes of attempts that repeat no work: the attempt before has not run, or goes on.
const NOT_EXTRA: [&str; 4] = ["first", "taken-back", "rejoined", "unknown"];

/// What is known of a job after the events so far. Memory does not grow with its attempts, apart from those that have not ended
/// and eight bytes for each task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fold {
    body: Body,
    name: String,
    submitted: u64,
    last: u64,
    stages: Vec<Stage>,
    attempts: Attempts,
    /// The slowest ones: smallest first.
    slowest: BTreeMap<(u64, Key), AttemptRow>,
    ended_attempts: u64,
    workers: BTreeMap<String, WorkerSummary>,
    ended: Option<Ended>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Stage {
    summary: StageSummary,
    duration_ms: Distribution,
    queued_ms: Distribution,
    run_ms: Distribution,
    bytes_in: Distribution,
    records_in: Distribution,
    bytes_out: Distribution,
    records_out: Distribution,
    bytes_spilled: Distribution,
}

impl Fold {
    /// Takes the next event.
    pub fn apply(&mut self, line: &Line) {
        let t = line.t;
        self.last = t;
        let mut rows = Vec::new();
        self.attempts.apply(line, &mut |row| rows.push(row));
        rows.into_iter().for_each(|row| self.attempt_ended(row));
        match &line.event {
            Event::Log(header) => {
                self.name.clone_from(&header.name);
                self.body.log = header.clone();
            }
            Event::Submitted(submitted) => {
                self.submitted = t;
                let body = &mut self.body;
                body.program.clone_from(&submitted.program);
                body.binary.clone_from(&submitted.binary);
                body.fingerprint.clone_from(&submitted.fingerprint);
                body.settings.clone_from(&submitted.settings);
                body.inputs = Listed { items: submitted.inputs.clone(), left_off: 0 };
                body.outputs = Listed { items: submitted.outputs.clone(), left_off: 0 };
                for (at, name) in submitted.stages.iter().enumerate() {
                    self.stage(at as u32).into_iter().for_each(|stage| stage.summary.name.clone_from(name));
                }
            }
            Event::Planned { input_bytes, tasks } => {
                self.body.input_bytes = *input_bytes;
                for (at, tasks) in tasks.iter().enumerate() {
                    self.stage(at as u32).into_iter().for_each(|stage| stage.summary.tasks = u64::from(*tasks));
                }
            }
            Event::StageOpened { stage } => {
                self.stage(*stage).into_iter().for_each(|stage| _ = stage.summary.opened.get_or_insert(t));
            }
            // A restarted coordinator finds stages done once more.
            Event::StageDone { stage } => {
                self.stage(*stage).into_iter().for_each(|stage| _ = stage.summary.done.get_or_insert(t));
            }
            Event::StageReopened { stage } => {
                if let Some(stage) = self.stage(*stage) {
                    stage.summary.reopened += 1;
                    stage.summary.done = None;
                }
            }
            Event::Assigned(assigned) => {
                if let Some(stage) = self.stage(assigned.stage).filter(|_| assigned.cause == "restarted")
                    && stage.summary.done.take().is_some()
                {
                    stage.summary.reopened += 1;
                }
            }
            Event::SetAside(aside) => {
                self.body.bad_records.push(aside.failure.clone(), BAD_RECORDS_MAX);
            }
            Event::WorkerJoined(worker) => self.worker_changed(worker, "joined"),
            Event::WorkerReadmitted(worker) => self.worker_changed(worker, "joined"),
            Event::WorkerExcluded(worker) => self.worker_changed(worker, "excluded"),
            Event::WorkerLost(worker) => self.worker_changed(worker, "lost"),
            Event::WorkerLeftOut { worker, failure } => {
                let reason = format!("{}: {}", failure.code, failure.message);
                self.worker_changed(&Worker { worker: worker.clone(), reason, ..Worker::default() }, "left-out");
            }
            Event::WorkerTakenIn { worker } => {
                self.worker_changed(&Worker { worker: worker.clone(), ..Worker::default() }, "joined");
            }
            Event::CommitBegan { .. } => _ = self.body.commit_began.get_or_insert(t),
            Event::Away { from, to, .. } => self.body.away.push((*from, *to), AWAY_MAX),
            Event::Ended(ended) => self.ended = Some((**ended).clone()),
            Event::Dropped { n } => self.body.dropped = self.body.dropped.saturating_add(*n),
            Event::Damaged { .. } => self.body.damaged += 1,
            Event::Started(_)
            | Event::Granted(_)
            | Event::Done(_)
            | Event::Failed(_)
            | Event::Stopped(_)
            | Event::CommitWaits { .. }
            | Event::Cancelled
            | Event::Resumed
            | Event::Unknown => {}
        }
    }

    /// Time of the last event; 0 before the first one.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Name of the job, from the last first line of a file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the job has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// The summary as of now.
    pub fn summary(&self) -> Summary {
        let ended = self.ended.clone().unwrap_or_default();
        let mut stages: Vec<StageSummary> = self.stages.iter().map(Stage::summary).collect();
        for (at, end) in ended.stages.iter().enumerate().take(STAGES_MAX) {
            if at >= stages.len() {
                stages.push(StageSummary::default());
            }
            let stage = &mut stages[at];
            stage.name.label.clone_from(&end.label);
            (stage.tasks, stage.tasks_done, stage.tasks_failed) = (end.tasks, end.done, end.failed);
            (stage.bytes_done, stage.bytes_total, stage.records) = (end.bytes_done, end.bytes_total, end.records);
        }
        let sum = |of: fn(&StageSummary) -> u64| stages.iter().map(of).fold(0, u64::saturating_add);
        let head = Head {
            version: crate::event::VERSION,
            job: self.body.log.job.clone(),
            name: self.name.clone(),
            state: if self.ended.is_some() { ended.state.to_string() } else { "unknown".to_string() },
            code: ended.error.as_ref().map(|error| error.code.clone()).unwrap_or_default(),
            message: ended.error.as_ref().map(|error| error.message.clone()).unwrap_or_default(),
            submitted_unix_ms: if self.ended.is_some() { ended.submitted } else { self.submitted },
            elapsed_ms: match self.ended.is_some() {
                true => ended.elapsed_ms,
                false => self.last.saturating_sub(self.submitted),
            },
            stages: stages.len() as u64,
            tasks: sum(|stage| stage.tasks),
            tasks_done: sum(|stage| stage.tasks_done),
            tasks_failed: sum(|stage| stage.tasks_failed),
            attempts: if self.ended.is_some() { ended.attempts } else { self.ended_attempts },
            backups: ended.backups,
        };
        let mut body = self.body.clone();
        body.error = ended.error;
        body.stages = Listed { items: stages, left_off: 0 };
        // A log that began late has no submit.
        if body.outputs.items.is_empty() {
            body.outputs.items = ended.outputs;
        }
        body.counters = Listed { items: ended.counters.into_iter().collect(), left_off: 0 };
        body.slowest = Listed {
            items: self.slowest.values().rev().cloned().collect(),
            left_off: self.ended_attempts.saturating_sub(self.slowest.len() as u64),
        };
        let mut workers: Vec<WorkerSummary> = self.workers.values().cloned().collect();
        // Those with trouble first.
        workers.sort_by_key(|worker| std::cmp::Reverse((worker.losses, worker.failed, worker.attempts)));
        body.workers.items = workers;
        Summary { head, body }
    }

    fn stage(&mut self, at: u32) -> Option<&mut Stage> {
        let at = at as usize;
        if at >= self.stages.len() {
            if at >= STAGES_MAX {
                return None;
            }
            self.stages.resize_with(at + 1, Stage::default);
        }
        self.stages.get_mut(at)
    }

    fn attempt_ended(&mut self, row: AttemptRow) {
        self.ended_attempts += 1;
        if let Some(worker) = self.worker(&row.worker) {
            worker.attempts += 1;
            worker.failed += u64::from(row.state == AttemptState::Failed);
        }
        if let Some(stage) = self.stage(row.stage) {
            stage.add(&row);
        }
        if !NOT_EXTRA.contains(&&*row.cause) {
            let known = self.body.causes.contains_key(&*row.cause) || self.body.causes.len() < CAUSES_MAX;
            let cause = if known { row.cause.to_string() } else { "other".to_string() };
            let total: &mut CauseTotal = self.body.causes.entry(cause).or_default();
            total.attempts += 1;
            total.duration_ms = total.duration_ms.saturating_add(row.duration_ms);
            if row.state != AttemptState::Done {
                total.lost_ms = total.lost_ms.saturating_add(row.duration_ms);
            }
        }
        if row.state == AttemptState::Failed {
            self.body.failed.push(row.clone(), FAILED_MAX);
        }
        // An attempt with a failure stands in the other list: here its times are of interest.
        let slim = AttemptRow { failure: row.failure.as_ref().map(|f| Box::new(code_of(f))), ..row };
        self.slowest.insert((slim.duration_ms, slim.key()), slim);
        if self.slowest.len() > SLOWEST_MAX {
            self.slowest.pop_first();
        }
    }

    fn worker(&mut self, id: &str) -> Option<&mut WorkerSummary> {
        if !self.workers.contains_key(id) {
            if self.workers.len() >= WORKERS_MAX {
                self.body.workers.left_off += 1;
                return None;
            }
            self.workers.insert(id.to_string(), WorkerSummary { worker: id.to_string(), ..WorkerSummary::default() });
        }
        self.workers.get_mut(id)
    }

    fn worker_changed(&mut self, change: &Worker, state: &'static str) {
        let Some(worker) = self.worker(&change.worker) else { return };
        if !change.host.is_empty() {
            (worker.host, worker.slots) = (change.host.clone(), change.slots);
        }
        worker.state = state.into();
        worker.reason.clone_from(&change.reason);
        worker.losses += u64::from(matches!(state, "lost" | "excluded"));
    }
}

fn code_of(failure: &LoggedFailure) -> LoggedFailure {
    LoggedFailure { code: failure.code.clone(), ..LoggedFailure::default() }
}

impl Stage {
    fn add(&mut self, row: &AttemptRow) {
        self.summary.attempts += 1;
        self.summary.tasks_failed += u64::from(row.charged);
        if row.state != AttemptState::Done {
            return;
        }
        self.summary.tasks_done += 1;
        self.duration_ms.add(row.duration_ms);
        self.queued_ms.add(row.queued_ms);
        self.run_ms.add(row.run_ms);
        self.bytes_in.add(row.bytes_in);
        self.records_in.add(row.records_in);
        self.bytes_out.add(row.bytes_out);
        self.records_out.add(row.records_out);
        self.bytes_spilled.add(row.bytes_spilled);
    }

    fn summary(&self) -> StageSummary {
        StageSummary {
            duration_ms: Percentiles::of(&self.duration_ms),
            queued_ms: Percentiles::of(&self.queued_ms),
            run_ms: Percentiles::of(&self.run_ms),
            bytes_in: Percentiles::of(&self.bytes_in),
            records_in: Percentiles::of(&self.records_in),
            bytes_out: Percentiles::of(&self.bytes_out),
            records_out: Percentiles::of(&self.records_out),
            bytes_spilled: Percentiles::of(&self.bytes_spilled),
            ..self.summary.clone()
        }
    }
}

impl Percentiles {
    /// The numbers of a distribution.
    fn of(distribution: &Distribution) -> Percentiles {
        let (min, max) = distribution.range();
        Percentiles {
            count: distribution.count(),
            sum: distribution.sum(),
            min,
            p25: distribution.percentile(25),
            p50: distribution.percentile(50),
            p75: distribution.percentile(75),
            p95: distribution.percentile(95),
            max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Assigned, Done, Failed, StageEnd, StageName, Submitted};
    use crate::summary::{BYTES_MAX, HEAD_BYTES_MAX};

    fn feed(fold: &mut Fold, t: u64, event: Event) {
        fold.apply(&Line { t, event });
    }

    fn assigned(task: u32, attempt: u32, cause: &'static str) -> Event {
        let worker = format!("worker-{:032x}", task % 3_000);
        Event::Assigned(Assigned {
            task,
            attempt,
            epoch: 1,
            worker,
            cause: cause.into(),
            bytes: 1,
            ..Assigned::default()
        })
    }

    #[test]
    fn summary_of_any_job_is_small() {
        let mut fold = Fold::default();
        let long = |n: usize| "é".repeat(n);
        feed(&mut fold, 1, Event::Log(crate::event::Header { name: long(30_000), ..Default::default() }));
        let stages = vec![StageName { label: long(2_000), place: long(2_000) }; 2_000];
        let settings = (0..20).map(|n| (format!("s{n}"), long(5_000))).collect();
        let inputs = (0..5_000).map(|n| format!("{n}{}", long(500))).collect();
        feed(&mut fold, 1, Event::Submitted(Box::new(Submitted { stages, settings, inputs, ..Submitted::default() })));
        for n in 0..100_000u32 {
            let t = u64::from(n) * 3;
            feed(&mut fold, t, assigned(n, 0, "first"));
            feed(&mut fold, t + 1, assigned(n, 1, "backup"));
            let worker = format!("worker-{:032x}", n % 3_000);
            let failure = LoggedFailure { message: long(4_000), stderr: long(4_000), ..LoggedFailure::default() };
            let failed = Failed {
                task: n,
                attempt: 1,
                epoch: 1,
                worker: worker.clone(),
                failure,
                charged: true,
                ..Failed::default()
            };
            if n % 100 == 0 {
                feed(&mut fold, t + 2, Event::Failed(Box::new(failed)));
            }
            feed(
                &mut fold,
                t + 5,
                Event::Done(Done { task: n, epoch: 1, worker, run_ms: u64::from(n % 977), ..Done::default() }),
            );
        }
        let ends = vec![StageEnd { label: long(2_000), tasks: 9, ..StageEnd::default() }; 2_000];
        let counters = (0..10_000).map(|n| (format!("counter {n} {}", long(40)), n)).collect();
        let error = LoggedFailure { message: long(8_000), stderr: long(8_000), ..LoggedFailure::default() };
        let ended = Ended { state: "failed".into(), stages: ends, counters, error: Some(error), ..Ended::default() };
        feed(&mut fold, 400_000, Event::Ended(Box::new(ended)));
        let mut summary = fold.summary();
        assert_eq!((summary.body.failed.items.len(), summary.body.failed.left_off), (200, 800));
        assert_eq!((summary.body.slowest.items.len(), summary.body.slowest.left_off), (200, 199_800));
        assert_eq!((summary.body.workers.items.len(), summary.head.tasks), (1_000, 18_000));
        let json = summary.to_json();
        assert!(json.len() <= BYTES_MAX, "{}", json.len());
        assert_eq!(Summary::parse(&json), Some(summary.clone()));
        assert!(json.iter().position(|b| *b == b'\n').unwrap() < HEAD_BYTES_MAX);
        assert!(summary.body.failed.left_off >= 800 && summary.body.stages.left_off > 0, "it says what it leaves off");
    }

    #[test]
    fn extra_attempts_are_counted_by_cause() {
        let mut fold = Fold::default();
        feed(&mut fold, 0, assigned(0, 0, "first"));
        feed(&mut fold, 10, assigned(0, 1, "backup"));
        let failed = Failed { task: 0, attempt: 1, epoch: 1, charged: true, ..Failed::default() };
        feed(&mut fold, 40, Event::Failed(Box::new(failed)));
        feed(&mut fold, 50, Event::Done(Done { epoch: 1, ..Done::default() }));
        feed(&mut fold, 60, Event::StageReopened { stage: 0 });
        feed(&mut fold, 60, assigned(0, 2, "outputs-lost"));
        feed(&mut fold, 80, Event::Done(Done { attempt: 2, epoch: 1, ..Done::default() }));
        let summary = fold.summary();
        assert_eq!(summary.body.causes["backup"], CauseTotal { attempts: 1, duration_ms: 30, lost_ms: 30 });
        assert_eq!(summary.body.causes["outputs-lost"], CauseTotal { attempts: 1, duration_ms: 20, lost_ms: 0 });
        let stage = &summary.body.stages.items[0];
        assert_eq!((stage.attempts, stage.reopened, stage.duration_ms.max), (3, 1, 50));
        assert_eq!(summary.head.state, "unknown", "the log has no end");
    }

    #[test]
    fn finished_attempt_that_is_reported_again_counts_once() {
        let mut fold = Fold::default();
        feed(&mut fold, 0, assigned(0, 0, "first"));
        feed(&mut fold, 50, Event::Done(Done { epoch: 1, ..Done::default() }));
        feed(&mut fold, 90, Event::Away { from: 60, to: 90, epoch: 2 });
        feed(&mut fold, 91, assigned(0, 0, "rejoined"));
        feed(&mut fold, 91, Event::Done(Done { epoch: 1, ..Done::default() }));
        feed(&mut fold, 92, Event::Resumed);
        let summary = fold.summary();
        let stage = &summary.body.stages.items[0];
        assert_eq!((stage.attempts, stage.duration_ms.count, stage.duration_ms.max), (1, 1, 50));
        assert_eq!(summary.body.away.items, [(60, 90)]);
    }
}
