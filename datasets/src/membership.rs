//! Which workers' folders belong to this cluster, and whether this journal may order deletions in them. Pure.
//!
//! A folder with another cluster's id is refused, and so is one that has seen a newer journal than this one: then
//! nothing is deleted in this epoch, on any worker. A folder without an id is empty, or holds chunks of a release
//! without ids: it joins if the journal knows one of them, or when an operator has adopted it. Refused folders are
//! remembered for `data ls --orphans`.

use crate::lineage::{Behind, Lineage};
use crate::planted::{self, Planted};
use std::collections::{BTreeMap, BTreeSet};
use windrow_model::{ClusterId, Code, Digest, Epoch, Failure, Folder, NodeInfo, WorkerId};

/// No journal reaches a later epoch: neither with an epoch in every microsecond since 1970, nor with a restore in every
/// second. A worker that reports one is damaged or lies, and this journal does not follow it.
const EPOCH_MAX: Epoch = Epoch(1 << 62);

/// Bound on the refused workers that are remembered.
const REFUSED_MAX: usize = 1_000;

/// A worker that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub host: String,
    pub code: Code,
    /// Chunks in its folder, if it has joined no cluster.
    pub unjoined: Option<u64>,
}

/// The outcome of a registration.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Admitted,
    /// `is_news`: this worker was not refused in the same way before. `above`: the next epoch must be above this one.
    Refused {
        failure: Failure,
        is_news: bool,
        above: Option<Epoch>,
    },
}

#[derive(Debug)]
pub struct Membership {
    pub cluster: ClusterId,
    lineage: Lineage,
    refused: BTreeMap<WorkerId, Refused>,
    adopted: BTreeSet<WorkerId>,
}

impl Membership {
    pub fn new(cluster: ClusterId, lineage: Lineage) -> Self {
        Membership { cluster, lineage, refused: BTreeMap::new(), adopted: BTreeSet::new() }
    }

    /// Judges a worker that registers. `revision`: recorded changes of datasets; `is_known`: whether the journal has a
    /// chunk of an unjoined folder.
    pub fn judge(
        &mut self,
        node: &NodeInfo,
        folder: Folder,
        chunks: &[Digest],
        revision: u64,
        is_known: impl Fn(&Digest) -> bool,
    ) -> Verdict {
        let worker = node.worker;
        let refused = match folder.cluster {
            None if folder.chunks == 0 || self.adopted.contains(&worker) || chunks.iter().any(is_known) => None,
            None => Some((self.unknown(worker, folder.chunks), None)),
            Some(theirs) if theirs != self.cluster && !planted::has(Planted::OtherClusterAdmitted) => {
                Some((self.mismatch(theirs), None))
            }
            Some(_) => match self.lineage.judge(folder.seen, revision) {
                Ok(()) => None,
                Err(behind) => {
                    let last = self.lineage.0.last_key_value().map_or(Epoch(0), |(epoch, _)| *epoch);
                    // A restored journal must get above the epochs that workers report, which it does with its next
                    // epoch. The present one is reported by a worker that has seen it on another restored copy.
                    let is_later = folder.seen.epoch >= last && folder.seen.epoch < EPOCH_MAX;
                    let above = (self.lineage.is_restored() && is_later).then_some(folder.seen.epoch);
                    Some((self.behind(behind, folder, last, revision), above))
                }
            },
        };
        let Some((failure, above)) = refused else {
            self.refused.remove(&worker);
            return Verdict::Admitted;
        };
        let unjoined = folder.cluster.is_none().then_some(folder.chunks);
        let entry = Refused { host: node.host.clone(), code: failure.code, unjoined };
        if self.refused.len() >= REFUSED_MAX && !self.refused.contains_key(&worker) {
            self.refused.pop_first();
        }
        let is_news = self.refused.insert(worker, entry.clone()).is_none_or(|before| before != entry);
        Verdict::Refused { failure, is_news, above }
    }

