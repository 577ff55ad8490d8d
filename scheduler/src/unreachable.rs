//! Workers that readers cannot reach.
//!
//! A reader that cannot fetch a segment reports a failed fetch from its holder. One may be chance. After failed fetches
//! of two different readers from a worker, all of its outputs that are still needed are made again elsewhere: each
//! output by itself would cost two more failed fetches with all their time-outs. The worker that is at fault
//! (`fetch_failures.rs`) gets no tasks for a while.

use crate::fetch_failures::Verdict;
use crate::job::Job;
use crate::shuffle::is_held;
use crate::state::State;
use crate::workers::Workers;
use windrow_model::{JobId, TaskId, WorkerId};

impl Job {
    /// Runs tasks again elsewhere whose outputs lie on this worker and are needed.
    fn remake(&mut self, holder: WorkerId, workers: &Workers) {
        // Readers are examined before what they read: a reopened reader makes its producers needed.
        for s in (0..self.stages.len()).rev() {
            self.remake_stage(s, holder, workers);
        }
    }

    /// The same for the tasks of one stage. Linear in their number.
    pub(crate) fn remake_stage(&mut self, s: usize, holder: WorkerId, workers: &Workers) {
        if self.stages[s].links.edge_readers.is_empty() || !self.is_needed(s) {
            return;
        }
        for t in 0..self.stages[s].tasks.len() {
            let task = &self.stages[s].tasks[t];
            if !task.is_done() || !is_held(task, workers) {
                continue;
            }
            let task = &mut self.stages[s].tasks[t];
            let Some(held) = task.held.as_mut().filter(|held| held.worker == holder) else { continue };
            held.doubted = true;
            task.avoid(holder);
            self.reopen(s, t, workers);
        }
    }
}

impl State {
    /// Handles a reader on `reader_worker` that could not fetch from the live worker `holder`.
    pub(crate) fn cannot_reach(&mut self, id: JobId, holder: WorkerId, reader: TaskId, reader_worker: WorkerId) {
        let State { jobs, workers, .. } = self;
        let Some(job) = jobs.get_mut(&id) else { return };
        let verdict = job.fetch_failures.add(holder, reader, reader_worker, workers.live_count());
        if matches!(verdict, Verdict::Holder | Verdict::Link) {
            job.fetch_failures.forget_holder(holder);
            job.remake(holder, workers);
        }
        match verdict {
            Verdict::Open | Verdict::Link => {}
            Verdict::Holder => self.exclude(holder, "other workers cannot fetch from it".to_string()),
            Verdict::Reader => {
                job.fetch_failures.forget_reader_worker(reader_worker);
                self.exclude(reader_worker, "it cannot fetch from other workers".to_string());
            }
        }
    }
}
