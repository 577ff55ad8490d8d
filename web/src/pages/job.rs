//! The page of a job: one sentence on top, the cause of a failure, how far it is, its plan, and what may be done.

use super::{Html, Page, job_id, workers_or_none};
use crate::facts::JobFacts;
use crate::graph::{Graph, graph};
use crate::refusal::Refusal;
use crate::sentence::{culprit, sentence};
use crate::site::{Site, Visit};
use crate::text::{Name, Text, bytes, duration, number, percent, time};
use askama::Template;
use windrow_model::{FailedAttempt, Failure, JobState, JobStatus, StageStatus, path_text};

/// Most bytes of a task's stderr on the card of a failure.
const STDERR_BYTES_MAX: usize = 8 << 10;

/// The cause of a failure.
struct Card {
    code: &'static str,
    hint: &'static str,
    message: Text,
    /// Stage, label, task, attempt and worker of the attempt that ended the job.
    culprit: Option<Culprit>,
    /// File, offset and first bytes of the record.
    record: Option<(Text, Text, Text)>,
    stderr: Text,
}

struct Culprit {
    stage: u32,
    label: Text,
    task: u32,
    attempt: u32,
    worker: Text,
    after: Text,
    /// Failed attempts of the same task that are known.
    of_task: usize,
}

struct StageRow {
    number: usize,
    label: Text,
    done: Text,
    total: Text,
    running: Text,
    failed: u64,
    percent: u64,
    /// Bytes read of bytes to read; empty while unknown.
    read: String,
    percent_read: u64,
    state: &'static str,
}

struct AttemptRow {
    stage: u32,
    task: u32,
    attempt: u32,
    worker: Text,
    code: &'static str,
    message: Text,
    charged: bool,
    after: Text,
}

#[derive(Template)]
#[template(path = "job.html")]
struct Job<'a> {
    id: Text,
    name: Name,
    state: &'static str,
    sentence: Text,
    card: Option<Card>,
    /// The forms that change the job, with the session's key.
    cancel_key: Option<&'a str>,
    may_cancel: bool,
    tasks: String,
    percent: u64,
    /// Bytes over all stages that read a source; empty while unknown.
    read: String,
    percent_read: u64,
    graph: Option<Graph>,
    stages: Vec<StageRow>,
    warnings: Vec<Text>,
    attempts: Vec<AttemptRow>,
    attempts_started: Text,
    backups: Text,
    failed: Text,
    listed_max: usize,
    counters: Vec<(Text, Text)>,
    outputs: Vec<Text>,
    submitted: Text,
    elapsed: Text,
}

pub(crate) async fn page(site: &Site, visit: &Visit) -> Result<Page, Refusal> {
    let id = job_id(&visit.id)?;
    let JobFacts { status, shape } = site.ask(site.facts.job(id)).await?;
    let workers = workers_or_none(site).await;
    let name = Name::of(&status.name);
    // What stages read of each other is no input of the job.
    let sources = status.stages.iter().zip(&shape).filter(|(_, shape)| shape.reads_source);
    let (read, total) = sources.fold((0_u64, 0_u64), |(read, total), (stage, _)| {
        (read.saturating_add(read_of(stage)), total.saturating_add(stage.bytes_total))
    });
    let form_key = visit.caller.as_ref().and_then(|caller| caller.form_key.as_deref());
    let job = Job {
        id: Text::line(id.to_string()),
        name: name.clone(),
        state: status.state.as_str(),
        sentence: Text::line(sentence(&status, &workers)),
        card: status.error.as_ref().filter(|_| status.state == JobState::Failed).map(|error| card(error, &status)),
        cancel_key: form_key.filter(|_| visit.may_steer()),
        may_cancel: !status.state.is_final(),
        tasks: format!("{} of {}", number(status.tasks.done), number(status.tasks.total)),
        percent: percent(status.tasks.done, status.tasks.total),
        read: if total == 0 { String::new() } else { format!("{} of {}", bytes(read), bytes(total)) },
        percent_read: percent(read, total),
        graph: graph(&shape, &status.stages),
        stages: status.stages.iter().enumerate().map(stage_row).collect(),
        warnings: warnings(&status),
        attempts: status.failures.iter().rev().map(attempt_row).collect(),
        attempts_started: number(status.attempts),
        backups: number(status.backups),
        failed: number(status.tasks.failed),
        listed_max: FailedAttempt::LISTED_MAX,
        counters: status.counters.0.iter().map(|(name, n)| (Text::line(name), number(*n))).collect(),
        outputs: status.outputs.iter().map(Text::line).collect(),
        submitted: time(status.submitted_unix_ms),
        elapsed: duration(status.elapsed_ms),
    };
    Ok(Page { title: name.shown, section: "jobs", main: Html::of(&job)?, settled: status.state.is_final() })
}

