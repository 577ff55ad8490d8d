//! Names and tasks for tests.

use windrow_model::{AttemptId, Epoch, Incarnation, JobId, StageId, Task, TaskId, TaskInput, TaskOutput};

/// A job with this number.
pub fn job(n: u8) -> JobId {
    JobId::from_bytes([n; 16])
}

/// The first attempt of task `index` of stage 0.
pub fn attempt(job_number: u8, index: u32) -> AttemptId {
    AttemptId {
        task: TaskId { job: job(job_number), stage: StageId(0), index },
        number: 0,
        epoch: Epoch(1),
        incarnation: Incarnation(1),
    }
}

/// A task without inputs.
pub fn task(attempt: AttemptId, outputs: Vec<TaskOutput>) -> Box<Task> {
    Box::new(Task { attempt, inputs: vec![TaskInput::Inline(vec![])], outputs, job_input_bytes: 0 })
}
