//! The state of the table, and the queries that all of its parts use.
//!
//! A chunk is examined again whenever its holders, its references or the order to delete it change (`look_at`): whether
//! it has too few copies, is deleted at once, or is an orphan.

use crate::copies::Copies;
use crate::holders::Holders;
use crate::orphans::{Orphans, Standing};
use crate::trash::Trash;
use crate::waits::{OrphanChanges, ReservationId};
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
    /// Workers that were offered to its client; none for the output of a job.
    pub(crate) offered: BTreeSet<WorkerId>,
    /// Chunks that clients have stored since it began, and that no worker held before, with the workers that got them.
    /// They may belong to another put.
    pub(crate) arrived: BTreeMap<Digest, BTreeSet<WorkerId>>,
    /// Its dataset is being recorded.
    pub(crate) commits: bool,
}

impl Put {
    pub(crate) fn new(name: &str, overwrite: bool, offered: BTreeSet<WorkerId>) -> Put {
        Put { name: name.to_string(), overwrite, offered, arrived: BTreeMap::new(), commits: false }
    }
}

/// A dataset, or a part of one, that is kept for a job.
#[derive(Debug)]
pub(crate) struct Pin {
    pub(crate) dataset: Dataset,
    /// The job reads it, and fails without it.
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
    /// Those ordered in this epoch, the oldest first; some may be referenced again.
    pub(crate) ordered_last: VecDeque<Digest>,
    /// Chunks that failed puts have stored, and all of their holders: the workers that the puts' clients stored them on.
    pub(crate) failed: BTreeMap<Digest, BTreeSet<WorkerId>>,
    /// Ordered chunks and those of failed puts that a worker holds.
    pub(crate) doomed: BTreeSet<Digest>,
    /// Ordered chunks that are not in the journal yet.
    pub(crate) unrecorded: Vec<Digest>,
    /// This journal may order no deletion.
    pub(crate) frozen: bool,
    /// A chunk that a job reads may have lost its last copy.
    pub(crate) may_lack: bool,
    pub(crate) puts: BTreeMap<PutId, Put>,
    pub(crate) last_put: u64,
    /// Until then chunks that clients have stored may still be reported, although their put has failed.
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
    /// Workers that have left, ever.
    pub(crate) departures: u64,
    /// An event has happened since the last call of `orders`.
    pub(crate) changed: bool,
}

impl Datasets {
    /// The table as the journal holds it.
    pub fn new(recorded: Vec<Dataset>, dropped: Vec<Digest>, orphans: Orphans) -> Self {
        let ordered = dropped.into_iter().collect();
        let mut table = Datasets { orphans, ordered, ..Datasets::default() };
        for dataset in recorded {
            table.refer(&dataset);
            table.named.insert(dataset.name.clone(), dataset);
        }
        table
    }

    /// Stops all deletions, or allows them again.
    pub fn set_frozen(&mut self, frozen: bool) {
        self.changed |= self.frozen != frozen;
        self.frozen = frozen;
    }

    /// Chunks whose deletion was ordered since the last call, for the journal.
    pub fn take_unrecorded(&mut self) -> Vec<Digest> {
        std::mem::take(&mut self.unrecorded)
    }

    /// The connected workers.
    pub fn workers(&self) -> Vec<WorkerId> {
        self.holders.workers().collect()
    }

    /// The holders of a chunk.
    pub fn holders(&self, digest: Digest) -> impl Iterator<Item = WorkerId> + '_ {
        self.holders.of(digest)
    }

    /// The number of holders of a chunk.
    pub fn copies(&self, digest: Digest) -> u32 {
        self.holders.count(digest)
    }

    /// The number of missing copies.
    pub fn missing(&self, digest: Digest) -> u32 {
        let wanted = self.references.get(&digest).map_or(0, |r| r.replicas.min(self.holders.workers_count()));
        wanted.saturating_sub(self.copies(digest))
    }

    /// Whether a chunk has all the copies that can be expected: it has a holder, and every worker that could still take
    /// it has failed or is full.
    pub fn is_settled(&self, digest: Digest) -> bool {
        let is_expected = |w| self.copying.is_expected(w, digest);
        self.copies(digest) > 0 && (self.missing(digest) == 0 || !self.holders.could_take(digest).any(is_expected))
    }

    pub(crate) fn look_at(&mut self, digest: Digest) {
        let (is_held, is_referenced) = (self.copies(digest) > 0, self.references.contains_key(&digest));
        if !is_held || is_referenced {
            self.failed.remove(&digest);
        }
        let is_ordered = self.ordered.contains(&digest) || self.failed.contains_key(&digest);
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

    /// When `orders` may have new orders without an event.
    pub fn next_deadline(&self) -> Option<Time> {
        let orphans = self.orphans.next_deadline().filter(|_| !self.frozen && self.puts.is_empty());
        self.holders.next_deadline().into_iter().chain(self.copying.next_deadline()).chain(orphans).min()
    }

    /// When `take_orphan_changes` has changes without an event.
    pub fn next_orphan_note(&self) -> Option<Time> {
        self.orphans.next_note()
    }

    /// The changes of orphans to record in the journal. `ends`: whether this epoch of the coordinator ends.
    pub fn take_orphan_changes(&mut self, now: Time, ends: bool) -> Option<OrphanChanges> {
        self.orphans.stamp(now);
        self.orphans.take_changes(now, ends)
    }

    /// The changes with this reservation are durable: its orders follow.
    pub fn reservation_recorded(&mut self, id: ReservationId) {
        self.changed = true;
        self.orphans.reservation_recorded(id);
    }
}
