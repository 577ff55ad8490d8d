//! Orphans as programs see them.

use crate::orphans::{Orphan, Orphans, UnjoinedWorker};
use serde::Serialize;

/// Orphans and workers that wait to join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OrphansView<'a> {
    /// Orphans, up to a limit.
    pub chunks: Vec<OrphanView>,
    /// Number of further orphans.
    pub left_off: u64,
    /// Workers that wait to join.
    pub unjoined: Vec<UnjoinedWorkerView<'a>>,
}

/// A chunk that no dataset refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OrphanView {
    /// Digest of the content.
    pub digest: String,
    /// Length in bytes; 0 if unknown.
    pub bytes: u64,
    /// Ids of the workers that hold it.
    pub workers: Vec<String>,
    /// Ids of the workers that have it in the trash.
    pub trash: Vec<String>,
    /// Milliseconds since it became an orphan.
    pub for_ms: u64,
    /// Milliseconds until it is deleted.
    pub kept_ms: u64,
}

/// A worker whose data folder has joined no cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnjoinedWorkerView<'a> {
    /// Id of the worker.
    pub worker: String,
    /// Name of its host.
    pub host: &'a str,
    /// Number of its chunks.
    pub chunks: u64,
}

impl<'a> From<&'a Orphans> for OrphansView<'a> {
    fn from(orphans: &'a Orphans) -> Self {
        let Orphans { chunks, left_off, unjoined } = orphans;
        OrphansView {
            chunks: chunks.iter().map(OrphanView::from).collect(),
            left_off: *left_off,
            unjoined: unjoined.iter().map(UnjoinedWorkerView::from).collect(),
        }
    }
}

impl From<&Orphan> for OrphanView {
    fn from(orphan: &Orphan) -> Self {
        let Orphan { digest, length, holders, trashed, for_ms, kept_ms } = orphan;
        OrphanView {
            digest: digest.to_string(),
            bytes: *length,
            workers: holders.iter().map(ToString::to_string).collect(),
            trash: trashed.iter().map(ToString::to_string).collect(),
            for_ms: *for_ms,
            kept_ms: *kept_ms,
        }
    }
}

impl<'a> From<&'a UnjoinedWorker> for UnjoinedWorkerView<'a> {
    fn from(unjoined: &'a UnjoinedWorker) -> Self {
        let UnjoinedWorker { worker, host, chunks } = unjoined;
        UnjoinedWorkerView { worker: worker.to_string(), host, chunks: *chunks }
    }
}
