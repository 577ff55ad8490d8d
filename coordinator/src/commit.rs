//! Makes the outputs of a job visible, each as a whole. Blocks on their storage.

use crate::staged_outputs::{StagedOutputs, StagedSink};
use windrow_failpoint::crashpoint;
use windrow_format::durable::Durability;
use windrow_model::{BadRecord, Code, Escape, Failure, SinkSpec, StagedPart};
use windrow_store::{CommitState, Outputs, StoreError, complete_output};

/// What becomes visible: the parts, and which records are missing from them.
#[derive(Debug)]
pub(crate) struct Commit {
    pub parts: Vec<StagedPart>,
    pub bad_records: Vec<BadRecord>,
}

/// Why a commit was not completed.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// The state of the outputs cannot be read now: they may be complete.
    Away(Failure),
    /// The outputs are missing, and no later try can make them.
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

/// The state of a try of a commit.
pub(crate) enum CommitTried {
    /// Its thread has ended. With the stagings, if they were not known before.
    Ended { staging: Option<Vec<StagedSink>>, result: Result<(), CommitError> },
    /// Its thread has not returned within the time that storage may take, and works on.
    Slow(Failure),
    /// Its thread has not begun.
    NotBegun(Failure),
}

/// Commits every output of a job that is staged. May be repeated: an output that this job has committed stays as it is.
/// `sealed_before`: its commit began in an earlier epoch, in which an output may have become visible that is on no mount now.
pub(crate) fn commit_job(
    name: &str,
    sinks: &[SinkSpec],
    staging: &StagedOutputs,
    commit: &Commit,
    sealed_before: bool,
    outputs: &Outputs,
) -> Result<(), CommitError> {
    crashpoint!("commit.begun");
    for staged in &staging.sinks {
        look(staged, sealed_before, outputs)?;
    }
    for staged in &staging.sinks {
        let sink = &sinks[staged.sink as usize];
        let sink = (staged.sink, sink);
        let parts = (&commit.parts[..], &staging.receipts);
        complete_output(outputs, &staged.staging, name, sink, parts, &commit.bad_records, Durability::Sync)?;
        crashpoint!("commit.one-output");
    }
    Ok(())
}

/// Whether the commit of an output can continue. A staging that has disappeared in this epoch was deleted, and the commit fails; other
/// missing names may be on a file system that is not mounted.
fn look(staged: &StagedSink, sealed_before: bool, outputs: &Outputs) -> Result<(), CommitError> {
    let state = outputs.of(&staged.staging)?.state(&staged.staging)?;
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
