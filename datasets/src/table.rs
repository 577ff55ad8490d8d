//! The state of the table, and the questions that all of its parts ask.
//!
//! A chunk is looked at again whenever its holders, its references or the order to delete it change (`look_at`): from these
//! follow whether it has too few copies, goes at once, or is an orphan.

use crate::copies::Copies;
use crate::holders::Holders;
use crate::orphans::{Orphans, Standing};
use crate::trash::Trash;
use crate::waits::OrphanChanges;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use windrow_model::{Dataset, Digest, JobId, Time, WorkerId};

/// One open put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PutId(pub u64);

#[derive(Debug, Default)]
pub(crate) struct Reference {
    /// Datasets and jobs that have the chunk.
    pub(crate) count: u32,
    pub(crate) replicas: u32,
    /// Bytes of the chunk.
    pub(crate) length: u64,
}

#[derive(Debug)]
pub(crate) struct Put {
    pub(crate) name: String,
    pub(crate) overwrite: bool,
    /// Workers that its client was told of; none for the output of a job.
    pub(crate) offered: BTreeSet<WorkerId>,
    /// Chunks that clients have stored since it began, and that no worker had before. They may be another put's.
    pub(crate) arrived: BTreeSet<Digest>,
    /// Its dataset is being recorded.
    pub(crate) commits: bool,
}

impl Put {
    pub(crate) fn new(name: &str, overwrite: bool, offered: BTreeSet<WorkerId>) -> Put {
        Put { name: name.to_string(), overwrite, offered, arrived: BTreeSet::new(), commits: false }
    }
}

/// A dataset, or a part of one, that stays for a job.
#[derive(Debug)]
pub(crate) struct Pin {
    pub(crate) dataset: Dataset,
    /// The job reads it, and cannot go on without.
    pub(crate) is_input: bool,
}

/// The table of datasets.
#[derive(Debug, Default)]
pub struct Datasets {
    pub(crate) named: BTreeMap<String, Dataset>,
    pub(crate) references: BTreeMap<Digest, Reference>,
    pub(crate) holders: Holders,
    pub(crate) pins: BTreeMap<JobId, Vec<Pin>>,
    pub(crate) orphans: Orphans,
    pub(crate) trash: Trash,
    /// Chunks without a reference whose deletion recorded changes have ordered.
    pub(crate) ordered: BTreeSet<Digest>,
    /// Those that this life has ordered, the oldest first; some may be referred to again.
    pub(crate) ordered_last: VecDeque<Digest>,
    /// Those of them that are held.
    pub(crate) doomed: BTreeSet<Digest>,
    /// Those of them that the journal does not have yet.
    pub(crate) unrecorded: Vec<Digest>,
    /// Nothing is deleted on the word of this journal.
    pub(crate) frozen: bool,
    /// A chunk that a job reads may have lost its last copy.
    pub(crate) may_lack: bool,
    pub(crate) puts: BTreeMap<PutId, Put>,
    pub(crate) last_put: u64,
    /// What clients have stored may still be told until then, although their put has failed.
    pub(crate) late_until: Option<Time>,
    /// Names whose next version is being recorded.
    pub(crate) recording: BTreeSet<String>,
    /// Referenced chunks with fewer copies than they should have.
    pub(crate) short: BTreeSet<Digest>,
    /// Those of them that a task waits for.
    pub(crate) urgent: BTreeSet<Digest>,
    pub(crate) copying: Copies,
    /// Workers that have not answered an order to drop.
    pub(crate) dropping: BTreeMap<WorkerId, u32>,
    /// Something happened since `orders` was asked.
    pub(crate) changed: bool,
}

impl Datasets {
    /// What the journal holds.
    pub fn new(recorded: Vec<Dataset>, dropped: Vec<Digest>, orphans: Orphans) -> Self {
        let ordered = dropped.into_iter().collect();
        let mut table = Datasets { orphans, ordered, ..Datasets::default() };
        for dataset in recorded {
            table.refer(&dataset);
            table.named.insert(dataset.name.clone(), dataset);
        }
        table
    }

    /// Whether anything is deleted in this life.
    pub fn set_frozen(&mut self, frozen: bool) {
        self.changed |= self.frozen != frozen;
        self.frozen = frozen;
    }

    /// Chunks whose deletion was ordered since this was last called, for the journal.
    pub fn take_unrecorded(&mut self) -> Vec<Digest> {
        std::mem::take(&mut self.unrecorded)
    }

    /// Workers that are there, as far as this table knows.
    pub fn workers(&self) -> Vec<WorkerId> {
        self.holders.workers().collect()
    }

    /// Who holds a chunk now.
    pub fn holders(&self, digest: Digest) -> impl Iterator<Item = WorkerId> + '_ {
        self.holders.of(digest)
    }

    /// How many workers hold a chunk.
    pub fn copies(&self, digest: Digest) -> u32 {
        self.holders.count(digest)
    }

    /// How many more should.
    pub fn missing(&self, digest: Digest) -> u32 {
        let wanted = self.references.get(&digest).map_or(0, |r| r.replicas.min(self.holders.workers_count()));
        wanted.saturating_sub(self.copies(digest))
    }

    /// Whether a chunk has all the copies that can be expected: somebody has it, and who could still take it has failed to
    /// or has no room.
    pub fn is_settled(&self, digest: Digest) -> bool {
        let is_expected = |w| self.copying.is_expected(w, digest);
        self.copies(digest) > 0 && (self.missing(digest) == 0 || !self.holders.could_take(digest).any(is_expected))
    }

    pub(crate) fn look_at(&mut self, digest: Digest) {
        let (is_held, is_referenced) = (self.copies(digest) > 0, self.references.contains_key(&digest));
        let is_ordered = self.ordered.contains(&digest);
        match is_held && !is_referenced && is_ordered {
            true => self.doomed.insert(digest),
            false => self.doomed.remove(&digest),
        };
        self.orphans.note(
            digest,
            match is_held {
                _ if is_referenced || is_ordered => Standing::Settled,
                true => Standing::Orphan,
                false => Standing::Away,
            },
        );
        if self.missing(digest) > 0 {
            self.short.insert(digest);
            return;
        }
        self.short.remove(&digest);
        self.urgent.remove(&digest);
        self.copying.forget(digest);
    }

    /// When `orders` may have something new without an event.
    pub fn next_deadline(&self) -> Option<Time> {
        let orphans = self.orphans.next_deadline().filter(|_| !self.frozen && self.puts.is_empty());
        self.holders.next_deadline().into_iter().chain(self.copying.next_deadline()).chain(orphans).min()
    }

    /// When `take_orphan_changes` has something without an event.
    pub fn next_orphan_note(&self) -> Option<Time> {
        self.orphans.next_note()
    }

    /// What the journal is to record of orphans. `ends`: this life of the coordinator does.
    pub fn take_orphan_changes(&mut self, now: Time, ends: bool) -> Option<OrphanChanges> {
        self.orphans.stamp(now);
        self.orphans.take_changes(now, ends)
    }
}
