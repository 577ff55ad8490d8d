//! The changes of a job's phase, one function for each. A change that does not fit the present phase has no effect and returns
//! `None`: its message came late.

mod chunks;
mod commit;
mod end;
mod plan;
mod receipts;

pub(crate) use plan::{Restoring, SplitStart};

use super::phase::{JobPhase, Wait};
use super::{Job, Jobs};
use windrow_model::JobId;

/// The next phase, and the answer to the caller if that is another one.
type Next<T> = (JobPhase, Option<T>);

fn to<T>(phase: JobPhase, answer: T) -> Next<T> {
    (phase, Some(answer))
}

fn stay<T>(phase: JobPhase) -> Next<T> {
    (phase, None)
}

impl Jobs {
    fn insert(&mut self, id: JobId, job: Job) {
        self.index.add(id, &job.phase);
        self.active += 1;
        self.spec_bytes += job.spec_bytes;
        self.table.insert(id, job);
    }

    /// The only place where a phase changes.
    fn change<T>(&mut self, id: JobId, next: impl FnOnce(JobPhase, &mut u32) -> Next<T>) -> Option<T> {
        let job = self.table.get_mut(&id)?;
        let was_active = job.phase.is_active();
        self.index.remove(id, &job.phase);
        let before = std::mem::replace(&mut job.phase, JobPhase::Waiting(Wait::Plan { is_new: false }));
        let (phase, out) = next(before, &mut job.tries);
        job.phase = phase;
        self.index.add(id, &job.phase);
        if was_active && !job.phase.is_active() {
            self.active -= 1;
            self.spec_bytes -= job.spec_bytes;
        }
        out
    }
}
