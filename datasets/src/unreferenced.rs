//! Unreferenced chunks as operators see them: listed, and adopted as a dataset.

use crate::table::Datasets;
use std::collections::BTreeSet;
use windrow_model::{Code, Dataset, DatasetChunk, Digest, Failure, Framing, Time, WorkerId};

/// An unreferenced chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    pub digest: Digest,
    /// Length in bytes, if reported.
    pub length: Option<u64>,
    pub holders: Vec<WorkerId>,
    pub trashed: Vec<WorkerId>,
    /// How long it has been one, and how much longer it is kept.
    pub for_ms: u64,
    pub kept_ms: u64,
}

impl Datasets {
    /// Every unreferenced chunk whose deletion was not ordered.
    pub fn orphans(&self, now: Time) -> Vec<Orphan> {
        let in_trash = self.trash.all().filter(|digest| !self.references.contains_key(digest));
        let all: BTreeSet<Digest> = self.orphans.all().chain(in_trash).collect();
        let orphan = |digest| {
            let (for_ms, kept_ms) = self.orphans.ages(digest, now);
            Orphan {
                digest,
                length: self.orphans.length(digest),
                holders: self.holders.of(digest).collect(),
                trashed: self.trash.of(digest).collect(),
                for_ms,
                kept_ms,
            }
        };
        all.into_iter().map(orphan).filter(|o| !o.holders.is_empty() || !o.trashed.is_empty()).collect()
    }

    /// Makes orphans the chunks of a dataset that is to be recorded next, under a free name.
    ///
    /// # Errors
    /// `DATASET_EXISTS`; `CHUNK_UNAVAILABLE` for a chunk that is not an orphan here.
    pub fn adopt(&mut self, name: &str, framing: Framing, digests: &[Digest]) -> Result<Dataset, Failure> {
        windrow_model::dataset::check_dataset_name(name)?;
        self.check_free(name, false)?;
        let chunk = |digest: &Digest| {
            let length = self
                .orphans
                .length(*digest)
                .filter(|_| self.is_there(*digest) && !self.references.contains_key(digest));
            let missing = || {
                let message =
                    format!("chunk {digest} is no orphan; `windrow data ls --orphans` lists those that are there");
                Failure::new(Code::ChunkUnavailable, message)
            };
            Ok(DatasetChunk { digest: *digest, length: length.ok_or_else(missing)? })
        };
        let chunks = digests.iter().map(chunk).collect::<Result<Vec<_>, Failure>>()?;
        if chunks.is_empty() {
            return Err(Failure::new(Code::BadRequest, "no chunk is named"));
        }
        self.recording.insert(name.to_string());
        let version = self.named.get(name).map_or(0, |d| d.version) + 1;
        Ok(Dataset { name: name.to_string(), version, framing, replicas: self.usual_replicas(), chunks })
    }
}
