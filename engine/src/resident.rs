//! Task outputs kept in memory for the tasks of the same process that read them.
//!
//! The blocks of an output with large segments stay in the buffers in which they were built: they are not copied,
//! written or mapped ([`whole`]). Outputs with small segments are collected, and merged by partition
//! ([`batch`]): once there are enough of them, or when the first reader asks. If memory is short, batches are
//! files, and so is each output with large segments: see [memory](crate::memory).

mod batch;
mod whole;

use crate::error::Result;
use crate::mapped::MappedFile;
use crate::memory::{Claim, Memory};
use crate::run::unique_path;
use crate::segments::LocalSegment;
pub use batch::Hole;
use batch::{Batch, Maker, SmallOutput, StretchCursor};
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use whole::WholeOutput;
use windrow_format::block::Identity;
use windrow_format::segment_builder::Sealed;
use windrow_format::shuffle::Segments;
use windrow_model::{Segment, total};

/// Outputs whose segments have fewer bytes than this on average are merged.
const SMALL_SEGMENT: u64 = 4 << 10;
/// Bytes of small outputs from which on they are merged. A larger output is not merged with others.
const BATCH_BYTES: usize = 16 << 20;
/// The least of that if memory is short, and the part of the limit that it may be then.
const SHORT_BATCH_BYTES: usize = 1 << 20;
const SHORT_BATCH_PART: usize = 32;

/// Finished blocks with their partitions.
pub(crate) type Blocks = Vec<(u32, Sealed)>;

/// What became of the blocks of an output.
pub(crate) enum Kept {
    /// They are kept.
    Segments(Vec<Segment>),
    /// There is no room for them.
    Refused(Blocks),
}

/// A partition of an edge after its release.
#[derive(Debug, PartialEq, Eq)]
pub struct ReleasedPartition<T> {
    /// Values of outputs that are not kept here.
    pub others: Vec<T>,
    /// Parts of files to free.
    pub holes: Vec<Hole>,
}

/// Outputs in memory.
#[derive(Debug)]
pub struct InMemoryOutputs {
    memory: Arc<Memory>,
    /// For files; named in errors of readers of outputs in memory, too.
    folder: Arc<Path>,
    edges: Mutex<HashMap<EdgeKey, Edge>>,
}

/// One output of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct EdgeKey {
    job: [u8; 16],
    stage: u32,
    output: u32,
}

/// What all tasks of a stage have written to one of its outputs.
#[derive(Debug, Default)]
struct Edge {
    whole: HashMap<Maker, WholeOutput>,
    /// Outputs that wait for others to be merged with.
    small: Vec<SmallOutput>,
    /// Bytes of memory of `small`.
    small_bytes: usize,
    /// Whether some of them were taken although there was no room.
    is_short: bool,
    batches: Vec<Batch>,
    /// The number of each merged output's batch, and its position in it.
    merged: HashMap<Maker, (usize, u32)>,
}

impl InMemoryOutputs {
    /// Creates an empty store, whose outputs count as a part of `memory`. Files are made in `folder`, which must exist
    /// then.
    pub fn new(memory: Arc<Memory>, folder: &Path) -> Self {
        InMemoryOutputs { memory, folder: folder.into(), edges: Mutex::default() }
    }