    fn unknown(&self, worker: WorkerId, chunks: u64) -> Failure {
        let message = format!(
            "the data folder of {worker} has joined no cluster, and this coordinator's journal knows none of its {chunks} chunks: \
             if they belong to it, run `windrow data adopt --worker {worker}`"
        );
        Failure::new(Code::ClusterMismatch, message)
    }

    fn mismatch(&self, theirs: ClusterId) -> Failure {
        let message =
            format!("the worker's data folder belongs to {theirs}, this coordinator's journal is of {}", self.cluster);
        Failure::new(Code::ClusterMismatch, message)
    }

    fn behind(&self, behind: Behind, folder: Folder, last: Epoch, revision: u64) -> Failure {
        let seen = folder.seen;
        let how = match behind {
            Behind::Older => "this journal is older than what the worker has seen",
            Behind::Copied => "the worker has seen another copy of this journal that was in use in the same epoch",
        };
        let message = format!(
            "{how}: it has seen epoch {} and {} changes of datasets, the journal is in epoch {last} and has {revision}",
            seen.epoch, seen.revision,
        );
        Failure::new(Code::JournalBehind, message)
    }

    /// Lets a worker's folder join at its next registration.
    pub fn adopt(&mut self, worker: WorkerId) -> Result<(), Failure> {
        match self.refused.get(&worker) {
            Some(Refused { unjoined: Some(_), .. }) => {
                self.adopted.insert(worker);
                Ok(())
            }
            Some(_) => {
                let message = format!("the folder of {worker} belongs to another cluster, or has seen a newer journal");
                Err(Failure::new(Code::ClusterMismatch, message))
            }
            None => {
                let message =
                    format!("{worker} does not wait to join; `windrow data ls --orphans` lists those that do");
                Err(Failure::new(Code::WorkerNotFound, message))
            }
        }
    }

    /// Whether workers have seen a newer journal: then this one may order no deletion.
    pub fn is_behind(&self) -> bool {
        self.refused.values().any(|refused| refused.code == Code::JournalBehind)
    }

    /// Workers that wait to join, with their hosts and chunks.
    pub fn unjoined(&self) -> impl Iterator<Item = (WorkerId, &str, u64)> {
        self.refused.iter().filter_map(|(worker, r)| Some((*worker, r.host.as_str(), r.unjoined?)))
    }

