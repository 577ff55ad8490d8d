//! A job's setup, which came with the job's first task: what this node needs to run its tasks.

use std::path::PathBuf;
use std::time::Duration;
use windrow_model::{Digest, JobId};
use windrow_proto::convert::path_from_bytes;
use windrow_proto::{ConvertError, v1};

/// The staging of an output, where granted parts of a sink go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StagingFolder {
    pub sink: u32,
    /// Its name: a path, or a URL.
    pub path: PathBuf,
    pub suffix: String,
    /// The random text in it; empty if it is not checked.
    pub nonce: String,
}

/// How long an attempt may run, and how long it may go without progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub task: Option<Duration>,
    pub progress: Option<Duration>,
}

fn limit(ms: u64) -> Option<Duration> {
    (ms > 0).then(|| Duration::from_millis(ms))
}

/// A job's setup, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobSetup {
    pub job: JobId,
    pub program: String,
    pub params: String,
    pub binary: Digest,
    pub fingerprint: Digest,
    pub sides: Vec<Digest>,
    pub staging: Vec<StagingFolder>,
    /// Sinks whose parts become chunks of a dataset.
    pub dataset_sinks: Vec<u32>,
    pub limits: Limits,
}

impl TryFrom<v1::JobSetup> for JobSetup {
    type Error = ConvertError;
    fn try_from(w: v1::JobSetup) -> Result<Self, ConvertError> {
        let digest = |d: Option<v1::Digest>, field| d.ok_or(ConvertError::Missing(field))?.try_into();
        Ok(JobSetup {
            job: w.job.ok_or(ConvertError::Missing("setup.job"))?.try_into()?,
            program: w.program,
            params: w.params,
            binary: digest(w.binary, "setup.binary")?,
            fingerprint: digest(w.fingerprint, "setup.fingerprint")?,
            sides: w.sides.into_iter().map(|s| digest(s.digest, "side.digest")).collect::<Result<_, _>>()?,
            staging: w.staging.into_iter().map(staging_folder).collect::<Result<_, _>>()?,
            dataset_sinks: w.dataset_sinks,
            limits: Limits { task: limit(w.task_timeout_ms), progress: limit(w.progress_timeout_ms) },
        })
    }
}

fn staging_folder(w: v1::StagingFolder) -> Result<StagingFolder, ConvertError> {
    let path = path_from_bytes(w.path, "staging.path")?;
    if w.suffix.contains('/') {
        return Err(ConvertError::Invalid { field: "staging.suffix", what: "holds a slash".into() });
    }
    Ok(StagingFolder { sink: w.sink, path, suffix: w.suffix, nonce: w.nonce })
}
