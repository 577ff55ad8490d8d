//! Open puts: datasets whose chunks arrive, from a client or from the tasks of a job.
//!
//! Nothing is deleted while a put is open, since it may be about to name any chunk. Chunks that clients have stored for
//! a failed put are deleted at once, unless they were there before. That holds only for the copies that the clients have
//! stored, and is not recorded: if another worker turns up with the chunk, if a holder is away for a time or if the
//! coordinator ends, the copies that are left are orphans. A folder that joins later loses no chunk to a put that it has not seen.

use crate::planted::{self, Planted};
use crate::table::{Datasets, Put, PutId};
use std::collections::{BTreeMap, BTreeSet};
use windrow_model::{Code, Dataset, DatasetChunk, Digest, Failure, Time, WorkerId};

/// A chunk that was on its way when its put failed is reported by its worker within this time.
pub(crate) const LATE_MS: u64 = 120_000;

/// Bound on the chunks of one put that are remembered for its failure. Further ones become orphans then.
const ARRIVED_MAX: usize = 1_000_000;

/// The chunks of a put with the workers that its client has stored them on, and how far they are reported.
#[derive(Debug)]
pub struct Placed {
    chunks: Vec<(Digest, Vec<WorkerId>)>,
    /// Chunks before this one were reported when they were looked at.
    next: usize,
    /// Departures of workers at the last look; `None` before the first one.
    departures: Option<u64>,
    /// Looks at a chunk.
    #[cfg(test)]
    pub(crate) looks: std::cell::Cell<usize>,
}

impl Placed {
    /// The chunks as a client names them.
    pub fn new(chunks: Vec<(Digest, Vec<WorkerId>)>) -> Placed {
        Placed {
            chunks,
            next: 0,
            departures: None,
            #[cfg(test)]
            looks: std::cell::Cell::new(0),
        }
    }

    fn count_look(&self) {
        #[cfg(test)]
        self.looks.update(|n| n + 1);
    }
}

impl Datasets {
    /// Begins a put. Returns the workers that take its chunks, and the number of copies of each.
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
        let replicas = if replicas == 0 { self.usual_replicas() } else { replicas };
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

    /// Whether the copies that a put's client names are there, as reported by their holders. `None`: not yet known. Over all
    /// calls each chunk is looked at about twice; all of them once more whenever a worker has left.
    ///
    /// # Errors `BAD_REQUEST` for a worker that was not offered to the client; `CHUNK_UNAVAILABLE` if every named
    /// holder of a chunk has left.
    pub fn check_placed(&self, put: PutId, placed: &mut Placed) -> Option<Result<(), Failure>> {
        let Some(put) = self.puts.get(&put) else {
            return Some(Err(Failure::new(Code::BadRequest, "this put is not open")));
        };
        if placed.departures.replace(self.departures) != Some(self.departures)
            && let Err(failure) = self.check_named(put, placed)
        {
            return Some(Err(failure));
        }
        while placed.next < placed.chunks.len() {
            if !self.is_reported(placed, placed.next) {
                return None;
            }
            placed.next += 1;
        }
        // Each was reported once; meanwhile a copy may have been lost.
        match (0..placed.chunks.len()).find(|at| !self.is_reported(placed, *at)) {
            Some(lost) => {
                placed.next = lost;
                None
            }
            None => Some(Ok(())),
        }
    }

    /// Every named holder was offered, and one of each chunk is there.
    fn check_named(&self, put: &Put, placed: &Placed) -> Result<(), Failure> {
        for (digest, holders) in &placed.chunks {
            placed.count_look();
            if let Some(stranger) = holders.iter().find(|w| !put.offered.contains(w)) {
                let message = format!("chunk {digest} is said to be on {stranger}, which takes no chunk of this put");
                return Err(Failure::new(Code::BadRequest, message));
            }
            if !holders.iter().any(|w| self.holders.is_live(*w)) {
                let message = format!("chunk {digest}: every worker that it was stored on has left since");
                return Err(Failure::new(Code::ChunkUnavailable, message));
            }
        }
        Ok(())
    }

