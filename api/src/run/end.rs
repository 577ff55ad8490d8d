//! How a program reports that it has failed: to people on stderr, to scripts as JSON.

use crate::report::{failure_json, view_json};
use crate::stdout;
use serde_json::{Value, json};
use windrow_model::view::DriverView;
use windrow_model::{Escape, Failure, JobStatus};

/// The cause first, then what to do.
pub(crate) fn print_failure(failure: &Failure) {
    eprintln!("error: {failure}");
    if !failure.stderr_tail.is_empty() {
        eprintln!("  last lines of the task's stderr:");
        failure.stderr_tail.lines().for_each(|l| eprintln!("  | {}", l.escaped_lines()));
    }
    eprintln!("  hint: {}", failure.code.hint());
}

/// The end of a run that came to no job, or of which no more is known, in the shape of a job that failed.
pub(crate) fn no_job_json(failure: &Failure) -> Value {
    json!({ "state": "failed", "error": failure_json(failure) })
}

/// The end of a driver: its jobs in the order in which they ran, and what it failed with.
pub(crate) fn driver_json(jobs: &[JobStatus], failure: Option<&Failure>) -> Value {
    view_json(&DriverView::of(jobs, failure))
}

/// A result as JSON on standard output.
///
/// # Errors
/// It cannot be written.
pub(crate) fn print_json(value: &Value) -> Result<(), Failure> {
    stdout::put_line(&format!("{value:#}")).map(drop)
}
