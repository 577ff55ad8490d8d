//! A job whose collected result is being stored, and what follows.

use crate::commit::Commit;
use windrow_model::{JobId, JobStatus, WorkerId};
use windrow_scheduler::Collected;

/// What follows when the result of a job is stored.
pub(crate) enum Then {
    /// Its commit begins.
    Seal(Commit),
    /// It is over: it has no outputs, and so no commit.
    End { status: Box<JobStatus>, workers: Vec<WorkerId> },
}

/// A job whose result is being stored.
pub(crate) struct Storing {
    pub job: JobId,
    pub collected: Collected,
    pub then: Then,
}
