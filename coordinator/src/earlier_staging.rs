//! Staging folders of earlier epochs: found again, or removed. Their file systems may not answer: each access has a deadline and a
//! thread of its own, so that a coordinator starts all the same.

use crate::claims::Claims;
use crate::split::{StagedSink, abandon};
use std::path::{Path, PathBuf};
use windrow_model::{Code, Failure, JobId, JobSpec, SinkSpec};
use windrow_store::{Staging, StorageCalls, StoreError};

/// Claims the outputs of a job again, and finds its staging folders. If the commit has begun (`sealed`), they may be outputs
/// already.
pub(crate) async fn find_staging(
    spec: &JobSpec,
    claims: &Claims,
    sealed: bool,
    storage: &StorageCalls,
) -> Result<Vec<StagedSink>, Failure> {
    let (mut found, job) = (Vec::new(), spec.id);
    for (sink, output) in (0u32..).zip(&spec.plan.sinks) {
        let Some(path) = output.folder().map(Path::to_path_buf) else { continue };
        let look = move |path: &Path| {
            let staging = Staging::at(path, job)?;
            let nonce = match staging.nonce() {
                Err(_) if sealed => String::new(),
                nonce => nonce?,
            };
            Ok::<_, StoreError>((staging, nonce))
        };
        let own = path.clone();
        let (staging, nonce) = storage.run(&path, move |_| look(&own)).await?;
        // Not on the thread: a thread that returns late must not claim for a job that has ended.
        claims.claim(&staging.output, job)?;
        found.push(StagedSink { sink, staging, nonce });
    }
    Ok(found)
}

/// The staging folders of a job whose commit has begun; some may be outputs already. Blocks.
pub(crate) fn stage_names(job: JobId, sinks: &[SinkSpec]) -> Result<Vec<StagedSink>, StoreError> {
    let folders = (0u32..).zip(sinks).filter_map(|(sink, output)| Some((sink, output.folder()?)));
    let name = |(sink, folder): (u32, &Path)| {
        let staging = Staging::at(folder, job)?;
        Ok(StagedSink { sink, nonce: staging.nonce().unwrap_or_default(), staging })
    };
    folders.map(name).collect()
}

/// Removes the staging folders of an ended job for these outputs. False if a file system does not answer: then a folder is removed
/// when that answers again, or stays. Other errors are logged.
pub(crate) async fn remove_staging(job: JobId, outputs: Vec<PathBuf>, storage: &StorageCalls) -> bool {
    let mut answered = true;
    for output in outputs {
        let own = output.clone();
        let remove = move |_: &_| {
            abandon([&Staging::at(&own, job)?]);
            Ok::<_, StoreError>(())
        };
        if let Err(e) = storage.run(&output, remove).await {
            tracing::warn!(%job, "what it has staged stays: {e}");
            answered &= e.code != Code::StorageTimeout;
        }
    }
    answered
}
