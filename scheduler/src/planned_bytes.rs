//! The memory of jobs whose inputs are cut, as an estimate: a scheduler that could not hold the tasks of its jobs could
//! not be started again either.

use crate::event::StageChunks;
use crate::state::State;
use std::mem::size_of;
use windrow_model::{ByteSize, Chunk, Code, Failure, FileRange, JobId};

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

impl State {
    /// Whether the tasks that these inputs make fit beside those of all other jobs. The largest possible job fits alone.
    ///
    /// # Errors
    /// `PLAN_INVALID` if the job has too many tasks for any scheduler, `BAD_REQUEST` with both sizes.
    pub(crate) fn check_planned(&self, id: JobId, input_bytes: u64, found: &[StageChunks]) -> Result<(), Failure> {
        let Some(job) = self.jobs.get(&id) else { return Ok(()) };
        let tasks = job.planned_tasks(input_bytes, found);
        check_tasks(tasks)?;
        let own = planned_bytes(tasks, found);
        let others = self.jobs.iter().filter(|(other, job)| **other != id && job.planned_bytes > 0);
        let (count, before) =
            others.fold((0, 0u64), |(n, sum), (_, job)| (n + 1, sum.saturating_add(job.planned_bytes)));
        let max = self.config.planned_bytes_max;
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
}
