//! The part of a job between its last task and its end: the result, the beginning of the commit, and the tries of it.

use super::prepared::{EarlierCommit, Prepared};
use crate::commit::Commit;
use crate::staged_outputs::StagedOutputs;
use std::sync::Arc;
use std::time::Duration;
use windrow_model::Time;
use windrow_net::Backoff;
use windrow_scheduler::Collected;

/// Pauses between tries of a commit whose file system is away.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

pub(crate) struct Sealing {
    pub prepared: Prepared,
    pub commit: Commit,
    pub collected: Collected,
    /// All of `collected` is stored, and the beginning of the commit is being recorded.
    pub is_stored: bool,
    pub earlier: Option<EarlierCommit>,
}

pub(crate) struct Committing {
    pub prepared: Prepared,
    /// The result, as the journal has it.
    pub collected: Collected,
    /// The commit began in an earlier epoch: a missing output may be on a file system that is not mounted.
    pub sealed_before: bool,
    pub step: CommitStep,
}

pub(crate) enum CommitStep {
    /// It is not known yet whether the chunks of the outputs are there. `held`: see [`EarlierCommit`].
    Chunks { commit: Commit, held: Option<String> },
    /// The outputs that are folders become visible.
    Folders(FolderCommit),
    /// They are visible, and the journal records the outputs that are datasets.
    Datasets,
}

/// A commit of folders: at most one thread works on it.
pub(crate) struct FolderCommit {
    pub commit: Arc<Commit>,
    pub state: TryState,
    backoff: Backoff,
}

/// The present try of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TryState {
    /// A thread works on it. `waits`: the job's status gives the reason for which an earlier try had to wait.
    Runs { waits: bool },
    /// A thread has not returned for as long as storage may take.
    Hangs,
    /// The file system was away: the next try begins then.
    Paused { until: Time },
    /// It begins only by order of an operator.
    Held,
}

impl TryState {
    /// Whether a thread works on the commit or hangs.
    pub(crate) fn has_thread(self) -> bool {
        matches!(self, TryState::Runs { .. } | TryState::Hangs)
    }

    /// Whether the status says what the commit waits for, and an operator may decide.
    pub(crate) fn waits(self) -> bool {
        self != TryState::Runs { waits: false }
    }

    /// Whether the journal counts this try as one that may end the coordinator.
    pub(crate) fn is_counted(self) -> bool {
        matches!(self, TryState::Runs { .. })
    }
}

/// What a thread needs for a try.
pub(crate) struct CommitWork {
    pub staging: StagedOutputs,
    pub commit: Arc<Commit>,
    pub sealed_before: bool,
}

impl FolderCommit {
    pub(super) fn new(commit: Commit, state: TryState) -> FolderCommit {
        FolderCommit { commit: Arc::new(commit), state, backoff: Backoff::new(PAUSE_MIN, PAUSE_MAX) }
    }

    /// Pauses until the next try.
    pub(super) fn pause(&mut self, now: Time) {
        self.state = TryState::Paused { until: now.plus_ms(self.backoff.next_delay().as_millis() as u64) };
    }
}

impl Committing {
    /// See [`super::JobPhase::counts_try`].
    pub(super) fn counts_try(&self) -> bool {
        match &self.step {
            CommitStep::Chunks { held, .. } => held.is_none(),
            CommitStep::Folders(folders) => folders.state.is_counted(),
            CommitStep::Datasets => true,
        }
    }

    /// The folders' commit, if it is the present step.
    pub(super) fn folders(&self) -> Option<&FolderCommit> {
        match &self.step {
            CommitStep::Folders(folders) => Some(folders),
            _ => None,
        }
    }
}
