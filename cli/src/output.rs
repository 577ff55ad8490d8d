//! Results on stdout, as a table for people or as JSON for scripts; messages on stderr. It decides nothing.

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::{Deserialize, Serialize};
use std::io::Write;
use windrow::report::{failure_text, number, seconds, summary, view_json};
use windrow::stdout;
use windrow_model::view::{DatasetView, ErrorView, JobView, PageTokenView, WorkerView, dataset_state};
use windrow_model::{ByteSize, DatasetStatus, Escape, FailedAttempt, Failure, JobStatus, PageToken, WorkerStatus, utc};

/// The format of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// A table for people
    Table,
    /// JSON for scripts
    Json,
}

/// Writes one or more lines to stdout at once. A closed pipe is not an error.
pub(crate) fn put(text: &str) -> Result<(), Failure> {
    stdout::put_line(&printable(text)).map(drop)
}

/// The lines without control characters that a caller has not escaped.
fn printable(text: &str) -> String {
    text.lines().map(|line| line.escaped_lines().to_string()).collect::<Vec<_>>().join("\n")
}

/// Writes raw bytes. False if the reader has closed the pipe.
pub(crate) fn put_bytes(bytes: &[u8]) -> Result<bool, Failure> {
    stdout::put(bytes)
}

/// Writes a view, or a list of views, as JSON to stdout.
pub(crate) fn put_json(view: &impl Serialize) -> Result<(), Failure> {
    stdout::put_line(&format!("{:#}", view_json(view))).map(drop)
}

/// Prints a message for the user.
pub(crate) fn say(text: &str) {
    // An error on stderr cannot be reported.
    let _ = writeln!(std::io::stderr().lock(), "{}", printable(text));
}

/// Reports a failure: on stderr, and in the JSON format also on stdout as `{"error": …}`.
pub(crate) fn failure(failure: &Failure, format: Format) {
    say(&failure_text(failure));
    if format == Format::Json {
        // The program fails anyway.
        let _ = put_json(&ErrorView { error: failure.into() });
    }
}

/// A list of jobs.
pub(crate) fn jobs(jobs: &[JobStatus], format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => put_json(&jobs.iter().map(JobView::from).collect::<Vec<_>>()),
        Format::Table => put(&jobs_table(jobs)),
    }
}

/// One job.
pub(crate) fn job(job: &JobStatus, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => put_json(&JobView::from(job)),
        Format::Table => put(&job_text(job)),
    }
}

/// A list of workers.
pub(crate) fn workers(workers: &[WorkerStatus], format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => put_json(&workers.iter().map(WorkerView::from).collect::<Vec<_>>()),
        Format::Table => put(&workers_table(workers)),
    }
}

/// A list of datasets.
pub(crate) fn datasets(datasets: &[DatasetStatus], format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => put_json(&datasets.iter().map(DatasetView::from).collect::<Vec<_>>()),
        Format::Table => put(&datasets_table(datasets)),
    }
}

/// A list of tokens of the dashboard.
pub(crate) fn page_tokens(tokens: &[PageToken], format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        return put_json(&tokens.iter().map(PageTokenView::from).collect::<Vec<_>>());
    }
    let mut table = table(&["TOKEN", "ROLE", "EXPIRES", "NAME"]);
    for token in tokens {
        let (expires, name) = (utc(token.expires_unix_ms), one_line(&token.name));
        table.add_row([one_line(&token.id), token.role.as_str().to_string(), expires, name]);
    }
    put(&plain(&table))
}

fn datasets_table(datasets: &[DatasetStatus]) -> String {
    let mut table = table(&["DATASET", "VERSION", "FRAMING", "SIZE", "CHUNKS", "COPIES", "STATE"]);
    for d in datasets {
        table.add_row([
            one_line(&d.name),
            d.version.to_string(),
            d.framing.to_string(),
            ByteSize(d.bytes).to_string(),
            d.chunks.to_string(),
            format!("{}/{}", d.copies_min, d.replicas),
            dataset_state(d).to_string(),
        ]);
    }
    plain(&table)
}

fn jobs_table(jobs: &[JobStatus]) -> String {
    let mut table = table(&["JOB", "NAME", "STATE", "SUBMITTED", "TASKS", "RUNNING", "FAILED", "TIME", "ERROR"]);
    for job in jobs {
        table.add_row([
            job.id.to_string(),
            one_line(&job.name),
            job.state.as_str().to_string(),
            utc(job.submitted_unix_ms),
            format!("{}/{}", number(job.tasks.done), number(job.tasks.total)),
            number(job.tasks.running),
            number(job.tasks.failed),
            seconds(job.elapsed_ms),
            job.error.as_ref().map(|e| e.code.to_string()).unwrap_or_default(),
        ]);
    }
    plain(&table)
}