    fn edges(&self) -> std::sync::MutexGuard<'_, HashMap<EdgeKey, Edge>> {
        self.edges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an output whose bytes `claim` holds until now and returns its segments, with the offsets that they would
    /// have in a file. Readers must not ask for outputs of an edge before the last call for that edge has returned.
    ///
    /// # Errors
    /// A batch cannot be written to its file.
    pub(crate) fn keep(&self, of: &Identity, mut blocks: Blocks, claim: &mut Claim) -> Result<Kept> {
        // Stable: blocks of a partition keep their order.
        blocks.sort_by_key(|(partition, _)| *partition);
        let mut segments = Segments::default();
        blocks.iter().for_each(|(partition, sealed)| segments.add(*partition, &sealed.header));
        let segments = segments.into_list();
        let stored = total(segments.iter().map(|s| s.length));
        let is_small = stored < (SMALL_SEGMENT * segments.len() as u64).min(BATCH_BYTES as u64);
        let held: usize = blocks.iter().map(|(_, sealed)| sealed.memory()).sum();
        let has_room = claim.keep(held);
        if !has_room && !is_small {
            return Ok(Kept::Refused(blocks));
        }
        // A small output waits in memory in any case: it is a part of what is written soon.
        let bytes = if has_room { held } else { 0 };
        let (key, maker) = (EdgeKey::of(of), Maker::of(of));
        if !is_small {
            let output = WholeOutput::new(blocks);
            // The joined pieces take less memory than the blocks did.
            self.memory.resize_resident(bytes, output.memory());
            self.edges().entry(key).or_default().whole.insert(maker, output);
            return Ok(Kept::Segments(segments));
        }
        let output = small(maker, stored as usize, blocks, &segments);
        self.memory.resize_resident(bytes, output.memory());
        let mut edges = self.edges();
        let edge = edges.entry(key).or_default();
        edge.small_bytes += output.memory();
        edge.small.push(output);
        edge.is_short |= !has_room;
        let is_short = edge.is_short;
        let enough = if is_short { self.short_batch_bytes() } else { BATCH_BYTES };
        if edge.small_bytes >= enough {
            // Without the lock: readers ask for them only after this call has returned.
            let full = edge.take_small();
            drop(edges);
            let merged = if is_short { self.merge_to_disk(full)? } else { self.merge(full) };
            self.edges().entry(key).or_default().add(merged);
        }
        Ok(Kept::Segments(segments))
    }

    fn short_batch_bytes(&self) -> usize {
        (self.memory.limit() / SHORT_BATCH_PART).clamp(SHORT_BATCH_BYTES, BATCH_BYTES)
    }

    fn merge(&self, outputs: Vec<SmallOutput>) -> (Batch, Vec<Maker>) {
        let before = outputs.iter().map(SmallOutput::memory).sum();
        let (batch, makers) = Batch::in_memory(outputs);
        self.memory.resize_resident(before, batch.memory());
        (batch, makers)
    }

    fn merge_to_disk(&self, outputs: Vec<SmallOutput>) -> Result<(Batch, Vec<Maker>)> {
        let before = outputs.iter().map(SmallOutput::memory).sum();
        let written = Batch::on_disk(outputs, &unique_path(&self.folder));
        self.memory.resize_resident(before, 0);
        written
    }

    /// The local segments of a task's input, in the order of `wanted`: a segment that is kept here as one or several
    /// pieces, and any other (and one that was released) as a part of the file that `file` names by its position. The
    /// identities need no partition.
    pub fn locate<'s>(
        &self,
        wanted: impl Iterator<Item = (Identity, &'s Segment)>,
        file: impl Fn(usize) -> PathBuf,
    ) -> Vec<LocalSegment> {
        let mut found = Vec::with_capacity(wanted.size_hint().0);
        let mut edges = self.edges();
        // Most inputs are one partition of one edge.
        let mut cursors: Option<(EdgeKey, u32, Vec<StretchCursor>)> = None;
        for (at, (identity, segment)) in wanted.enumerate() {
            let (key, maker) = (EdgeKey::of(&identity), Maker::of(&identity));
            let edge = edges.entry(key).or_default();
            if !edge.small.is_empty() {
                let merged = self.merge(edge.take_small());
                edge.add(merged);
            }
            let resident = |path: &Arc<Path>, at: Range<usize>, bytes: &Arc<MappedFile>| {
                LocalSegment::in_memory(path.clone(), at, segment, identity, bytes.clone())
            };
            let before = found.len();
            if let Some((number, position)) = edge.merged.get(&maker) {
                let fits = |(k, partition, _): &&mut (EdgeKey, u32, Vec<StretchCursor>)| {
                    *k == key && *partition == segment.partition
                };
                let open = match cursors.as_mut().filter(fits) {
                    Some((.., open)) => open,
                    None => {
                        let all = edge.batches.iter().map(|batch| batch.partition(segment.partition)).collect();
                        &mut cursors.insert((key, segment.partition, all)).2
                    }
                };
                let path = edge.batches[*number].path().unwrap_or(&self.folder);
                let segment = open[*number].find(*position);
                found.extend(segment.map(|(bytes, at)| resident(path, at, bytes)));
            } else if let Some(output) = edge.whole.get(&maker) {
                let pieces = output.partition(segment.partition).iter();
                found.extend(pieces.filter_map(|piece| {
                    let bytes = piece.bytes.as_ref()?;
                    let (records, raw_length) = (piece.records, piece.raw_length);
                    Some(LocalSegment { records, raw_length, ..resident(&self.folder, 0..bytes.len(), bytes) })
                }));
            }
            if found.len() == before {
                found.push(LocalSegment::of(file(at), segment, identity));
            }
        }
        found
    }

