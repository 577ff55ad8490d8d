//! Calls about datasets that the driver answers later.

use crate::mailbox::{Answer, BeginPut, DataMessage};
use windrow_datasets::{Placed, PutId};
use windrow_model::{Dataset, Failure, Time};

/// A put that commits when its workers have reported the chunks that the client names.
pub(crate) struct CommitPut {
    pub put: PutId,
    pub dataset: Dataset,
    pub placed: Placed,
    pub answer: Answer<Result<u64, Failure>>,
    /// When it is refused.
    pub until: Time,
}

/// A call that waits.
pub(crate) struct HeldBack {
    pub message: DataMessage,
    pub since: Time,
}

/// The calls, in the order in which they came.
#[derive(Default)]
pub(crate) struct WaitingCalls {
    /// Puts that begin when nothing is being deleted.
    pub waiting_puts: Vec<BeginPut>,
    /// Puts that commit when the workers have reported the chunks.
    pub placing_puts: Vec<CommitPut>,
    /// Calls that are answered when the workers have reported their chunks.
    pub held_back: Vec<HeldBack>,
}
