//! The end of a job: its outputs become visible, each as a whole. Blocks on the file system.

use crate::split::StagedSink;
use windrow_failpoint::crashpoint;
use windrow_format::durable::Durability;
use windrow_format::manifest;
use windrow_model::{BadRecord, Code, Failure, JobId, SinkSpec};
use windrow_scheduler::StagedPart;
use windrow_store::publish;

/// What becomes visible: the parts, and which records are missing from them.
#[derive(Debug)]
pub(crate) struct Commit {
    pub parts: Vec<StagedPart>,
    pub bad_records: Vec<BadRecord>,
}

/// Commits every output of a job that is a folder. May be repeated: an output that this job has committed stays as it is.
pub(crate) fn commit_job(
    job: JobId,
    name: &str,
    sinks: &[SinkSpec],
    staging: &[StagedSink],
    commit: &Commit,
) -> Result<(), Failure> {
    crashpoint!("commit.begun");
    for staged in staging {
        let sink = &sinks[staged.sink as usize];
        let mut own: Vec<&StagedPart> = commit.parts.iter().filter(|p| p.part.sink == staged.sink).collect();
        own.sort_by_key(|p| p.task);
        // Parts that are missing would be lost records: nobody may ever see such an output.
        if let Some(gap) = own.iter().enumerate().find(|(i, p)| p.task as usize != *i) {
            return Err(Failure::new(Code::Internal, format!("{}: part {} is missing", sink.path, gap.0)));
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
