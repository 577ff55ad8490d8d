//! Task outputs kept in memory for the tasks of the same process that read them.
//!
//! The blocks of an output with large segments stay in the buffers in which they were built: they are not copied,
//! written or mapped ([`whole`]). Outputs with small segments are collected, and merged by partition
//! ([`batch`]): once there are enough of them, or when the first reader asks. If memory is short, batches are
//! files, and so is each output with large segments: see [memory](crate::memory).

mod batch;
mod whole;

use crate::error::{EngineError, Result};
use crate::mapped::MappedFile;
use crate::memory::{Claim, Memory};
use crate::run::unique_path;
use crate::segments::LocalSegment;
pub use batch::Hole;
use batch::{Batch, Maker, SmallOutput};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use whole::WholeOutput;
use windrow_format::block::{HEADER_BYTES, Header, Identity};
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
    /// The number of each merged output's batch.
    merged: HashMap<Maker, usize>,
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
        // A merged output may become a file.
        blocks.iter_mut().for_each(|(partition, sealed)| sealed.check(&Identity { partition: *partition, ..*of }));
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

    fn merge(&self, outputs: Vec<SmallOutput>) -> Batch {
        let before = outputs.iter().map(SmallOutput::memory).sum();
        let batch = Batch::in_memory(outputs);
        self.memory.resize_resident(before, batch.memory());
        batch
    }

    fn merge_to_disk(&self, outputs: Vec<SmallOutput>) -> Result<Batch> {
        let before = outputs.iter().map(SmallOutput::memory).sum();
        let written = Batch::on_disk(outputs, &unique_path(&self.folder));
        self.memory.resize_resident(before, 0);
        written
    }

    /// The segments of one partition of an edge in the order of the tasks, of the outputs that are kept here. Job, stage, output
    /// and partition of `of` count; `counts` tells which attempts do. A segment is one or several neighbouring pieces. Costs one
    /// step for each kept output; the lock is held for each batch and not for each output.
    ///
    /// # Errors
    /// The file of a batch is damaged, so that its segments cannot be found.
    pub fn partition(&self, of: &Identity, counts: impl Fn(&Identity) -> bool) -> Result<Vec<LocalSegment>> {
        let mut found = Vec::new();
        let mut stretches = Vec::new();
        {
            let mut edges = self.edges();
            let Some(edge) = edges.get_mut(&EdgeKey::of(of)) else { return Ok(found) };
            if !edge.small.is_empty() {
                let merged = self.merge(edge.take_small());
                edge.add(merged);
            }
            stretches.extend(edge.batches.iter().filter_map(|batch| batch.stretch(of.partition)));
            for (maker, output) in &edge.whole {
                let identity = maker.identity(of);
                for piece in output.partition(of.partition) {
                    let Some(bytes) = piece.bytes.as_ref() else { continue };
                    let at = (0..bytes.len(), bytes.clone());
                    let segment = in_memory(&self.folder, identity, at, (piece.records, piece.raw_length));
                    found.push(segment.unchecked());
                }
            }
        }
        for stretch in stretches {
            let path = stretch.path().unwrap_or(&self.folder).clone();
            let each = |maker: &Maker, bytes: &Arc<MappedFile>, at: Range<usize>| {
                let sizes = sizes(&bytes[at.clone()]);
                found.push(in_memory(&path, maker.identity(of), (at, bytes.clone()), sizes));
            };
            stretch.each_segment(each).map_err(EngineError::file(&path))?;
        }
        found.retain(|segment| counts(&segment.identity));
        // Stable: pieces of a segment keep their order. Each batch is sorted already.
        found.sort_by_key(|segment| segment.identity.task);
        Ok(found)
    }

    /// Drops a partition of all outputs of an edge, which must have no further readers. Job, stage, output and partition
    /// of `of` count. Returns parts of files to free.
    pub fn release_partition(&self, of: &Identity) -> Vec<Hole> {
        let mut freed = Vec::new();
        let mut edges = self.edges();
        let Some(edge) = edges.get_mut(&EdgeKey::of(of)) else { return Vec::new() };
        edge.whole.values_mut().for_each(|output| output.release(of.partition, &mut freed));
        let holes = edge.batches.iter_mut().filter_map(|batch| batch.release(of.partition, &mut freed)).collect();
        drop(edges);
        self.free(freed);
        holes
    }

    /// Drops an output, which must have no further readers. Returns whether it was kept here.
    pub fn release(&self, of: &Identity) -> bool {
        let mut freed = Vec::new();
        let mut edges = self.edges();
        let Some(edge) = edges.get_mut(&EdgeKey::of(of)) else { return false };
        let maker = Maker::of(of);
        if let Some(number) = edge.merged.remove(&maker) {
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

    /// The identity of its part of a partition of an edge.
    fn identity(&self, of: &Identity) -> Identity {
        Identity { task: self.task, attempt: self.attempt, epoch: self.epoch, ..*of }
    }
}

impl Edge {
    fn take_small(&mut self) -> Vec<SmallOutput> {
        (self.small_bytes, self.is_short) = (0, false);
        std::mem::take(&mut self.small)
    }

    fn add(&mut self, batch: Batch) {
        let number = self.batches.len();
        self.merged.extend(batch.makers().iter().map(|maker| (*maker, number)));
        self.batches.push(batch);
    }
}

/// A segment at a place in bytes, with its records and their bytes before compression.
fn in_memory(
    path: &Arc<Path>,
    identity: Identity,
    (at, bytes): (Range<usize>, Arc<MappedFile>),
    (records, raw_length): (u64, u64),
) -> LocalSegment {
    let (offset, length) = (at.start as u64, at.len() as u64);
    let segment = Segment { partition: identity.partition, offset, length, records, raw_length, digest: 0 };
    LocalSegment::in_memory(path.clone(), &segment, identity, bytes)
}

/// Records of a segment and their bytes before compression, as the headers of its blocks say. A reader finds what is wrong with
/// a header that does not parse.
fn sizes(mut segment: &[u8]) -> (u64, u64) {
    let (mut records, mut raw_length) = (0, 0);
    while let Ok(header) = Header::parse(segment) {
        records += u64::from(header.records);
        raw_length += u64::from(header.raw_length);
        segment = segment.get(HEADER_BYTES + header.stored_length as usize..).unwrap_or_default();
    }
    (records, raw_length)
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