fn read_of(stage: &StageStatus) -> u64 {
    stage.bytes_done.saturating_add(stage.bytes_running).min(stage.bytes_total)
}

fn card(error: &Failure, status: &JobStatus) -> Card {
    let culprit = culprit(status).map(|last| Culprit {
        stage: last.stage.0,
        label: Text::line(status.stages.get(last.stage.0 as usize).map_or("", |stage| stage.label.as_str())),
        task: last.task,
        attempt: last.attempt,
        worker: worker_of(last),
        after: duration(last.after_ms),
        of_task: status.failures.iter().filter(|f| f.stage == last.stage && f.task == last.task).count(),
    });
    let record = error
        .place
        .as_ref()
        .map(|place| (Text::line(path_text(&place.file).as_bytes()), number(place.offset), Text::line(&place.excerpt)));
    let tail = error.stderr_tail.as_bytes();
    Card {
        code: error.code.as_str(),
        hint: error.code.hint(),
        message: Text::lines(&error.message),
        culprit,
        record,
        stderr: Text::lines(&tail[tail.len().saturating_sub(STDERR_BYTES_MAX)..]),
    }
}

fn worker_of(failed: &FailedAttempt) -> Text {
    match failed.host.is_empty() {
        true => Text::line(failed.worker.to_string()),
        false => Text::line(format!("{} ({})", failed.host, failed.worker)),
    }
}

fn stage_row((number_of, stage): (usize, &StageStatus)) -> StageRow {
    let read = read_of(stage);
    let state = match (stage.tasks.done, stage.tasks.running) {
        (done, _) if done == stage.tasks.total && done > 0 => "done",
        (_, running) if running > 0 => "running",
        _ => "open",
    };
    StageRow {
        number: number_of,
        label: Text::line(&stage.label),
        done: number(stage.tasks.done),
        total: number(stage.tasks.total),
        running: number(stage.tasks.running),
        failed: stage.tasks.failed,
        percent: percent(stage.tasks.done, stage.tasks.total),
        read: match stage.bytes_total {
            0 => String::new(),
            total => format!("{} of {}", bytes(read), bytes(total)),
        },
        percent_read: percent(read, stage.bytes_total),
        state,
    }
}

fn attempt_row(failed: &FailedAttempt) -> AttemptRow {
    AttemptRow {
        stage: failed.stage.0,
        task: failed.task,
        attempt: failed.attempt,
        worker: worker_of(failed),
        code: failed.code.as_str(),
        message: Text::lines(&failed.message),
        charged: failed.charged,
        after: duration(failed.after_ms),
    }
}

/// What an operator should know although the job has not failed of it.
fn warnings(status: &JobStatus) -> Vec<Text> {
    let left_out = status.left_out.iter().map(|left_out| {
        let worker = if left_out.host.is_empty() { left_out.worker.to_string() } else { left_out.host.clone() };
        Text::line(format!("{worker} gets no tasks of this job: {}: {}", left_out.code, left_out.message))
    });
    let uncharged = status.failures.iter().filter(|failed| !failed.charged).count();
    let lost = (uncharged > 0).then(|| {
        Text::line(format!(
            "{uncharged} of the latest failed attempts are not the job's own failures: they run again without a charge"
        ))
    });
    left_out.chain(lost).collect()
}
