//! The memory of jobs whose inputs are cut, as an estimate: a scheduler that could not hold the tasks of its jobs could
//! not be started again either.

use crate::event::StageChunks;
use std::mem::size_of;
use windrow_model::{ByteSize, Chunk, Code, Failure, FileRange};

/// Upper bound on the tasks of all stages of one job.
const TASKS_MAX: u64 = 2_000_000;

/// Bytes of a task beside its input when it has run, with its report and its place in the journal.
const TASK_BYTES: u64 = 1_024;

/// The estimate for a job of `tasks` tasks with these inputs.
pub(crate) fn planned_bytes(tasks: u64, found: &[StageChunks]) -> u64 {
    let range = |range: &FileRange| (size_of::<FileRange>() + range.path.as_os_str().len()) as u64;
    let chunk = |chunk: &Chunk| chunk.ranges.iter().map(range).sum::<u64>();
    let inputs: u64 = found.iter().flat_map(|stage| &stage.chunks).map(chunk).sum();
    tasks.saturating_mul(TASK_BYTES).saturating_add(inputs)
}

/// Checks the number of tasks of one job: a few large numbers in a plan stand for more tasks than there is memory.
///
/// # Errors
/// `PLAN_INVALID`.
pub(crate) fn check_tasks(tasks: u64) -> Result<(), Failure> {
    if tasks <= TASKS_MAX {
        return Ok(());
    }
    let what = format!("the job has {tasks} tasks, more than {TASKS_MAX}: use fewer partitions, or larger chunks");
    Err(Failure::new(Code::PlanInvalid, what))
}

/// Whether the tasks of a job with this estimate fit beside those of `others`. A job that is alone always fits.
///
/// # Errors
/// `BAD_REQUEST` with both sizes.
pub(crate) fn check(own: u64, others: impl Iterator<Item = u64>, max: u64) -> Result<(), Failure> {
    let (count, before) = others.fold((0, 0u64), |(n, sum), bytes| (n + 1, sum.saturating_add(bytes)));
    if count == 0 || before.saturating_add(own) <= max {
        return Ok(());
    }
    let what = format!(
        "the tasks of {count} other jobs that have not ended take {} of memory, and this job's {} would be more than {} \
         together: wait until some have ended, or use fewer partitions or larger chunks",
        ByteSize(before),
        ByteSize(own),
        ByteSize(max)
    );
    Err(Failure::new(Code::BadRequest, what))
}
