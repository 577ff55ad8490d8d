//! Journals of a coordinator: the durable records of datasets, members and jobs, and the states that each journal went through.

use super::{Point, RULE, World};
use std::collections::{BTreeMap, BTreeSet};
use windrow_datasets::{EpochRecord, Lineage, OrphanChanges, OrphanWaits, Wait};
use windrow_model::*;

/// What a restore adds to the epoch.
const RESTORE_LEAP: u64 = 100;

/// A job that has not ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Running {
    pub(super) inputs: Vec<DatasetChunk>,
    pub(super) output: Option<String>,
    pub(super) kept: Vec<(WorkerId, DatasetChunk)>,
    /// Its output is recorded.
    pub(super) recorded: bool,
}

/// One journal. A copy of it is a journal, too.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    pub(super) cluster: Option<ClusterId>,
    pub(super) epoch: u64,
    pub(super) lineage: Lineage,
    pub(super) revision: u64,
    pub(super) is_restored: bool,
    pub(super) datasets: BTreeMap<String, Dataset>,
    pub(super) dropped: BTreeSet<Digest>,
    pub(super) orphans: OrphanWaits,
    pub(super) waits: BTreeMap<Digest, Wait>,
    pub(super) members: BTreeSet<WorkerId>,
    pub(super) jobs: BTreeMap<JobId, Running>,
    /// The states that this journal went through, or stands in for.
    pub(super) history: BTreeSet<u64>,
    /// Milliseconds for which coordinators have run on it.
    pub(super) clock_ms: u64,
    /// When, on that clock, each chunk was referred to last, or came to a disk.
    pub(super) wanted_at: BTreeMap<Digest, u64>,
    /// The times on that clock at which chunks went to the trash.
    pub(super) went_at: Vec<u64>,
    /// Chunks whose last reference a recorded change has taken.
    pub(super) released: BTreeSet<Digest>,
}

/// A record on its way to the disk.
#[derive(Clone, Debug)]
pub(super) enum Record {
    Put(Dataset),
    Removed(String),
    Outputs(JobId, Dataset),
    Dropped(Vec<Digest>),
    Orphans(OrphanChanges),
    Job(JobId, Running),
    Kept(JobId, WorkerId, DatasetChunk),
    Ended(JobId),
    Member(WorkerId, bool),
    RestoreAbove(u64),
}

impl Record {
    fn changes_datasets(&self) -> bool {
        matches!(self, Record::Put(_) | Record::Removed(_) | Record::Outputs(..))
    }
}

impl Journal {
    /// Chunks that datasets and jobs refer to.
    pub(super) fn references(&self) -> BTreeSet<Digest> {
        // What a task has left belongs to the dataset once that is recorded.
        let kept = |job: &Running| if job.recorded { Vec::new() } else { job.kept.clone() };
        let kept: Vec<(WorkerId, DatasetChunk)> = self.jobs.values().flat_map(kept).collect();
        let inputs = self.jobs.values().flat_map(|job| &job.inputs);
        let jobs = inputs.chain(kept.iter().map(|(_, chunk)| chunk));
        self.datasets.values().flat_map(|dataset| &dataset.chunks).chain(jobs).map(|chunk| chunk.digest).collect()
    }

    pub(super) fn refers_to(&self, digest: Digest) -> bool {
        self.references().contains(&digest)
    }

    fn put(&mut self, dataset: Dataset) {
        dataset.chunks.iter().for_each(|chunk| _ = self.dropped.remove(&chunk.digest));
        self.datasets.insert(dataset.name.clone(), dataset);
    }

    /// A record is durable.
    pub(super) fn apply(&mut self, record: Record) {
        let before = self.references();
        match record {
            Record::Put(dataset) => self.put(dataset),
            Record::Removed(name) => drop(self.datasets.remove(&name)),
            Record::Outputs(job, dataset) => {
                self.put(dataset);
                self.jobs.entry(job).and_modify(|job| job.recorded = true);
            }
            Record::Dropped(digests) => self.dropped.extend(digests),
            Record::Orphans(OrphanChanges { clock_ms, hour, waits, .. }) => {
                (self.orphans.clock_ms, self.orphans.hour) = (clock_ms, hour);
                for (digest, wait) in waits {
                    match wait {
                        Some(wait) => drop(self.waits.insert(digest, wait)),
                        None => drop(self.waits.remove(&digest)),
                    }
                }
            }
            Record::Job(id, job) => drop(self.jobs.insert(id, job)),
            Record::Kept(id, worker, chunk) => {
                self.jobs.entry(id).and_modify(|job| job.kept.push((worker, chunk)));
            }
            Record::Ended(id) => drop(self.jobs.remove(&id)),
            Record::Member(worker, true) => drop(self.members.insert(worker)),
            Record::Member(worker, false) => drop(self.members.remove(&worker)),
            Record::RestoreAbove(epoch) => (self.epoch, self.is_restored) = (self.epoch.max(epoch), true),
        }
        let after = self.references();
        self.released.extend(before.difference(&after));
        self.released.retain(|digest| !after.contains(digest));
    }

