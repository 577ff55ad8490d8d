//! Views of `windrow_model` as JSON values, whose fields are sorted.

use serde::Serialize;
use serde_json::Value;
use windrow_model::view::{FailureView, JobView};
use windrow_model::{Failure, JobStatus};

/// Converts a view to JSON.
pub fn view_json(view: &impl Serialize) -> Value {
    serde_json::to_value(view).expect("a view holds text, numbers and lists, and maps only by text")
}

/// A job: `id, name, state, stages, tasks{total, done, running, failed}, attempts, backups, error{code, message, hint,
/// …}`, …; see [`JobView`].
pub fn job_json(status: &JobStatus) -> Value {
    view_json(&JobView::from(status))
}

/// A failure: `code, message, hint, record{file, offset, excerpt} | null, stderr`; see [`FailureView`].
pub fn failure_json(failure: &Failure) -> Value {
    view_json(&FailureView::from(failure))
}
