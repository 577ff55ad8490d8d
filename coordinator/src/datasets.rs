//! The table of datasets, as a pure state machine: which names there are, what refers to which chunk, which copies are
//! missing, which chunks nothing refers to any more.
//!
//! Names and chunks are also in the journal; who holds a chunk (`holders.rs`) is not: workers tell it when they register. A chunk is
//! *referenced* by every dataset that has it and by every job that reads it (which keeps its version, whatever becomes of the
//! name).
//!
//! A chunk whose last reference was taken by a recorded change (`data rm`, an overwrite, the end of a job), or that a put has
//! brought which failed, is *ordered* to be deleted, and goes at once. Any other chunk without a reference is an orphan (`orphans.rs`). Nothing is deleted while a put is
//! open, since it may be about to name it, nor while a worker has seen a newer journal than this one.

use crate::copies::Copies;
use crate::holders::Holders;
use crate::orphans::{OrphanChanges, Orphans, Standing};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use windrow_model::{
    Code, Dataset, DatasetChunk, DatasetStatus, Digest, Failure, Framing, Incarnation, JobId, Time, WorkerId,
};

/// Copies of a chunk, if the put does not say.
const REPLICAS: u32 = 2;

/// A chunk that was on its way when its put failed is told by its worker within this time.
const LATE_MS: u64 = 120_000;

/// Chunks of one put that are remembered for its failure. Others are orphans then.
const ARRIVED_MAX: usize = 1_000_000;

/// Deletions that are remembered for workers which are away.
const ORDERED_MAX: usize = 100_000;
/// Chunks of one worker to which nothing refers that are remembered; as many more in its trash. A put of this many chunks for a
/// worker can be under way.
const UNREFERRED_MAX: usize = 1 << 17;

/// One open put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PutId(pub u64);

/// Something for a worker to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Get this chunk from one of these workers.
    Copy { worker: WorkerId, digest: Digest, from: Vec<WorkerId> },
    /// Delete these chunks; answered by `dropped`.
    Drop { worker: WorkerId, digests: Vec<Digest> },
    /// Put these chunks into the trash; answered by `dropped`.
    Trash { worker: WorkerId, digests: Vec<Digest> },
}

#[derive(Debug, Default)]
struct Reference {
    /// Datasets and jobs that have the chunk.
    count: u32,
    replicas: u32,
    /// Bytes of the chunk.
    length: u64,
}

#[derive(Debug)]
struct Put {
    name: String,
    overwrite: bool,
    /// Workers that its client was told of; none for the output of a job.
    offered: BTreeSet<WorkerId>,
    /// Chunks that clients have stored since it began, and that no worker had before. They may be another put's.
    arrived: BTreeSet<Digest>,
    /// Its dataset is being recorded.
    commits: bool,
}

impl Put {
    fn new(name: &str, overwrite: bool, offered: BTreeSet<WorkerId>) -> Put {
        Put { name: name.to_string(), overwrite, offered, arrived: BTreeSet::new(), commits: false }
    }
}

/// A dataset, or a part of one, that stays for a job.
#[derive(Debug)]
struct Pin {
    dataset: Dataset,
    /// The job reads it, and cannot go on without.
    is_input: bool,
}

