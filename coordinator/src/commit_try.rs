//! A commit that is under way, and how a try of it ended. Data only: `committing.rs` acts on it.

use crate::commit::{Commit, CommitError};
use crate::split::StagedSink;
use std::sync::Arc;
use windrow_model::{Failure, Time};
use windrow_net::Backoff;

/// A commit whose beginning is on record, and whose chunks are there.
pub(crate) struct Committing {
    pub commit: Arc<Commit>,
    /// A thread works on it, or hangs.
    pub runs: bool,
    /// The status says what it waits for, and an operator may decide.
    pub waits: bool,
    /// The journal counts the present try as one that may end the coordinator.
    pub counted: bool,
    pub backoff: Backoff,
    /// When it is tried again.
    pub next: Option<Time>,
}

/// What became of a try.
pub(crate) enum CommitTried {
    /// Its thread has ended. With the staging folders, if they were not known before.
    Ended { staging: Option<Vec<StagedSink>>, result: Result<(), CommitError> },
    /// Its thread works on, and has not got far for as long as storage may take.
    Slow(Failure),
    /// It has not begun.
    NotBegun(Failure),
}
