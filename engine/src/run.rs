//! Runs: sorted spills of one edge, and their merge.
//!
//! A run is a shuffle file of the attempt itself. It is mapped and then unlinked, so that nothing is left behind whatever happens,
//! and its disk space returns as soon as it has been merged. Runs stand in order of arrival, and only neighbours are merged, so that
//! equal keys keep their order through any number of passes.

use crate::error::{EngineError, Result};
use crate::mapped::MappedFile;
use crate::merge::{Cursor, Merge};
use crate::sort::Entry;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use windrow_format::block::{FormatError, Identity};
use windrow_format::codec::Codec;
use windrow_format::shuffle::{SegmentCursor, ShuffleWriter};
use windrow_model::{Order, Segment};

/// Most runs or segment files that are merged at once: what mappings and a read-ahead each still cost little for.
pub const FAN_IN_MAX: usize = 512;

/// A path in `folder` that no other run of this process has had.
pub fn unique_path(folder: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    folder.join(format!("run-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed)))
}

/// A shuffle file being written, with its path for errors.
pub struct Output {
    writer: ShuffleWriter,
    path: PathBuf,
}

impl Output {
    /// Creates the file.
    pub fn create(path: PathBuf, identity: Identity, codec: Codec, buffer: usize) -> Result<Self> {
        let writer = ShuffleWriter::create_with_buffer(&path, identity, codec, buffer);
        Ok(Output { writer: writer.map_err(EngineError::file(&path))?, path })
    }

    /// The file's digests cover the keys alone.
    pub fn digest_keys(mut self) -> Self {
        self.writer.digest_keys();
        self
    }

    /// Adds a record; partitions ascend.
    #[inline]
    pub fn push(&mut self, partition: u32, key: &[u8], value: &[u8]) -> Result<()> {
        self.writer.push(partition, key, value).map_err(EngineError::file(&self.path))
    }

    /// Completes the file.
    pub fn finish(self) -> Result<Vec<Segment>> {
        self.writer.finish().map_err(EngineError::file(&self.path))
    }
}

/// One segment of a mapped file, as a cursor.
pub struct MappedCursor {
    file: Arc<MappedFile>,
    start: usize,
    end: usize,
    cursor: SegmentCursor,
}

impl MappedCursor {
    /// Over `length` bytes at `offset`, which must belong to `identity`.
    pub fn new(file: Arc<MappedFile>, offset: u64, length: u64, identity: Identity) -> Result<Self, FormatError> {
        let end = offset.checked_add(length).filter(|end| *end <= file.len() as u64).ok_or(FormatError::Truncated)?;
        Ok(MappedCursor { file, start: offset as usize, end: end as usize, cursor: SegmentCursor::new(identity) })
    }

    /// Bytes of memory that it will need.
    pub fn buffer_bytes(&self) -> usize {
        SegmentCursor::buffer_bytes(self.segment())
    }

    #[inline]
    fn segment(&self) -> &[u8] {
        &self.file[self.start..self.end]
    }
}

impl Cursor for MappedCursor {
    #[inline]
    fn advance(&mut self) -> Result<bool, FormatError> {
        self.cursor.advance(&self.file[self.start..self.end])
    }
    #[inline]
    fn record(&self) -> (&[u8], &[u8]) {
        self.cursor.record(self.segment())
    }
}

/// The part of an edge that is still in memory, sorted.
pub trait Sorted {
    /// Walks some of its entries.
    type Cursor<'a>: Cursor
    where
        Self: 'a;
    /// All entries, in order.
    fn entries(&self) -> &[Entry];
    /// Over some neighbouring entries.
    fn cursor<'a>(&'a self, entries: &'a [Entry]) -> Self::Cursor<'a>;
}

/// What happens to the merged stream on its way to a file: copied, or folded.
pub trait Through {
    /// The next record, in order.
    fn record(&mut self, out: &mut Output, partition: u32, key: &[u8], value: &[u8]) -> Result<()>;
    /// After the last one.
    fn end(&mut self, out: &mut Output) -> Result<()>;
}

/// One sorted spill.
struct Run {
    file: Arc<MappedFile>,
    path: PathBuf,
    segments: Vec<Segment>,
}

/// The runs of one edge.
pub struct Runs {
    folder: PathBuf,
    identity: Identity,
    codec: Codec,
    order: Order,
    write_bytes: usize,
    list: Vec<Run>,
    written: u64,
    bytes: u64,
}

impl Runs {
    /// No runs yet; they will be written to `folder`.
    pub fn new(folder: PathBuf, identity: Identity, codec: Codec, order: Order, write_bytes: usize) -> Self {
        Runs { folder, identity, codec, order, write_bytes, list: Vec::new(), written: 0, bytes: 0 }
    }

    /// Whether nothing was spilled.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Runs written so far, those of merge passes included.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Bytes written to runs so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes a new run, the last in order of arrival.
    pub fn spill(&mut self, fill: impl FnOnce(&mut Output) -> Result<()>) -> Result<()> {
        let run = self.write(fill)?;
        self.list.push(run);
        Ok(())
    }

    fn write(&mut self, fill: impl FnOnce(&mut Output) -> Result<()>) -> Result<Run> {
        fs::create_dir_all(&self.folder).map_err(EngineError::io("create", &self.folder))?;
        let path = unique_path(&self.folder);
        let mut out = Output::create(path.clone(), self.identity, self.codec, self.write_bytes)?;
        let filled = fill(&mut out).and_then(|()| out.finish());
        let run = filled.and_then(|segments| Ok((segments, MappedFile::open(&path)?)));
        // Mapped or failed: the name has served.
        let removed = fs::remove_file(&path).map_err(EngineError::io("remove", &path));
        let (segments, file) = run?;
        removed?;
        self.written += 1;
        self.bytes += file.len() as u64;
        Ok(Run { file: Arc::new(file), path, segments })
    }

    /// Bytes of buffers that merging all runs at once needs.
    pub fn merge_bytes(&self) -> usize {
        self.list.iter().map(Run::buffer_bytes).sum()
    }

    /// Whether all runs can be merged at once within `memory` bytes of buffers.
    pub fn fit(&self, memory: usize) -> bool {
        self.list.len() <= FAN_IN_MAX && self.merge_bytes() <= memory
    }

    /// Merges neighbouring runs until the rest [fits](Self::fit).
    pub fn reduce(&mut self, memory: usize, through: &mut impl Through) -> Result<()> {
        while !self.fit(memory) && self.list.len() > 2 {
            let old = std::mem::take(&mut self.list);
            let mut group: Vec<Run> = Vec::new();
            let mut bytes = 0;
            for run in old {
                let more = run.buffer_bytes();
                if group.len() >= FAN_IN_MAX || (group.len() >= 2 && bytes + more > memory) {
                    self.merge_group(std::mem::take(&mut group), through)?;
                    bytes = 0;
                }
                bytes += more;
                group.push(run);
            }
            self.merge_group(group, through)?;
        }
        Ok(())
    }

    fn merge_group(&mut self, mut group: Vec<Run>, through: &mut impl Through) -> Result<()> {
        let run = match group.len() {
            1 => group.remove(0),
            _ => {
                let (order, identity) = (self.order, self.identity);
                self.write(|out| merge_runs::<Nothing>(&group, None, identity, order, through, out))?
            }
        };
        self.list.push(run);
        Ok(())
    }

    /// Merges all runs, and what is in memory behind them, into `out`.
    pub fn merge<M: Sorted>(&self, memory: Option<&M>, through: &mut impl Through, out: &mut Output) -> Result<()> {
        merge_runs(&self.list, memory, self.identity, self.order, through, out)
    }
}

impl Run {
    fn buffer_bytes(&self) -> usize {
        // Every segment's blocks are of the same size, a record larger than a block aside.
        if self.segments.is_empty() { 0 } else { SegmentCursor::buffer_bytes(&self.file) }
    }
}

fn merge_runs<M: Sorted>(
    runs: &[Run],
    memory: Option<&M>,
    identity: Identity,
    order: Order,
    through: &mut impl Through,
    out: &mut Output,
) -> Result<()> {
    let mut next = vec![0usize; runs.len()];
    let mut entries = memory.map_or(&[][..], |m| m.entries());
    loop {
        let of_runs = runs.iter().zip(&next).filter_map(|(run, at)| run.segments.get(*at)).map(|s| s.partition);
        let Some(partition) = of_runs.chain(entries.first().map(|e| e.partition)).min() else {
            break;
        };
        let mut cursors: Vec<Either<MappedCursor, M::Cursor<'_>>> = Vec::new();
        let mut paths: Vec<&Path> = Vec::new();
        for (run, at) in runs.iter().zip(&mut next) {
            if let Some(s) = run.segments.get(*at).filter(|s| s.partition == partition) {
                let identity = Identity { partition, ..identity };
                let cursor = MappedCursor::new(run.file.clone(), s.offset, s.length, identity);
                cursors.push(Either::Run(cursor.map_err(EngineError::file(&run.path))?));
                paths.push(&run.path);
                *at += 1;
            }
        }
        if let Some(memory) = memory {
            let (these, rest) = entries.split_at(entries.partition_point(|e| e.partition == partition));
            entries = rest;
            cursors.push(Either::Memory(memory.cursor(these)));
            paths.push(Path::new("memory"));
        }
        match order {
            Order::Key => {
                let mut merge = Merge::new(cursors).map_err(|e| EngineError::file(paths[e.cursor])(e.source))?;
                while let Some(cursor) = merge.current() {
                    let (key, value) = cursor.record();
                    through.record(out, partition, key, value)?;
                    merge.advance().map_err(|e| EngineError::file(paths[e.cursor])(e.source))?;
                }
            }
            Order::Arrival => {
                for (mut cursor, path) in cursors.into_iter().zip(paths) {
                    while cursor.advance().map_err(EngineError::file(path))? {
                        let (key, value) = cursor.record();
                        through.record(out, partition, key, value)?;
                    }
                }
            }
        }
    }
    through.end(out)
}

enum Either<A, B> {
    Run(A),
    Memory(B),
}

impl<A: Cursor, B: Cursor> Cursor for Either<A, B> {
    #[inline]
    fn advance(&mut self) -> Result<bool, FormatError> {
        match self {
            Either::Run(c) => c.advance(),
            Either::Memory(c) => c.advance(),
        }
    }
    #[inline]
    fn record(&self) -> (&[u8], &[u8]) {
        match self {
            Either::Run(c) => c.record(),
            Either::Memory(c) => c.record(),
        }
    }
}

/// No part in memory.
enum Nothing {}

impl Sorted for Nothing {
    type Cursor<'a> = MappedCursor;
    fn entries(&self) -> &[Entry] {
        match *self {}
    }
    fn cursor<'a>(&'a self, _: &'a [Entry]) -> MappedCursor {
        match *self {}
    }
}
