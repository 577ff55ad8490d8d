//! The end of a job: its outputs become visible, each as a whole. Blocks on the file system.

use crate::split::StagedSink;
use windrow_failpoint::crashpoint;
use windrow_format::durable::Durability;
use windrow_model::{BadRecord, Code, Escape, Failure, SinkSpec, StagedPart};
use windrow_store::{CommitState, StoreError, commit_output, commit_state};

/// What becomes visible: the parts, and which records are missing from them.
#[derive(Debug)]
pub(crate) struct Commit {
    pub parts: Vec<StagedPart>,
    pub bad_records: Vec<BadRecord>,
}

/// Why a commit did not come to its end.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// What there is of the outputs cannot be seen now: they may be whole.
    Away(Failure),
    /// The outputs are not there, and will not be.
    Failed(Failure),
}

impl From<StoreError> for CommitError {
    fn from(e: StoreError) -> CommitError {
        match e.away {
            true => CommitError::Away(e.into()),
            false => CommitError::Failed(e.into()),
        }
    }
}

/// The end of a try of a commit, or that it does not end.
pub(crate) enum CommitTried {
    /// Its thread has ended. With the staging folders, if they were not known before.
    Ended { staging: Option<Vec<StagedSink>>, result: Result<(), CommitError> },
    /// Its thread works on, and has not got far for as long as storage may take.
    Slow(Failure),
    /// It has not begun.
    NotBegun(Failure),
}

/// Commits every output of a job that is a folder. May be repeated: an output that this job has committed stays as it is.
/// `sealed_before`: its commit began in an earlier epoch, in which an output may have become visible that is on no mount now.
pub(crate) fn commit_job(
    name: &str,
    sinks: &[SinkSpec],
    staging: &[StagedSink],
    commit: &Commit,
    sealed_before: bool,
) -> Result<(), CommitError> {
    crashpoint!("commit.begun");
    for staged in staging {
        look(staged, sealed_before)?;
    }
    for staged in staging {
        let sink = &sinks[staged.sink as usize];
        let sink = (staged.sink, sink);
        commit_output(&staged.staging, name, sink, &commit.parts, &commit.bad_records, Durability::Sync)?;
        crashpoint!("commit.one-output");
    }
    Ok(())
}

/// Whether the commit of an output can continue. A staging folder that has disappeared in this epoch was deleted, and the commit fails;
/// other missing paths may be on a file system that is not mounted.
fn look(staged: &StagedSink, sealed_before: bool) -> Result<(), CommitError> {
    let state = commit_state(&staged.staging)?;
    let is_lost = match state {
        CommitState::Staged | CommitState::Visible => false,
        CommitState::Gone => sealed_before,
        CommitState::FolderGone => true,
    };
    if !is_lost {
        return Ok(());
    }
    let what = format!(
        "{}: neither the output nor its staging folder is there: is it mounted?",
        staged.staging.output.escaped()
    );
    Err(CommitError::Away(Failure::new(Code::OutputFailed, what)))
}