    /// An operator admits this copy in place of the journal that was lost.
    pub(super) fn restore(&mut self) {
        self.epoch += RESTORE_LEAP;
        self.is_restored = true;
        self.dropped.clear();
        self.released.clear();
    }
}

impl World {
    pub(super) fn empty_journal(&mut self) -> Journal {
        self.last_cluster += 1;
        let cluster = ClusterId::from_bytes(u128::from(self.last_cluster).to_be_bytes());
        Journal { cluster: Some(cluster), ..Journal::default() }
    }

    /// Begins an epoch on the journal. Returns its number and nonce.
    pub(super) fn begin_epoch(&mut self) -> (u64, u64) {
        self.last_nonce += 1;
        let nonce = self.last_nonce;
        let journal = &mut self.journal;
        journal.epoch += 1;
        let restored = std::mem::take(&mut journal.is_restored);
        if restored {
            journal.waits.clear();
            let clock = journal.clock_ms;
            journal.wanted_at.values_mut().for_each(|at| *at = clock);
            // It replaces every state that any copy of the journal has had in an earlier epoch.
            let replaced = self.states.range(..(journal.epoch, 0, 0));
            journal.history.extend(replaced.map(|(_, state)| state));
        }
        let record = EpochRecord { nonce, revision: journal.revision, restored };
        journal.lineage.0.insert(Epoch(journal.epoch), record);
        let point = (journal.epoch, nonce, journal.revision);
        self.note_state(point);
        (point.0, nonce)
    }

    /// The journal is in a state that it was not in before.
    fn note_state(&mut self, point: Point) {
        self.last_state += 1;
        self.states.insert(point, self.last_state);
        self.journal.history.insert(self.last_state);
    }

    /// Makes one record or all durable, and answers the calls that wait for them.
    pub(super) fn write_journal(&mut self) {
        let all = self.dice.percent(70);
        loop {
            let Some(coordinator) = &mut self.coordinator else { return };
            let Some((record, done)) = coordinator.unwritten.pop_front() else { return };
            let (epoch, nonce) = (coordinator.epoch, coordinator.nonce);
            self.apply_record(record, epoch, nonce);
            if let Some(done) = done {
                self.is_durable(done);
            }
            if !all {
                return;
            }
        }
    }

    /// A record of this epoch is durable.
    pub(super) fn apply_record(&mut self, record: Record, epoch: u64, nonce: u64) {
        let changes = record.changes_datasets();
        self.note(|| format!("durable: {record:?}"));
        self.journal.apply(record);
        if changes {
            self.journal.revision += 1;
            self.note_state((epoch, nonce, self.journal.revision));
        }
        self.note_references();
    }

    /// The wait of a chunk starts anew while it has a reference, and when it first appears on a disk.
    pub(super) fn note_references(&mut self) {
        let clock = self.journal.clock_ms;
        let references = self.journal.references();
        self.fresh.retain(|(.., digest)| !references.contains(digest));
        for digest in references {
            self.journal.wanted_at.insert(digest, clock);
        }
        for digest in self.nodes.values().flat_map(|node| node.disk.chunks.keys()) {
            self.journal.wanted_at.entry(*digest).or_insert(clock);
            self.stored_ever.insert(*digest);
        }
    }

    /// A chunk comes to a disk. It may be gone again, unnoticed by its worker, before time passes.
    pub(super) fn note_stored(&mut self, digest: Digest) {
        self.stored_ever.insert(digest);
        self.journal.wanted_at.entry(digest).or_insert(self.journal.clock_ms);
    }

    /// A chunk goes to the trash by order of this journal.
    pub(super) fn check_wait(&mut self, digest: Digest) {
        let clock = self.journal.clock_ms;
        let at = self.journal.wanted_at.get(&digest).copied().unwrap_or(clock);
        // It might have gone at once, had no coordinator died before it ordered that.
        let is_released = self.journal.released.contains(&digest);
        assert!(is_released || clock - at >= RULE.kept_ms, "{digest} goes after {} ms", clock - at);
        self.journal.went_at.push(clock);
        let hour = self.journal.went_at.iter().filter(|at| **at + 3_600_000 > clock).count();
        assert!(hour <= RULE.per_hour as usize, "{hour} orphans go in an hour");
    }
}
