//! Results of commands that make something, as programs see them.

use super::FailureView;
use crate::ids::JobId;
use serde::Serialize;
use std::borrow::Cow;

/// The failure of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorView<'a> {
    /// What it failed with.
    pub error: FailureView<'a>,
}

/// A job that is submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubmittedView {
    /// Id of the job.
    pub id: String,
}

impl From<JobId> for SubmittedView {
    fn from(id: JobId) -> Self {
        SubmittedView { id: id.to_string() }
    }
}

/// A plan that is shown instead of run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedView<'a> {
    /// The plan's text.
    pub explain: &'a str,
}

/// A dataset that is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PutView<'a> {
    /// Name of the dataset.
    pub name: &'a str,
    /// Version under this name.
    pub version: u64,
    /// Number of chunks.
    pub chunks: u64,
    /// Bytes of all chunks.
    pub bytes: u64,
    /// Copies of each chunk.
    pub replicas: u32,
}

/// A backup that is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackupView<'a> {
    /// The folder, in the form of [`path_text`](crate::path_text()).
    pub folder: Cow<'a, str>,
    /// Bytes of the journal in it.
    pub journal_bytes: u64,
}

/// A data folder of a coordinator that is made from a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestoredView {
    /// Number of datasets.
    pub datasets: u64,
    /// Number of jobs.
    pub jobs: u64,
    /// Number of jobs that had not ended.
    pub running: u64,
}

/// A crate with a job that is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewCrateView<'a> {
    /// Name of the crate.
    pub name: &'a str,
    /// Commands to enter next.
    pub next: &'a [String],
}
