//! Stagings of earlier epochs: found again, or removed. Their storage may not answer: each access has a deadline and a thread of its
//! own, so that a coordinator starts all the same.

use crate::claims::Claims;
use crate::staged_outputs::{StagedOutputs, StagedSink};
use std::path::PathBuf;
use windrow_model::{Code, Failure, JobId, JobSpec, Location, SinkSpec};
use windrow_store::{Outputs, Receipts, StorageCalls, StoreError};

/// Claims the outputs of a job again, and finds its stagings. If the commit has begun (`sealed`), they may be outputs already.
pub(crate) async fn find_staging(
    spec: &JobSpec,
    claims: &Claims,
    sealed: bool,
    storage: &StorageCalls,
) -> Result<Vec<StagedSink>, Failure> {
    let (mut found, job) = (Vec::new(), spec.id);
    for (index, sink) in staged(&spec.plan.sinks) {
        let name = PathBuf::from(&sink.path);
        let own = name.clone();
        let staged = storage.run_output(&name, move |kind, _| {
            let staging = kind.staging(Location::of_name(&own), job)?;
            let nonce = match kind.nonce(&staging) {
                Err(_) if sealed => String::new(),
                nonce => nonce?,
            };
            Ok::<_, StoreError>(StagedSink { sink: index, staging, nonce })
        });
        let staged = staged.await?;
        // Not on the thread: a thread that returns late must not claim for a job that has ended.
        claims.claim(&staged.staging.output, job)?;
        found.push(staged);
    }
    Ok(found)
}

/// The stagings of a job whose commit has begun; some may be outputs already. Blocks.
pub(crate) fn stage_names(job: JobId, sinks: &[SinkSpec], outputs: &Outputs) -> Result<Vec<StagedSink>, StoreError> {
    let name = |(index, sink): (u32, &SinkSpec)| {
        let kind = outputs.at(sink.location())?;
        let staging = kind.staging(sink.location(), job)?;
        Ok(StagedSink { sink: index, nonce: kind.nonce(&staging).unwrap_or_default(), staging })
    };
    staged(sinks).map(name).collect()
}

/// The outputs that are not datasets, by index.
pub(crate) fn staged(sinks: &[SinkSpec]) -> impl Iterator<Item = (u32, &SinkSpec)> {
    (0u32..).zip(sinks).filter(|(_, sink)| sink.staged_at().is_some())
}

/// Removes what an ended job has staged for these outputs. False if a storage does not answer: then it is removed when that answers
/// again, or stays. Other errors are logged.
pub(crate) async fn remove_staging(
    job: JobId,
    sinks: Vec<(u32, PathBuf)>,
    receipts: Receipts,
    storage: &StorageCalls,
) -> bool {
    let mut answered = true;
    for (sink, name) in sinks {
        let (own, outputs, receipts) = (name.clone(), storage.outputs().clone(), receipts.clone());
        let removed = storage.run_output(&name, move |kind, _| {
            let staging = kind.staging(Location::of_name(&own), job)?;
            let sinks = vec![StagedSink { sink, staging, nonce: String::new() }];
            StagedOutputs { sinks, receipts }.abandon(&outputs);
            Ok::<_, StoreError>(())
        });
        if let Err(e) = removed.await {
            tracing::warn!(%job, "what it has staged stays: {e}");
            answered &= e.code != Code::StorageTimeout;
        }
    }
    answered
}
