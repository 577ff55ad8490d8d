//! References to chunks: by every dataset that has the chunk, and every job that reads it or has written it.
//!
//! A recorded change that removes the last reference *orders* the deletion of the chunk, wherever it appears. A new
//! reference takes the order back.

use crate::names::REPLICAS;
use crate::planted::{self, Planted};
use crate::table::{Datasets, Pin};
use std::collections::BTreeMap;
use windrow_model::{Code, Dataset, DatasetChunk, Digest, Failure, Framing, JobId, WorkerId};

/// Bound on the deletions that are remembered for workers which are away.
const ORDERED_MAX: usize = 100_000;

impl Datasets {
    /// Whether the journal knows a chunk.
    pub fn is_known(&self, digest: &Digest) -> bool {
        self.references.contains_key(digest)
    }

    /// A task of the job has left this chunk on its worker. It is copied next, and stays until `unpin`.
    pub fn keep_output(&mut self, job: JobId, worker: WorkerId, chunk: DatasetChunk) {
        self.held(worker, [chunk.digest]);
        self.urgent.insert(chunk.digest);
        self.keep(job, vec![chunk], false);
    }

    /// Chunks that a job of an earlier epoch reads stay until `unpin`.
    pub fn keep_inputs(&mut self, job: JobId, chunks: Vec<DatasetChunk>) {
        if chunks.is_empty() {
            return;
        }
        self.may_lack = true;
        self.keep(job, chunks, true);
    }

    fn keep(&mut self, job: JobId, chunks: Vec<DatasetChunk>, is_input: bool) {
        let kept = Dataset { name: String::new(), version: 0, framing: Framing::Whole, replicas: REPLICAS, chunks };
        self.refer(&kept);
        self.pins.entry(job).or_default().push(Pin { dataset: kept, is_input });
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
                // Fatal here: the submitter can check the workers and submit again.
                return Err(Failure::new(Code::ChunkUnavailable, message));
            }
            pinned.insert(name.to_string(), dataset.clone());
        }
        if planted::has(Planted::PinsUncounted) {
            return Ok(pinned);
        }
        pinned.values().for_each(|dataset| self.refer(dataset));
        let pins = pinned.values().map(|dataset| Pin { dataset: dataset.clone(), is_input: true });
        self.pins.entry(job).or_default().extend(pins);
        Ok(pinned)
    }

    /// The end of the job is recorded.
    pub fn unpin(&mut self, job: JobId) {
        for pin in self.pins.remove(&job).unwrap_or_default() {
            self.release(&pin.dataset);
        }
    }

    /// Jobs that read a chunk without any copy left, each with that chunk. Leaves out chunks that a worker may still
    /// list or bring back.
    pub fn take_lacking(&mut self) -> Vec<(JobId, Digest)> {
        if self.inventory_pending() || !std::mem::take(&mut self.may_lack) {
            return Vec::new();
        }
        let is_gone = |digest: &Digest| !self.is_there(*digest) && !self.holders.may_return(*digest);
        let chunks = |pins: &[Pin]| {
            let inputs = pins.iter().filter(|pin| pin.is_input);
            inputs.flat_map(|pin| &pin.dataset.chunks).map(|c| c.digest).find(&is_gone)
        };
        self.pins.iter().filter_map(|(job, pins)| Some((*job, chunks(pins)?))).collect()
    }

    /// Orders the deletion of a chunk that has lost its last reference, wherever it appears.
    fn order(&mut self, digest: Digest) {
        self.ordered.insert(digest);
        self.ordered_last.push_back(digest);
        self.unrecorded.push(digest);
        self.look_at(digest);
    }

    pub(crate) fn refer(&mut self, dataset: &Dataset) {
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

    /// A recorded change removes these references.
    pub(crate) fn release(&mut self, dataset: &Dataset) {
        self.changed = true;
        while self.ordered_last.len() > ORDERED_MAX
            && let Some(oldest) = self.ordered_last.pop_front()
        {
            // If it appears later after all, it is an orphan.
            if !self.doomed.contains(&oldest) {
                self.ordered.remove(&oldest);
            }
        }
        for chunk in &dataset.chunks {
            if let Some(reference) = self.references.get_mut(&chunk.digest) {
                reference.count -= 1;
                if reference.count == 0 || planted::has(Planted::AllReferencesTaken) {
                    self.references.remove(&chunk.digest);
                    self.order(chunk.digest);
                }
            }
        }
    }
}