    /// Messages for the operator.
    pub fn notices(&self) -> Vec<String> {
        let count = |is: &dyn Fn(&Refused) -> bool| self.refused.values().filter(|r| is(r)).count();
        let all = [
            (
                count(&|r| r.code == Code::JournalBehind),
                "have seen a newer journal than this coordinator's and are refused; nothing is deleted. Start the coordinator on its \
                 newest data folder, or admit this one with `windrow coordinator restore`",
            ),
            (
                count(&|r| r.code == Code::ClusterMismatch && r.unjoined.is_none()),
                "belong to another cluster and are refused. Is this the coordinator's right --data-dir?",
            ),
            (
                count(&|r| r.unjoined.is_some()),
                "have folders with chunks that this journal does not know: see `windrow data ls --orphans`",
            ),
        ];
        let line = |(n, what): (usize, &str)| (n > 0).then(|| format!("{n} workers {what}"));
        all.into_iter().filter_map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lineage::EpochRecord;
    use windrow_model::{Incarnation, Seen};

    const OURS: ClusterId = ClusterId(uuid::Uuid::from_u128(1));
    const OTHER: ClusterId = ClusterId(uuid::Uuid::from_u128(2));

    fn membership(restored: bool) -> Membership {
        let record = EpochRecord { nonce: 5, revision: 0, restored };
        Membership::new(OURS, Lineage([(Epoch(3), record)].into()))
    }
    fn node(n: u8) -> NodeInfo {
        NodeInfo {
            worker: WorkerId::from_bytes([n; 16]),
            incarnation: Incarnation(1),
            address: "http://a:1".into(),
            host: "h".into(),
            slots: 1,
            memory_bytes: 1,
            version: String::new(),
            home: None,
        }
    }
    fn joined(cluster: ClusterId, epoch: u64, revision: u64) -> Folder {
        Folder { cluster: Some(cluster), seen: Seen { epoch: Epoch(epoch), nonce: 5, revision }, chunks: 0 }
    }
    /// Judges worker `n` against a journal with 7 changes that knows the chunk of all ones.
    fn judge(
        members: &mut Membership,
        n: u8,
        folder: Folder,
        chunks: &[Digest],
    ) -> Option<(Code, bool, Option<Epoch>)> {
        match members.judge(&node(n), folder, chunks, 7, |d| *d == Digest([1; 32])) {
            Verdict::Admitted => None,
            Verdict::Refused { failure, is_news, above } => Some((failure.code, is_news, above)),
        }
    }

    #[test]
    fn folder_of_another_cluster_is_refused_and_logged_once() {
        let mut members = membership(false);
        let mismatch = |is_news| Some((Code::ClusterMismatch, is_news, None));
        assert_eq!(judge(&mut members, 1, joined(OURS, 3, 7), &[]), None);
        assert_eq!(judge(&mut members, 1, joined(OTHER, 1, 0), &[]), mismatch(true));
        assert_eq!(judge(&mut members, 1, joined(OTHER, 1, 0), &[]), mismatch(false));
        assert_eq!(members.notices().len(), 1);
        assert!(!members.is_behind());
        assert_eq!(members.adopt(node(1).worker).unwrap_err().code, Code::ClusterMismatch);
        assert_eq!(judge(&mut members, 1, joined(OURS, 3, 7), &[]), None);
        assert_eq!(members.notices(), Vec::<String>::new());
    }

    #[test]
    fn newer_knowledge_of_a_worker_stops_deletions() {
        let mut members = membership(false);
        assert_eq!(judge(&mut members, 1, joined(OURS, 3, 8), &[]), Some((Code::JournalBehind, true, None)));
        assert!(members.is_behind());
        assert_eq!(judge(&mut members, 2, joined(OURS, 4, 0), &[]), Some((Code::JournalBehind, true, None)));
        // Only a restored journal may be set above it.
        let mut restored = membership(true);
        let above = |epoch| Some((Code::JournalBehind, true, Some(Epoch(epoch))));
        assert_eq!(judge(&mut restored, 2, joined(OURS, 4, 0), &[]), above(4));
        let mut copied = joined(OURS, 3, 0);
        copied.seen.nonce = 6;
        assert_eq!(judge(&mut restored, 3, copied, &[]), above(3), "another copy was restored to the same epoch");
    }

    #[test]
    fn restored_journal_does_not_follow_an_impossible_epoch() {
        let mut restored = membership(true);
        for epoch in [1 << 62, u64::MAX] {
            let verdict = judge(&mut restored, 1, joined(OURS, epoch, 0), &[]);
            assert_eq!(verdict.map(|(code, _, above)| (code, above)), Some((Code::JournalBehind, None)), "{epoch}");
        }
    }

    #[test]
    fn folder_without_id_joins_when_empty_known_or_adopted() {
        let mut members = membership(false);
        let holds = |chunks| Folder { chunks, ..Folder::default() };
        assert_eq!(judge(&mut members, 1, holds(0), &[]), None);
        assert_eq!(judge(&mut members, 2, holds(2), &[Digest([9; 32]), Digest([1; 32])]), None);
        let foreign = [Digest([8; 32]), Digest([9; 32])];
        assert_eq!(judge(&mut members, 3, holds(2), &foreign), Some((Code::ClusterMismatch, true, None)));
        assert_eq!(members.unjoined().collect::<Vec<_>>(), [(node(3).worker, "h", 2)]);
        assert_eq!(members.adopt(node(4).worker).unwrap_err().code, Code::WorkerNotFound);
        members.adopt(node(3).worker).unwrap();
        assert_eq!(judge(&mut members, 3, holds(2), &foreign), None);
    }
}