fn job_text(job: &JobStatus) -> String {
    let mut stages = table(&["STAGE", "TASKS", "RUNNING", "FAILED", "INPUT"]);
    for stage in &job.stages {
        stages.add_row([
            one_line(&stage.label),
            format!("{}/{}", number(stage.tasks.done), number(stage.tasks.total)),
            number(stage.tasks.running),
            number(stage.tasks.failed),
            match stage.bytes_total {
                0 => String::new(),
                total => format!("{} of {}", ByteSize(stage.bytes_done), ByteSize(total)),
            },
        ]);
    }
    let waiting = job.waiting.as_ref().map(|w| format!("\nwaits: {}", w.escaped())).unwrap_or_default();
    let submitted = utc(job.submitted_unix_ms);
    let failures = match &job.failures[..] {
        [] => String::new(),
        failures => format!("\n{}", plain(&failures_table(failures))),
    };
    let head = format!("{} {}\nsubmitted {submitted}{waiting}", job.id, job.name.escaped());
    format!("{head}\n{}{failures}\n{}", plain(&stages), summary(job))
}

/// The latest failed attempts of a job in any state.
fn failures_table(failures: &[FailedAttempt]) -> Table {
    let mut table = table(&["FAILED ATTEMPT", "AFTER", "HOST", "COUNTS", "CODE", "WHY"]);
    for failed in failures {
        table.add_row([
            format!("stage {} task {} attempt {}", failed.stage, failed.task, failed.attempt),
            seconds(failed.after_ms),
            one_line(&failed.host),
            if failed.charged { "yes" } else { "no" }.to_string(),
            failed.code.to_string(),
            one_line(&failed.message),
        ]);
    }
    table
}

fn workers_table(workers: &[WorkerStatus]) -> String {
    let mut table = table(&["WORKER", "STATE", "HOST", "ADDRESS", "SLOTS", "RUNNING", "MEMORY", "VERSION", "WHY"]);
    for worker in workers {
        table.add_row([
            worker.id.to_string(),
            worker.state.as_str().to_string(),
            one_line(&worker.host),
            one_line(&worker.address),
            worker.slots.to_string(),
            worker.running.to_string(),
            ByteSize(worker.memory_bytes).to_string(),
            one_line(&worker.version),
            one_line(worker.reason.as_deref().unwrap_or_default()),
        ]);
    }
    plain(&table)
}

/// A name from outside in a cell.
pub(crate) fn one_line(name: &str) -> String {
    name.escaped().to_string()
}

pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    table
}

/// The table without the blanks that pad it on both sides.
pub(crate) fn plain(table: &Table) -> String {
    let lines = table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_string());
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_model::{Counters, JobState, StageStatus, TaskTotals, WorkerState};

    #[test]
    fn tables_begin_with_the_id() {
        let tasks = TaskTotals { total: 1200, done: 7, running: 2, failed: 1 };
        let status = JobStatus {
            id: "job-00000000000000000000000000000007".parse().unwrap(),
            name: "words".into(),
            state: JobState::Running,
            stages: vec![StageStatus {
                label: "lines → map".into(),
                tasks,
                bytes_done: 1 << 20,
                bytes_total: 1 << 30,
                bytes_running: 0,
                records: 0,
            }],
            tasks,
            attempts: 9,
            backups: 0,
            counters: Counters::default(),
            error: None,
            waiting: Some("waiting for workers".into()),
            outputs: Vec::new(),
            submitted_unix_ms: 1_795_996_530_000,
            elapsed_ms: 61_000,
            failures: vec![FailedAttempt {
                stage: windrow_model::StageId(0),
                task: 3,
                attempt: 1,
                worker: "worker-00000000000000000000000000000001".parse().unwrap(),
                host: "host\nFAKE".into(),
                code: windrow_model::Code::UserPanic,
                message: "panicked: boom".into(),
                charged: true,
                after_ms: 4_000,
            }],
            left_out: Vec::new(),
        };
        let table = jobs_table(std::slice::from_ref(&status));
        let row = table.lines().nth(1).unwrap();
        assert!(row.starts_with("job-00000000000000000000000000000007"), "{table}");
        assert!(row.contains("7/1,200") && row.contains("1 min 1 s"), "{table}");
        assert!(row.contains("2026-11-29 23:55:30Z"), "{table}");
        let text = job_text(&status);
        assert!(text.contains("1 MiB of 1 GiB") && text.contains("waiting for workers"), "{text}");
        for wanted in [
            "submitted 2026-11-29 23:55:30Z",
            "stage 0 task 3 attempt 1",
            "USER_PANIC",
            "panicked: boom",
            r"host\nFAKE",
        ] {
            assert!(text.contains(wanted), "no {wanted} in {text}");
        }
        assert_eq!(jobs_table(&[]).lines().count(), 1);
    }

    #[test]
    fn an_excluded_worker_is_listed_with_its_reason() {
        let worker = WorkerStatus {
            id: "worker-00000000000000000000000000000001".parse().unwrap(),
            address: "http://a:1".into(),
            host: "a".into(),
            state: WorkerState::Excluded,
            slots: 1,
            running: 0,
            memory_bytes: 1,
            version: "0".into(),
            reason: Some("its disk is full\nFAKE".into()),
        };
        let table = workers_table(&[worker]);
        assert!(table.contains(r"its disk is full\nFAKE") && table.lines().count() == 2, "{table}");
    }
}
