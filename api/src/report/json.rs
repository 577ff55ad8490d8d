//! Jobs, failures and workers as JSON, in the shape that scripts rely on. Fields are added, never renamed.

use serde_json::{Value, json};
use windrow_model::{FailedAttempt, Failure, JobStatus, LeftOut, TaskTotals, WorkerState, WorkerStatus, path_text};

/// A job: `id, name, state, stages, tasks{total, done, running, failed}, attempts, backups, error{code, message, hint,
/// …}`, …
pub fn job_json(status: &JobStatus) -> Value {
    let stages = status.stages.iter().map(|stage| {
        json!({
            "label": stage.label,
            "tasks": totals(&stage.tasks),
            "bytes_done": stage.bytes_done,
            "bytes_total": stage.bytes_total,
            "bytes_running": stage.bytes_running,
        })
    });
    json!({
        "id": status.id.to_string(),
        "name": status.name,
        "state": status.state.as_str(),
        "stages": stages.collect::<Vec<_>>(),
        "tasks": totals(&status.tasks),
        "attempts": status.attempts,
        "backups": status.backups,
        "counters": status.counters.0,
        "error": status.error.as_ref().map(failure_json),
        "waiting": status.waiting,
        "outputs": status.outputs,
        "submitted_unix_ms": status.submitted_unix_ms,
        "elapsed_ms": status.elapsed_ms,
        "failures": status.failures.iter().map(failed_json).collect::<Vec<_>>(),
        "left_out": status.left_out.iter().map(left_out_json).collect::<Vec<_>>(),
    })
}

/// A failed attempt: `stage, task, attempt, worker, host, code, message, charged, after_ms`.
fn failed_json(failed: &FailedAttempt) -> Value {
    json!({
        "stage": failed.stage.0,
        "task": failed.task,
        "attempt": failed.attempt,
        "worker": failed.worker.to_string(),
        "host": failed.host,
        "code": failed.code.as_str(),
        "message": failed.message,
        "charged": failed.charged,
        "after_ms": failed.after_ms,
    })
}

/// A worker that the job leaves out: `worker, host, code, message`.
fn left_out_json(left_out: &LeftOut) -> Value {
    json!({
        "worker": left_out.worker.to_string(),
        "host": left_out.host,
        "code": left_out.code.as_str(),
        "message": left_out.message,
    })
}

/// A failure: `code, message, hint, record{file, offset, excerpt} | null, stderr`.
pub fn failure_json(failure: &Failure) -> Value {
    let record = failure
        .place
        .as_ref()
        .map(|place| json!({ "file": path_text(&place.file), "offset": place.offset, "excerpt": place.excerpt }));
    json!({
        "code": failure.code.as_str(),
        "message": failure.message,
        "hint": failure.code.hint(),
        "record": record,
        "stderr": failure.stderr_tail,
    })
}

/// A worker: `id, address, host, state, slots, running, memory_bytes, version, reason`.
pub fn worker_json(worker: &WorkerStatus) -> Value {
    let state = match worker.state {
        WorkerState::Live => "live",
        WorkerState::Excluded => "excluded",
        WorkerState::Draining => "draining",
        WorkerState::Lost => "lost",
    };
    json!({
        "id": worker.id.to_string(),
        "address": worker.address,
        "host": worker.host,
        "state": state,
        "slots": worker.slots,
        "running": worker.running,
        "memory_bytes": worker.memory_bytes,
        "version": worker.version,
        "reason": worker.reason,
    })
}

fn totals(tasks: &TaskTotals) -> Value {
    json!({ "total": tasks.total, "done": tasks.done, "running": tasks.running, "failed": tasks.failed })
}
