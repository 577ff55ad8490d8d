//! Statuses of jobs for tests.

use windrow_model::{Counters, JobId, JobState, JobStatus, TaskTotals};

/// The status of a job without a name, tasks and outputs.
pub(crate) fn job_status(id: JobId, state: JobState) -> JobStatus {
    JobStatus {
        id,
        name: String::new(),
        state,
        stages: Vec::new(),
        tasks: TaskTotals::default(),
        attempts: 0,
        backups: 0,
        counters: Counters::default(),
        error: None,
        waiting: None,
        outputs: Vec::new(),
        submitted_unix_ms: 0,
        elapsed_ms: 0,
        failures: Vec::new(),
        left_out: Vec::new(),
    }
}