    /// Whether every named holder of a chunk that is there has reported it.
    fn is_reported(&self, placed: &Placed, at: usize) -> bool {
        placed.count_look();
        let (digest, holders) = &placed.chunks[at];
        let lacks = |w: &&WorkerId| self.holders.is_live(**w) && !self.holders.has(**w, *digest);
        planted::has(Planted::UnplacedCommitted) || holders.iter().find(lacks).is_none()
    }

    /// Checks the lengths of chunks that a client has put against the known ones: a job could not read them otherwise.
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

    /// The first chunk that a named holder has not reported.
    pub fn not_there(&self, placed: &Placed) -> Option<(Digest, WorkerId)> {
        placed.chunks.iter().find_map(|(digest, holders)| {
            let lacks = |w: &&WorkerId| self.holders.is_live(**w) && !self.holders.has(**w, *digest);
            Some((*digest, *holders.iter().find(lacks)?))
        })
    }

    /// Every copy is made: returns the dataset to record. Its name is reserved until `recorded`.
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

    /// Ends a put. The copies that clients have stored for an uncommitted one are deleted, unless another open put
    /// commits them. Until then nothing is deleted, and a reference keeps them.
    pub fn end_put(&mut self, put: PutId, now: Time) {
        self.changed = true;
        let Some(put) = self.puts.remove(&put) else { return };
        if put.commits || put.offered.is_empty() {
            return;
        }
        self.late_until = Some(now.plus_ms(LATE_MS));
        for (digest, workers) in put.arrived {
            self.failed.entry(digest).or_default().extend(workers);
            self.look_at(digest);
        }
    }

    /// The copies that clients have stored, for each open or failed put.
    fn stored(&mut self) -> impl Iterator<Item = &mut BTreeMap<Digest, BTreeSet<WorkerId>>> {
        self.puts.values_mut().map(|put| &mut put.arrived).chain([&mut self.failed])
    }

    /// A worker holds this chunk. If no client has stored it there, it existed before, and no put takes it along.
    pub(crate) fn keep_if_found_elsewhere(&mut self, worker: WorkerId, digest: Digest) {
        for stored in self.stored() {
            if stored.get(&digest).is_some_and(|workers| !workers.contains(&worker)) {
                stored.remove(&digest);
            }
        }
    }

    /// A worker is gone. When it is back, what it holds may not be what clients have stored.
    pub(crate) fn forget_stored(&mut self, worker: WorkerId) {
        for stored in self.stored() {
            stored.retain(|_, workers| {
                workers.remove(&worker);
                !workers.is_empty()
            });
        }
    }

    /// A client has stored these chunks on a worker, which did not hold them. Called before `held`. They may belong to
    /// an open put; without one, but shortly after a failed one, they belonged to that.
    ///
    /// Chunks that existed before, if only in a trash or on a worker that is away, are not among them: a failed put
    /// must only take its own chunks with it.
    pub fn arrived(&mut self, worker: WorkerId, digests: &[Digest], now: Time) {
        self.late_until.take_if(|until| *until <= now);
        for digest in digests {
            // One more copy for the same puts.
            self.stored().filter_map(|stored| stored.get_mut(digest)).for_each(|workers| _ = workers.insert(worker));
            let was_known = self.is_known(digest) || self.is_there(*digest) || self.orphans.is_known(*digest);
            let was_known = was_known && !planted::has(Planted::FailedPutTakesAll);
            if was_known || !self.holders.is_live(worker) || self.inventory_pending() {
                continue;
            }
            let mut puts = self.puts.values_mut().filter(|put| !put.offered.is_empty()).peekable();
            if puts.peek().is_none() && self.late_until.is_some() {
                self.failed.insert(*digest, BTreeSet::from([worker]));
            } else {
                let with_room = puts.filter(|put| put.arrived.len() < ARRIVED_MAX);
                with_room.for_each(|put| _ = put.arrived.insert(*digest, BTreeSet::from([worker])));
            }
        }
    }
}
