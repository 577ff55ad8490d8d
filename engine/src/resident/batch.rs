//! Small outputs of many tasks, merged by partition.
//!
//! A shuffle has a segment for each pair of a task and a partition. With many of both, segments are small, and whatever
//! is done for each of them (an allocation, a search, a mapping, a release) costs more than their bytes. A batch has one
//! stretch for each partition instead, which holds the segments of all its tasks in task order:
//!
//! ```text
//! for each task that has records: varint position of the task in the batch, minus that of the one before;
//!                                 varint length; blocks
//! ```
//! Stretches are buffers, or parts of one file if memory is short. Blocks keep their checksums and identities, so readers
//! check them like those of any file. Other systems merge the outputs of finished tasks for the same reason: Riffle
//! (EuroSys 2018), Magnet (VLDB 2020).

use crate::error::{EngineError, Result};
use crate::mapped::MappedFile;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use windrow_format::block::{self, FormatError};
use windrow_format::{gather, private};

/// Holes in files start and end at multiples of this, because the system frees whole pages only.
const ALIGN: usize = 64 << 10;
/// Bytes before a segment in its stretch.
const HEAD_BYTES_MAX: usize = 10;
/// Bytes of a hole, except for the last one of a file.
const HOLE_MIN: usize = 1 << 20;

/// An attempt, within its stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Maker {
    pub task: u32,
    pub attempt: u32,
    pub epoch: u64,
}

/// One small output before it is merged.
#[derive(Debug)]
pub(super) struct SmallOutput {
    pub maker: Maker,
    /// Its blocks, partition after partition.
    pub bytes: Vec<u8>,
    /// Each partition that has records, ascending, with the length of its blocks.
    pub partitions: Vec<(u32, u32)>,
}

impl SmallOutput {
    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity() + self.partitions.capacity() * size_of::<(u32, u32)>()
    }
}

/// A part of a file that no reader needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The file.
    pub path: Arc<Path>,
    /// Offset of the first byte.
    pub from: u64,
    /// Offset after the last byte.
    pub to: u64,
}

/// Merged outputs.
#[derive(Debug)]
pub(super) struct Batch {
    /// By ascending partition.
    stretches: Vec<Stretch>,
    file: Option<BatchFile>,
    /// By position.
    makers: Arc<[Maker]>,
    /// Outputs that have not been released.
    pub live: usize,
}

/// All segments of one partition.
#[derive(Debug)]
struct Stretch {
    partition: u32,
    /// In the buffer, or in the file.
    range: Range<usize>,
    segments: u32,
    /// None once the partition has been released.
    bytes: Option<Arc<MappedFile>>,
}

/// The file of a batch. It is removed on drop.
#[derive(Debug)]
struct BatchFile {
    path: Arc<Path>,
    /// Offset up to which the file has been freed.
    gone: usize,
    /// All stretches before this one are released.
    low: usize,
}

/// The segments of a partition, merged.
#[derive(Debug)]
struct Merged {
    partition: u32,
    bytes: Vec<u8>,
    segments: u32,
}

impl Batch {
    /// Merges outputs in memory. Copies every byte once.
    pub(super) fn in_memory(outputs: Vec<SmallOutput>) -> Batch {
        let (merged, makers) = merged(outputs);
        let stretches = merged.into_iter().map(Stretch::in_memory).collect();
        Batch { stretches, file: None, live: makers.len(), makers }
    }

    /// Merges outputs into a new file.
    pub(super) fn on_disk(outputs: Vec<SmallOutput>, path: &Path) -> Result<Batch> {
        let (merged, makers) = merged(outputs);
        let (stretches, file) = written(merged, path)?;
        Ok(Batch { stretches, file: Some(file), live: makers.len(), makers })
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        self.stretches.iter().filter_map(|s| s.bytes.as_ref()).map(|bytes| bytes.memory()).sum()
    }

    /// Who made the merged outputs, by position.
    pub(super) fn makers(&self) -> &[Maker] {
        &self.makers
    }

    /// The segments of a partition. None if there are none, or if it was released.
    pub(super) fn stretch(&self, partition: u32) -> Option<SharedStretch> {
        let stretch = &self.stretches[self.find(partition)?];
        Some(SharedStretch {
            bytes: stretch.bytes.clone()?,
            range: stretch.range.clone(),
            segments: stretch.segments,
            makers: self.makers.clone(),
            path: self.file.as_ref().map(|file| file.path.clone()),
        })
    }

    /// Takes the bytes of a partition out, which has no further readers; returns a part of the file to free.
    pub(super) fn release(&mut self, partition: u32, freed: &mut Vec<Arc<MappedFile>>) -> Option<Hole> {
        let at = self.find(partition)?;
        freed.extend(self.stretches[at].bytes.take());
        let Batch { stretches, file, .. } = self;
        let file = file.as_mut()?;
        while stretches.get(file.low).is_some_and(|s| s.bytes.is_none()) {
            file.low += 1;
        }
        let end = match stretches.get(file.low) {
            Some(first) => first.range.start / ALIGN * ALIGN,
            None => stretches.last()?.range.end,
        };
        let is_last = file.low == stretches.len();
        if end - file.gone < if is_last { 1 } else { HOLE_MIN } {
            return None;
        }
        let from = std::mem::replace(&mut file.gone, end) as u64;
        Some(Hole { path: file.path.clone(), from, to: end as u64 })
    }

