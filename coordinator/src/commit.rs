//! The end of a job: its outputs become visible, each as a whole. Blocks on the file system.

use crate::split::StagedSink;
use windrow_failpoint::crashpoint;
use windrow_format::durable::Durability;
use windrow_format::manifest;
use windrow_model::{BadRecord, Code, Escape, Failure, JobId, SinkSpec};
use windrow_scheduler::StagedPart;
use windrow_store::{CommitState, StoreError, commit_state, publish};

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

/// Commits every output of a job that is a folder. May be repeated: an output that this job has committed stays as it is.
/// `sealed_before`: its commit began in an earlier life, in which an output may have become visible that is on no mount now.
pub(crate) fn commit_job(
    job: JobId,
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
        let mut own: Vec<&StagedPart> = commit.parts.iter().filter(|p| p.part.sink == staged.sink).collect();
        own.sort_by_key(|p| p.task);
        // Parts that are missing would be lost records: nobody may ever see such an output.
        if let Some(gap) = own.iter().enumerate().find(|(i, p)| p.task as usize != *i) {
            let what = format!("{}: part {} is missing", sink.path, gap.0);
            return Err(CommitError::Failed(Failure::new(Code::Internal, what)));
        }
        let listed = own
            .iter()
            .map(|p| manifest::part(p.task, &sink.suffix, p.part.bytes, p.part.records, p.part.checksum))
            .collect();
        let manifest = manifest::build(job, name, &sink.format, listed);
        let winners: Vec<_> = own.iter().map(|p| p.attempt).collect();
        publish::commit(&staged.staging, &manifest, &winners, &commit.bad_records, sink.overwrite, Durability::Sync)?;
        crashpoint!("commit.one-output");
    }
    Ok(())
}

/// Whether the commit of an output can go on. A staging folder that has gone in this life was deleted, and the commit fails;
/// anything else that is not there may lie on a mount that is not.
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
