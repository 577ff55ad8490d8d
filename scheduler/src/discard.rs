//! Frees the tasks and chunks of ended jobs, some at each step: a million at once would hold up every other job.

use crate::stage::Stage;
use crate::state::State;
use crate::tasks::Tasks;
use windrow_model::Chunk;

/// Most tasks and chunks that one step frees: about a millisecond's work.
const PER_STEP_MAX: usize = 4096;

/// What is left of a stage of an ended job.
pub(crate) struct Discarded {
    tasks: Tasks,
    chunks: Vec<Chunk>,
}

impl State {
    /// Keeps the stages of an ended job until they are freed.
    pub(crate) fn discard(&mut self, stages: Vec<Stage>) {
        self.discarded.extend(stages.into_iter().map(|stage| Discarded { tasks: stage.tasks, chunks: stage.chunks }));
    }

    /// Frees some of what was discarded.
    pub(crate) fn free_some(&mut self) {
        let mut left = PER_STEP_MAX;
        while let Some(Discarded { tasks, chunks }) = self.discarded.last_mut() {
            left = left.saturating_sub(tasks.free(left));
            let kept = chunks.len().saturating_sub(left);
            left -= chunks.len() - kept;
            chunks.truncate(kept);
            if left == 0 {
                return;
            }
            self.discarded.pop();
        }
    }
}
