//! Frees the tasks and chunks of ended jobs, some at each step: a million at once would hold up every other job.

use crate::stage::Stage;
use crate::tasks::Tasks;
use windrow_model::Chunk;

/// Most tasks and chunks that one step frees: about a millisecond's work.
const PER_STEP_MAX: usize = 4096;

/// What is left of a stage of an ended job.
struct Rest {
    tasks: Tasks,
    chunks: Vec<Chunk>,
}

/// What is left of ended jobs.
#[derive(Default)]
pub(crate) struct Discarded(Vec<Rest>);

impl Discarded {
    /// Keeps the stages of an ended job until they are freed.
    pub(crate) fn add(&mut self, stages: Vec<Stage>) {
        self.0.extend(stages.into_iter().map(|stage| Rest { tasks: stage.tasks, chunks: stage.chunks }));
    }

    /// Frees some of it.
    pub(crate) fn free_some(&mut self) {
        let mut left = PER_STEP_MAX;
        while let Some(Rest { tasks, chunks }) = self.0.last_mut() {
            left = left.saturating_sub(tasks.free(left));
            let kept = chunks.len().saturating_sub(left);
            left -= chunks.len() - kept;
            chunks.truncate(kept);
            if left == 0 {
                return;
            }
            self.0.pop();
        }
    }
}