    /// Drops a partition of all outputs of an edge, which must have no further readers. Job, stage, output and partition
    /// of `of` count. `all` are all outputs that have records for it.
    pub fn release_partition<T>(
        &self,
        of: &Identity,
        all: impl Iterator<Item = (Identity, T)>,
    ) -> ReleasedPartition<T> {
        let mut freed = Vec::new();
        let mut edges = self.edges();
        let Some(edge) = edges.get_mut(&EdgeKey::of(of)) else {
            return ReleasedPartition { others: all.map(|(_, value)| value).collect(), holes: Vec::new() };
        };
        let others = all.filter(|(output, _)| !edge.holds(&Maker::of(output)));
        let others = others.map(|(_, value)| value).collect();
        edge.whole.values_mut().for_each(|output| output.release(of.partition, &mut freed));
        let holes = edge.batches.iter_mut().filter_map(|batch| batch.release(of.partition, &mut freed)).collect();
        drop(edges);
        self.free(freed);
        ReleasedPartition { others, holes }
    }

    /// Drops an output, which must have no further readers. Returns whether it was kept here.
    pub fn release(&self, of: &Identity) -> bool {
        let mut freed = Vec::new();
        let mut edges = self.edges();
        let Some(edge) = edges.get_mut(&EdgeKey::of(of)) else { return false };
        let maker = Maker::of(of);
        if let Some((number, _)) = edge.merged.remove(&maker) {
            let batch = &mut edge.batches[number];
            batch.live -= 1;
            if batch.live == 0 {
                batch.release_all(&mut freed);
            }
            drop(edges);
            self.free(freed);
        } else if let Some(output) = edge.whole.remove(&maker) {
            drop(edges);
            self.memory.resize_resident(output.memory(), 0);
        } else if let Some(at) = edge.small.iter().position(|output| output.maker == maker) {
            let bytes = edge.small.swap_remove(at).memory();
            edge.small_bytes -= bytes;
            drop(edges);
            self.memory.resize_resident(bytes, 0);
        } else {
            return false;
        }
        true
    }

    /// Frees memory, without the lock.
    fn free(&self, bytes: Vec<Arc<MappedFile>>) {
        self.memory.resize_resident(bytes.iter().map(|b| b.memory()).sum(), 0);
    }
}

impl EdgeKey {
    fn of(identity: &Identity) -> Self {
        EdgeKey { job: identity.job, stage: identity.stage, output: identity.output }
    }
}

impl Maker {
    fn of(identity: &Identity) -> Self {
        Maker { task: identity.task, attempt: identity.attempt, epoch: identity.epoch }
    }
}

impl Edge {
    fn take_small(&mut self) -> Vec<SmallOutput> {
        (self.small_bytes, self.is_short) = (0, false);
        std::mem::take(&mut self.small)
    }

    fn add(&mut self, (batch, makers): (Batch, Vec<Maker>)) {
        let number = self.batches.len();
        self.batches.push(batch);
        for (position, maker) in (0u32..).zip(makers) {
            self.merged.insert(maker, (number, position));
        }
    }

    fn holds(&self, maker: &Maker) -> bool {
        self.merged.contains_key(maker)
            || self.whole.contains_key(maker)
            || self.small.iter().any(|o| o.maker == *maker)
    }
}

/// Copies blocks, which are sorted by partition, out of their buffers.
fn small(maker: Maker, stored: usize, blocks: Blocks, segments: &[Segment]) -> SmallOutput {
    let mut bytes = Vec::with_capacity(stored);
    blocks.iter().for_each(|(_, sealed)| bytes.extend_from_slice(sealed.as_slice()));
    drop(blocks);
    SmallOutput { maker, bytes, partitions: segments.iter().map(|s| (s.partition, s.length as u32)).collect() }
}

#[cfg(test)]
mod tests;