    /// Takes all bytes out.
    pub(super) fn release_all(&mut self, freed: &mut Vec<Arc<MappedFile>>) {
        freed.extend(self.stretches.iter_mut().filter_map(|s| s.bytes.take()));
        self.file = None;
    }

    fn find(&self, partition: u32) -> Option<usize> {
        self.stretches.binary_search_by_key(&partition, |s| s.partition).ok()
    }
}

impl Stretch {
    fn in_memory(merged: Merged) -> Stretch {
        let Merged { partition, mut bytes, segments } = merged;
        bytes.shrink_to_fit();
        Stretch { partition, range: 0..bytes.len(), segments, bytes: Some(Arc::new(MappedFile::of_bytes(bytes))) }
    }
}

/// The segments of all outputs by partition, each with position and length before it; and the makers by position.
fn merged(mut outputs: Vec<SmallOutput>) -> (Vec<Merged>, Arc<[Maker]>) {
    outputs.sort_unstable_by_key(|output| output.maker);
    let mut lengths: Vec<(u32, usize)> = Vec::new();
    for (partition, length) in outputs.iter().flat_map(|output| &output.partitions) {
        lengths.push((*partition, *length as usize + HEAD_BYTES_MAX));
    }
    lengths.sort_unstable_by_key(|(partition, _)| *partition);
    lengths.dedup_by(|next, sum| {
        let same = next.0 == sum.0;
        sum.1 += if same { next.1 } else { 0 };
        same
    });
    let empty = |(partition, length)| Merged { partition, bytes: Vec::with_capacity(length), segments: 0 };
    let mut merged: Vec<Merged> = lengths.into_iter().map(empty).collect();
    let mut before = vec![0; merged.len()];
    for (position, output) in (0u32..).zip(&outputs) {
        let (mut from, mut at) = (0, 0);
        for (partition, length) in &output.partitions {
            // Both lists ascend, and most outputs have records for most partitions.
            while merged[at].partition != *partition {
                at += 1;
            }
            let to = &mut merged[at];
            let end = from + *length as usize;
            let step = position - std::mem::replace(&mut before[at], position);
            let (head, n) = block::lengths(step as usize, *length as usize);
            to.bytes.extend_from_slice(&head[..n]);
            to.bytes.extend_from_slice(&output.bytes[from..end]);
            to.segments += 1;
            from = end;
        }
    }
    (merged, outputs.iter().map(|output| output.maker).collect())
}

fn written(merged: Vec<Merged>, path: &Path) -> Result<(Vec<Stretch>, BatchFile)> {
    let mut to = private::create_new(path).map_err(EngineError::io("create", path))?;
    let file = BatchFile { path: path.into(), gone: 0, low: 0 };
    let bytes = merged.iter().map(|merged| &merged.bytes[..]);
    gather::write_all(&mut to, bytes).map_err(EngineError::io("write", path))?;
    let map = Arc::new(MappedFile::open(path)?);
    let mut end = 0;
    let stretch = |Merged { partition, bytes, segments }: Merged| {
        let start = end;
        end += bytes.len();
        Stretch { partition, range: start..end, segments, bytes: Some(map.clone()) }
    };
    Ok((merged.into_iter().map(stretch).collect(), file))
}

impl Drop for BatchFile {
    fn drop(&mut self) {
        // What cannot be removed now goes with the folder.
        let _ = fs::remove_file(&self.path);
    }
}

/// The segments of one partition, which stay readable after the partition was released.
#[derive(Debug)]
pub(super) struct SharedStretch {
    bytes: Arc<MappedFile>,
    range: Range<usize>,
    segments: u32,
    makers: Arc<[Maker]>,
    path: Option<Arc<Path>>,
}

impl SharedStretch {
    /// The path of the file, if it is a part of one.
    pub(super) fn path(&self) -> Option<&Arc<Path>> {
        self.path.as_ref()
    }

    /// Calls `f` with each segment in the order of the tasks: its maker, and the bytes that hold it with its range in them.
    ///
    /// # Errors
    /// The bytes are damaged so that a segment cannot be found. A wrong place that is found nevertheless is an error of the
    /// segment's reader: its blocks are checked against the identity of the maker.
    pub(super) fn each_segment(
        &self,
        mut f: impl FnMut(&Maker, &Arc<MappedFile>, Range<usize>),
    ) -> Result<(), FormatError> {
        let mut position = 0usize;
        let mut next = self.range.start;
        for _ in 0..self.segments {
            let (maker, at) = self.segment(&mut position, next)?;
            next = at.end;
            f(maker, &self.bytes, at);
        }
        if next != self.range.end {
            return Err(FormatError::Malformed("a batch has more bytes than segments"));
        }
        Ok(())
    }

    fn segment(&self, position: &mut usize, head: usize) -> Result<(&Maker, Range<usize>), FormatError> {
        let (at, step) = block::read_varint(&self.bytes, head)?;
        let (at, length) = block::read_varint(&self.bytes, at)?;
        *position = position.saturating_add(step);
        let maker = self.makers.get(*position).ok_or(FormatError::Malformed("a batch has no such output"))?;
        let end = at.checked_add(length).filter(|end| *end <= self.range.end).ok_or(FormatError::Truncated)?;
        Ok((maker, at..end))
    }
}