/// A chunk to which nothing refers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orphan {
    pub digest: Digest,
    /// Bytes, if a worker has told.
    pub length: Option<u64>,
    pub holders: Vec<WorkerId>,
    pub trashed: Vec<WorkerId>,
    /// For how long it has been one, and how much longer it is kept.
    pub for_ms: u64,
    pub kept_ms: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Datasets {
    named: BTreeMap<String, Dataset>,
    references: BTreeMap<Digest, Reference>,
    holders: Holders,
    pins: BTreeMap<JobId, Vec<Pin>>,
    orphans: Orphans,
    /// Chunks without a reference whose deletion recorded changes have ordered.
    ordered: BTreeSet<Digest>,
    /// Those that this life has ordered, the oldest first; some may be referred to again.
    ordered_last: VecDeque<Digest>,
    /// Those of them that are held.
    doomed: BTreeSet<Digest>,
    /// Those of them that the journal does not have yet.
    unrecorded: Vec<Digest>,
    /// Nothing is deleted on the word of this journal.
    frozen: bool,
    /// A chunk that a job reads may have lost its last copy.
    may_lack: bool,
    puts: BTreeMap<PutId, Put>,
    last_put: u64,
    /// What clients have stored may still be told until then, although their put has failed.
    late_until: Option<Time>,
    /// Names whose next version is being recorded.
    recording: BTreeSet<String>,
    /// Referenced chunks with fewer copies than they should have.
    short: BTreeSet<Digest>,
    /// Those of them that a task waits for.
    urgent: BTreeSet<Digest>,
    copying: Copies,
    /// Workers that have not answered an order to drop.
    dropping: BTreeMap<WorkerId, u32>,
    /// Something happened since `orders` was asked.
    changed: bool,
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

    /// A worker is there; what it holds it tells next. In the same life it still holds what it held.
    pub fn worker_joined(&mut self, worker: WorkerId, incarnation: Incarnation, now: Time) {
        self.holders.joined(worker, incarnation, now);
        self.orphans.worker_left(worker);
        self.forget_orders(worker);
        // With one worker more, chunks may have one copy more.
        self.short = self.references.keys().copied().filter(|d| self.missing(*d) > 0).collect();
    }

    /// Workers of an earlier life of this coordinator are expected back.
    pub fn expect_workers(&mut self, now: Time) {
        self.holders.expect_workers(now);
    }

    /// All workers of an earlier life are back.
    pub fn all_are_back(&mut self) {
        self.changed = true;
        self.may_lack = true;
        self.holders.all_are_back();
    }

    /// A worker is gone, and with it its copies for now.
    pub fn worker_left(&mut self, worker: WorkerId, now: Time) {
        self.may_lack = true;
        let lost = self.holders.left(worker, now);
        let trashed = self.orphans.worker_left(worker);
        self.forget_orders(worker);
        for digest in lost.into_iter().chain(trashed) {
            self.look_at(digest);
            self.forget_length(digest);
        }
    }

    /// They have ended with the worker's session, or got lost with it.
    fn forget_orders(&mut self, worker: WorkerId) {
        self.changed = true;
        self.dropping.remove(&worker);
        self.copying.forget_worker(worker);
    }

    /// A worker has these chunks whole. Gives how many were passed over: a worker cannot make this process remember more chunks than
    /// are referred to and [`UNREFERRED_MAX`].
    pub fn held(&mut self, worker: WorkerId, digests: impl IntoIterator<Item = Digest>) -> usize {
        let mut passed_over = 0;
        for digest in digests {
            let is_new = !self.references.contains_key(&digest) && !self.holders.has(worker, digest);
            if is_new && self.holders.count_of(worker) >= self.references.len() + UNREFERRED_MAX {
                passed_over += 1;
                continue;
            }
            if self.holders.held(worker, digest) {
                self.changed = true;
                self.copying.made(worker, digest);
                self.orphans.not_trashed(worker, digest);
                self.look_at(digest);
            }
        }
        passed_over
    }

    /// Whether some worker holds a chunk, or has it in its trash.
    pub fn is_there(&self, digest: Digest) -> bool {
        self.copies(digest) > 0 || self.orphans.in_trash(digest).next().is_some()
    }

    /// Bytes of chunks that a worker has told of.
    pub fn note_lengths(&mut self, lengths: impl IntoIterator<Item = (Digest, u64)>) {
        for (digest, length) in lengths {
            if !self.references.contains_key(&digest) {
                self.orphans.note_length(digest, length);
            }
        }
    }

    /// A worker has these chunks in its trash. Gives how many were passed over, since it has told of [`UNREFERRED_MAX`] others.
    pub fn trashed(&mut self, worker: WorkerId, digests: impl IntoIterator<Item = Digest>) -> usize {
        if !self.holders.is_live(worker) {
            return 0;
        }
        self.changed = true;
        digests.into_iter().filter(|digest| !self.orphans.trashed(worker, *digest, UNREFERRED_MAX)).count()
    }

    /// A worker does not have these any more, although no order to delete them was given: they are damaged or gone. Gives those that
    /// it was known to have.
    pub fn lost(&mut self, worker: WorkerId, digests: &[Digest]) -> Vec<Digest> {
        self.changed = true;
        self.may_lack = true;
        let lost = self.holders.lost(worker, digests);
        for digest in &lost {
            self.look_at(*digest);
            self.forget_length(*digest);
        }
        lost
    }

    /// The length of a chunk that no worker has: a worker that brings it back tells it again.
    fn forget_length(&mut self, digest: Digest) {
        if !self.is_there(digest) {
            self.orphans.forget_length(digest);
        }
    }

    /// Chunks that nothing refers to whose lengths are known.
    #[cfg(test)]
    pub fn lengths_known(&self) -> usize {
        self.orphans.lengths_known()
    }

    /// A worker has told everything that it holds.
    pub fn inventory_complete(&mut self, worker: WorkerId) {
        self.changed = true;
        self.may_lack = true;
        for digest in self.holders.inventory_complete(worker) {
            self.look_at(digest);
            self.forget_length(digest);
        }
    }

    /// Jobs that read a chunk of which no copy is left, each with that chunk. Nothing is said of chunks that a worker may still
    /// tell of, or may bring back.
    pub fn take_lacking(&mut self) -> Vec<(JobId, Digest)> {
        if self.inventory_pending() || !std::mem::take(&mut self.may_lack) {
            return Vec::new();
        }
        let is_gone = |digest: &Digest| {
            self.copies(*digest) == 0
                && !self.holders.may_return(*digest)
                && self.orphans.in_trash(*digest).next().is_none()
        };
        let chunks = |pins: &[Pin]| {
            let inputs = pins.iter().filter(|pin| pin.is_input);
            inputs.flat_map(|pin| &pin.dataset.chunks).map(|c| c.digest).find(&is_gone)
        };
        self.pins.iter().filter_map(|(job, pins)| Some((*job, chunks(pins)?))).collect()
    }

    /// Whether anything is deleted in this life.
    pub fn set_frozen(&mut self, frozen: bool) {
        self.changed |= self.frozen != frozen;
        self.frozen = frozen;
    }

    /// Whether the journal knows a chunk.
    pub fn is_known(&self, digest: &Digest) -> bool {
        self.references.contains_key(digest)
    }

    /// Chunks whose deletion was ordered since this was last called, for the journal.
    pub fn take_unrecorded(&mut self) -> Vec<Digest> {
        std::mem::take(&mut self.unrecorded)
    }

    /// A chunk that nobody seems to have may be on a worker that has not told everything yet.
    pub fn inventory_pending(&self) -> bool {
        self.holders.are_being_told()
    }

    /// Whoever has been telling for too long is not waited for any more.
    pub fn give_up_silent(&mut self, now: Time) {
        let gave_up = self.holders.give_up_silent(now) | self.holders.give_up_absent(now);
        self.changed |= gave_up;
        self.may_lack |= gave_up;
    }

    /// A worker's disk has no room, or has room again.
    pub fn note_room(&mut self, worker: WorkerId, full: bool) {
        self.changed |= self.holders.note_room(worker, full);
    }

    /// A worker could not make the copy that it was ordered to make.
    pub fn not_copied(&mut self, worker: WorkerId, digest: Digest, code: Code, now: Time) {
        self.changed = true;
        self.copying.refused(worker, digest, code == Code::NoSpace, now);
        // Nor has it the chunk in its trash, from where it would have come back.
        self.orphans.not_trashed(worker, digest);
        self.may_lack = true;
    }

    /// A worker has deleted what it was told to delete.
    pub fn dropped(&mut self, worker: WorkerId) {
        self.changed = true;
        if let Some(open) = self.dropping.get_mut(&worker) {
            *open -= 1;
            if *open == 0 {
                self.dropping.remove(&worker);
            }
        }
    }

    /// A put may begin only when nothing is being deleted: it could be what the put is about to store again.
    pub fn is_dropping(&self) -> bool {
        !self.dropping.is_empty()
    }

    /// Begins a put: who takes chunks, and how many copies of each are to be made.
    pub fn begin_put(
        &mut self,
        name: &str,
        overwrite: bool,
        replicas: u32,
    ) -> Result<(PutId, Vec<WorkerId>, u32), Failure> {
        windrow_model::dataset::check_dataset_name(name)?;
        self.check_free(name, overwrite)?;
        let live = self.holders.workers_count();
        if live == 0 {
            return Err(Failure::new(Code::ChunkUnavailable, "there is no worker that could keep the data"));
        }
        if replicas > live {
            let message = format!("{replicas} copies need as many workers, and there are {live}");
            return Err(Failure::new(Code::BadRequest, message));
        }
        let replicas = if replicas == 0 { REPLICAS.min(live) } else { replicas };
        self.last_put += 1;
        let id = PutId(self.last_put);
        let offered: BTreeSet<WorkerId> = self.holders.workers().collect();
        let workers = offered.iter().copied().collect();
        self.puts.insert(id, Put::new(name, overwrite, offered));
        Ok((id, workers, replicas))
    }

    /// Begins the output of a job: a put whose chunks appear where its tasks ran.
    pub fn begin_output(&mut self, name: &str, overwrite: bool) -> Result<PutId, Failure> {
        windrow_model::dataset::check_dataset_name(name)?;
        self.check_free(name, overwrite)?;
        if self.puts.values().any(|p| p.name == name) {
            return Err(Failure::new(Code::DatasetExists, format!("{name}: another put under this name is open")));
        }
        self.last_put += 1;
        self.puts.insert(PutId(self.last_put), Put::new(name, overwrite, BTreeSet::new()));
        Ok(PutId(self.last_put))
    }

    /// A task of the job has left this chunk on its worker. It gets its copies next, and stays until `unpin`.
    pub fn keep_output(&mut self, job: JobId, worker: WorkerId, chunk: DatasetChunk) {
        self.held(worker, [chunk.digest]);
        self.urgent.insert(chunk.digest);
        let kept = Dataset {
            name: String::new(),
            version: 0,
            framing: Framing::Whole,
            replicas: REPLICAS,
            chunks: vec![chunk],
        };
        self.refer(&kept);
        self.pins.entry(job).or_default().push(Pin { dataset: kept, is_input: false });
    }

    /// Chunks that a job of an earlier life reads stay until `unpin`.
    pub fn keep_inputs(&mut self, job: JobId, chunks: Vec<DatasetChunk>) {
        if chunks.is_empty() {
            return;
        }
        self.may_lack = true;
        let kept = Dataset { name: String::new(), version: 0, framing: Framing::Whole, replicas: REPLICAS, chunks };
        self.refer(&kept);
        self.pins.entry(job).or_default().push(Pin { dataset: kept, is_input: true });
    }

    /// Copies that new datasets get, with the workers that are there.
    pub fn usual_replicas(&self) -> u32 {
        REPLICAS.min(self.holders.workers_count()).max(1)
    }

    fn check_free(&self, name: &str, overwrite: bool) -> Result<(), Failure> {
        let taken = match self.named.get(name) {
            Some(_) if !overwrite => "there is a dataset of this name",
            _ if self.recording.contains(name) => "another put under this name is being completed",
            _ => return Ok(()),
        };
        Err(Failure::new(Code::DatasetExists, format!("{name}: {taken}")))
    }

    /// Whether the copies that a put's client tells of are there, by the word of the workers that hold them. `None`: not yet known.
    ///
    /// # Errors
    /// `BAD_REQUEST` for a worker that the client was not told of; `CHUNK_UNAVAILABLE` if every worker that a chunk is said to be
    /// on has left.
    pub fn check_placed(&self, put: PutId, placed: &[(Digest, Vec<WorkerId>)]) -> Option<Result<(), Failure>> {
        let Some(put) = self.puts.get(&put) else {
            return Some(Err(Failure::new(Code::BadRequest, "this put is not open")));
        };
        let mut is_known = true;
        for (digest, holders) in placed {
            if let Some(stranger) = holders.iter().find(|w| !put.offered.contains(w)) {
                let message = format!("chunk {digest} is said to be on {stranger}, which takes no chunk of this put");
                return Some(Err(Failure::new(Code::BadRequest, message)));
            }
            let mut live = holders.iter().filter(|w| self.holders.is_live(**w)).peekable();
            if live.peek().is_none() {
                let message = format!("chunk {digest}: every worker that it was stored on has left since");
                return Some(Err(Failure::new(Code::ChunkUnavailable, message)));
            }
            is_known &= live.all(|w| self.holders.has(*w, *digest));
        }
        is_known.then_some(Ok(()))
    }

    /// Whether chunks that a client has put are as long as is known of them: a job could not read them otherwise.
    ///
    /// # Errors
    /// `BAD_REQUEST` with the chunk and both lengths.
    pub fn check_lengths(&self, chunks: &[DatasetChunk]) -> Result<(), Failure> {
        for DatasetChunk { digest, length } in chunks {
            let known = self.references.get(digest).map(|r| r.length).or_else(|| self.orphans.length(*digest));
            if let Some(known) = known.filter(|known| known != length) {
                let message = format!("chunk {digest} has {known} bytes, and not {length}");
                return Err(Failure::new(Code::BadRequest, message));
            }
        }
        Ok(())
    }

    /// The first chunk that a worker is said to have and does not tell of.
    pub fn not_there(&self, placed: &[(Digest, Vec<WorkerId>)]) -> Option<(Digest, WorkerId)> {
        placed.iter().find_map(|(digest, holders)| {
            let lacks = |w: &&WorkerId| self.holders.is_live(**w) && !self.holders.has(**w, *digest);
            Some((*digest, *holders.iter().find(lacks)?))
        })
    }

    /// Every copy is made: gives the dataset to record. Its name is taken until `recorded`.
    pub fn commit_put(&mut self, put: PutId, mut dataset: Dataset) -> Result<Dataset, Failure> {
        let Some(Put { name, overwrite, .. }) = self.puts.get(&put) else {
            return Err(Failure::new(Code::BadRequest, "this put is not open"));
        };
        self.check_free(name, *overwrite)?;
        let name = name.clone();
        self.puts.get_mut(&put).into_iter().for_each(|put| put.commits = true);
        dataset.version = self.named.get(&name).map_or(0, |d| d.version) + 1;
        dataset.name.clone_from(&name);
        self.recording.insert(name);
        Ok(dataset)
    }

    /// A dataset is durable, or could not be made so. The put stays open until `end_put`.
    pub fn recorded(&mut self, dataset: Dataset, durable: bool) {
        self.recording.remove(&dataset.name);
        if durable {
            self.refer(&dataset);
            if let Some(old) = self.named.insert(dataset.name.clone(), dataset) {
                self.release(&old);
            }
        }
    }

    /// A put is over. What clients have stored for one that was not committed is ordered to be deleted: it is nobody's, unless
    /// another put that is open commits it. Until then nothing is deleted, and a reference takes the order back.
    pub fn end_put(&mut self, put: PutId, now: Time) {
        self.changed = true;
        let Some(put) = self.puts.remove(&put) else { return };
        if put.commits || put.offered.is_empty() {
            return;
        }
        self.late_until = Some(now.plus_ms(LATE_MS));
        for digest in put.arrived {
            self.order(digest);
        }
    }

    /// A client has stored these chunks on a worker, which did not have them. Called before `held`. If a put is open, they may be
    /// its own. If there is none, but one has failed a moment ago, it has left them.
    ///
    /// Chunks that were here before, if only in a trash or on a worker that is away, are not among them: a put that fails must take
    /// nothing with it that it has not brought.
    pub fn arrived(&mut self, worker: WorkerId, digests: &[Digest], now: Time) {
        self.late_until.take_if(|until| *until <= now);
        for digest in digests {
            let was_known = self.is_known(digest) || self.is_here(*digest) || self.orphans.is_known(*digest);
            if was_known || !self.holders.is_live(worker) || self.inventory_pending() {
                continue;
            }
            let mut puts = self.puts.values_mut().filter(|put| !put.offered.is_empty()).peekable();
            if puts.peek().is_none() && self.late_until.is_some() {
                self.order(*digest);
            } else {
                let with_room = puts.filter(|put| put.arrived.len() < ARRIVED_MAX);
                with_room.for_each(|put| _ = put.arrived.insert(*digest));
            }
        }
    }

    /// Nothing refers to this chunk, and it is to go wherever it turns up.
    fn order(&mut self, digest: Digest) {
        if self.references.contains_key(&digest) {
            return;
        }
        if self.ordered.insert(digest) {
            self.ordered_last.push_back(digest);
        }
        self.unrecorded.push(digest);
        self.look_at(digest);
    }

    /// Takes a name off the table; what it named stays as long as a job reads it.
    pub fn remove(&mut self, name: &str) -> Result<(), Failure> {
        let removed = self.named.remove(name).ok_or_else(|| not_found(name))?;
        self.release(&removed);
        Ok(())
    }

    pub fn get(&self, name: &str) -> Result<&Dataset, Failure> {
        self.named.get(name).ok_or_else(|| not_found(name))
    }

    /// Every dataset, by name.
    pub fn list(&self) -> Vec<DatasetStatus> {
        self.named.values().map(|d| self.status(d)).collect()
    }

    pub fn status(&self, dataset: &Dataset) -> DatasetStatus {
        let copies = dataset.chunks.iter().map(|c| self.copies(c.digest));
        DatasetStatus {
            name: dataset.name.clone(),
            version: dataset.version,
            framing: dataset.framing,
            bytes: dataset.length(),
            chunks: dataset.chunks.len() as u64,
            replicas: dataset.replicas,
            copies_min: copies.min().unwrap_or(dataset.replicas),
        }
    }

    /// Workers that are there, as far as this table knows.
    pub fn workers(&self) -> Vec<WorkerId> {
        self.holders.workers().collect()
    }

    /// Who holds a chunk now.
    pub fn holders(&self, digest: Digest) -> impl Iterator<Item = WorkerId> + '_ {
        self.holders.of(digest)
    }

    /// Whether it is not known yet if there is a copy of every chunk of these datasets.
    pub fn may_be_incomplete<'n>(&self, mut names: impl Iterator<Item = &'n str>) -> bool {
        self.inventory_pending() && names.any(|name| self.named.get(name).is_some_and(|d| self.lacks(d)))
    }

    /// Whether there is a chunk of this dataset that no worker holds.
    pub fn lacks(&self, dataset: &Dataset) -> bool {
        dataset.chunks.iter().any(|c| self.copies(c.digest) == 0)
    }

    /// Whether there is a dataset of which that is so. Looks at every chunk of every dataset.
    pub fn any_lacks(&self) -> bool {
        self.named.values().any(|dataset| self.lacks(dataset))
    }

    /// Whether a worker has each of these chunks, if only in its trash.
    pub fn are_here(&self, digests: &[Digest]) -> bool {
        digests.iter().all(|digest| self.is_here(*digest))
    }

    fn is_here(&self, digest: Digest) -> bool {
        self.copies(digest) > 0 || self.orphans.in_trash(digest).next().is_some()
    }

    /// The current versions of these names, kept for a job until `unpin`.
    pub fn pin<'n>(
        &mut self,
        job: JobId,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<BTreeMap<String, Dataset>, Failure> {
        let mut pinned = BTreeMap::new();
        for name in names {
            let dataset = self.get(name)?;
            if let Some((number, _)) = (0..).zip(&dataset.chunks).find(|(_, c)| self.copies(c.digest) == 0) {
                let message = format!(
                    "dataset {name}: no worker that is there holds chunk {number:05} of {}",
                    dataset.chunks.len()
                );
                // Fatal here: the submitter can look after the workers and submit again.
                return Err(Failure::new(Code::ChunkUnavailable, message));
            }
            pinned.insert(name.to_string(), dataset.clone());
        }
        pinned.values().for_each(|dataset| self.refer(dataset));
        let pins = pinned.values().map(|dataset| Pin { dataset: dataset.clone(), is_input: true });
        self.pins.entry(job).or_default().extend(pins);
        Ok(pinned)
    }

    /// It is on record that the job is over.
    pub fn unpin(&mut self, job: JobId) {
        for pin in self.pins.remove(&job).unwrap_or_default() {
            self.release(&pin.dataset);
        }
    }

    /// What is to be done now: missing copies, and chunks that nothing refers to.
    pub fn orders(&mut self, now: Time) -> Vec<Order> {
        if !std::mem::take(&mut self.changed) && self.next_deadline().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let mut orders = Vec::new();
        self.copying.give_up_overdue(now);
        let short = self.urgent.intersection(&self.short).chain(self.short.difference(&self.urgent));
        for digest in short.copied() {
            if !self.copying.has_place() {
                break;
            }
            if self.copying.is_making(digest) {
                continue;
            }
            if self.copies(digest) == 0 {
                // What is in a trash comes back.
                if let Some(worker) = self.copying.begin(digest, self.orphans.in_trash(digest), now) {
                    orders.push(Order::Copy { worker, digest, from: Vec::new() });
                }
                continue;
            }
            if let Some(worker) = self.copying.begin(digest, self.holders.could_take(digest), now) {
                orders.push(Order::Copy { worker, digest, from: self.holders.of(digest).collect() });
            }
        }
        self.copying.note_asked(now);
        self.orphans.stamp(now);
        if self.puts.is_empty() && !self.frozen {
            self.delete(now, &mut orders);
        }
        orders
    }

    /// What was ordered to be deleted goes; orphans whose time is over go to the trash.
    fn delete(&mut self, now: Time, orders: &mut Vec<Order>) {
        let mut dropped: BTreeMap<WorkerId, Vec<Digest>> = BTreeMap::new();
        for digest in self.doomed.iter().copied().collect::<Vec<_>>() {
            for worker in self.holders.take(digest) {
                dropped.entry(worker).or_default().push(digest);
            }
            if self.copies(digest) == 0 {
                self.doomed.remove(&digest);
                self.orphans.forget_length(digest);
            }
        }
        let mut trashed: BTreeMap<WorkerId, Vec<Digest>> = BTreeMap::new();
        for digest in self.orphans.due(now) {
            let workers = self.holders.take(digest);
            if !workers.is_empty() || self.copies(digest) == 0 {
                self.orphans.went(digest, now);
            }
            self.look_at(digest);
            workers.into_iter().for_each(|worker| trashed.entry(worker).or_default().push(digest));
        }
        let drops = dropped.into_iter().map(|(worker, digests)| Order::Drop { worker, digests });
        let trashes = trashed.into_iter().map(|(worker, digests)| Order::Trash { worker, digests });
        for order in drops.chain(trashes) {
            if let Order::Drop { worker, .. } | Order::Trash { worker, .. } = &order {
                *self.dropping.entry(*worker).or_default() += 1;
            }
            orders.push(order);
        }
    }

    /// Every chunk to which nothing refers and whose deletion nothing has ordered.
    pub fn orphans(&self, now: Time) -> Vec<Orphan> {
        let in_trash = self.orphans.all_trashed().filter(|digest| !self.references.contains_key(digest));
        let all: BTreeSet<Digest> = self.orphans.all().chain(in_trash).collect();
        let orphan = |digest| {
            let (for_ms, kept_ms) = self.orphans.ages(digest, now);
            Orphan {
                digest,
                length: self.orphans.length(digest),
                holders: self.holders.of(digest).collect(),
                trashed: self.orphans.in_trash(digest).collect(),
                for_ms,
                kept_ms,
            }
        };
        all.into_iter().map(orphan).filter(|o| !o.holders.is_empty() || !o.trashed.is_empty()).collect()
    }

    /// Orphans as the chunks of a dataset that is to be recorded next, under a name that is free.
    ///
    /// # Errors
    /// `DATASET_EXISTS`; `CHUNK_UNAVAILABLE` for what is no orphan here.
    pub fn adopt(&mut self, name: &str, framing: Framing, digests: &[Digest]) -> Result<Dataset, Failure> {
        windrow_model::dataset::check_dataset_name(name)?;
        self.check_free(name, false)?;
        let chunk = |digest: &Digest| {
            let length =
                self.orphans.length(*digest).filter(|_| self.is_here(*digest) && !self.references.contains_key(digest));
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

    fn look_at(&mut self, digest: Digest) {
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

    fn refer(&mut self, dataset: &Dataset) {
        self.changed = true;
        for chunk in &dataset.chunks {
            let reference = self.references.entry(chunk.digest).or_default();
            reference.count += 1;
            reference.replicas = reference.replicas.max(dataset.replicas);
            reference.length = chunk.length;
            self.ordered.remove(&chunk.digest);
            self.orphans.forget_length(chunk.digest);
            self.look_at(chunk.digest);
        }
    }

    /// A recorded change takes these references.
    fn release(&mut self, dataset: &Dataset) {
        self.changed = true;
        while self.ordered_last.len() > ORDERED_MAX
            && let Some(oldest) = self.ordered_last.pop_front()
        {
            // Should it turn up after all, it is an orphan.
            if !self.doomed.contains(&oldest) {
                self.ordered.remove(&oldest);
            }
        }
        for chunk in &dataset.chunks {
            if let Some(reference) = self.references.get_mut(&chunk.digest) {
                reference.count -= 1;
                if reference.count == 0 {
                    self.references.remove(&chunk.digest);
                    self.order(chunk.digest);
                }
            }
        }
    }
}

fn not_found(name: &str) -> Failure {
    Failure::new(Code::DatasetNotFound, format!("there is no dataset {name}"))
}

#[cfg(test)]
#[path = "datasets_tests.rs"]
mod tests;
