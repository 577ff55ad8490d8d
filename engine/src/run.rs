//! Runs: sorted spills of one input, and their merge.
//!
//! A run is a shuffle file with a single segment. It is mapped and then unlinked, so that nothing is left behind whatever happens,
//! and its disk space returns as soon as it has been merged. Runs stand in order of arrival, and only neighbours are merged, so that
//! equal keys keep their order through any number of passes.

use crate::error::{EngineError, Result};
use crate::mapped::MappedFile;
use crate::memory::Claim;
use crate::merge::{Cursor, Merge};
use crate::segments::Pairs;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use windrow_failpoint::failpoint;
use windrow_format::block::{FormatError, Identity};
use windrow_format::codec::Codec;
use windrow_format::quota::Charged;
use windrow_format::shuffle::{SegmentCursor, ShuffleWriter};

/// Most runs or segment files that are merged at once: what mappings and a read-ahead each still cost little for.
pub const FAN_IN_MAX: usize = 512;

/// A path in `folder` that no other run of this process has had.
pub fn unique_path(folder: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    folder.join(format!("run-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed)))
}

/// A run being written, with its path for errors.
pub struct Output {
    writer: ShuffleWriter,
    path: PathBuf,
}

impl Output {
    /// Creates the file.
    fn create(path: PathBuf, codec: Codec) -> Result<Self> {
        let writer = ShuffleWriter::create(&path, Identity::default(), codec);
        Ok(Output { writer: writer.map_err(EngineError::file(&path))?, path })
    }

    /// Adds a record; keys ascend.
    #[inline]
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.writer.push(0, key, value).map_err(EngineError::file(&self.path))
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

    /// The file.
    pub fn file(&self) -> &Arc<MappedFile> {
        &self.file
    }

    /// First byte of the segment in the file.
    pub fn start(&self) -> usize {
        self.start
    }

    /// The segment's bytes.
    #[inline]
    pub fn segment(&self) -> &[u8] {
        &self.file[self.start..self.end]
    }
}

impl MappedCursor {
    /// Calls `f` with every record that is left, the current one not included.
    #[inline]
    pub fn for_each<E: From<FormatError>>(
        &mut self,
        f: &mut impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.cursor.for_each(&self.file[self.start..self.end], f)
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

/// What happens to a merged stream on its way to a file: copied, or folded.
pub trait Through {
    /// The next record, in order.
    fn record(&mut self, out: &mut Output, key: &[u8], value: &[u8]) -> Result<()>;
    /// After the last one.
    fn end(&mut self, out: &mut Output) -> Result<()>;
}

/// Records go through as they are.
pub struct Copied;

impl Through for Copied {
    #[inline]
    fn record(&mut self, out: &mut Output, key: &[u8], value: &[u8]) -> Result<()> {
        out.push(key, value)
    }
    fn end(&mut self, _: &mut Output) -> Result<()> {
        Ok(())
    }
}

/// One sorted spill: a mapped file that has no name any more.
pub struct Run {
    file: Arc<MappedFile>,
    /// The name that it had, for errors.
    path: PathBuf,
    length: u64,
    /// How often its records have been merged.
    level: u32,
    /// Its disk space counts for as long as it is there.
    _charged: Charged,
}

impl Run {
    /// Writes a run to `folder`; says also how many bytes it takes.
    pub fn write(folder: &Path, codec: Codec, fill: impl FnOnce(&mut Output) -> Result<()>) -> Result<Run> {
        fs::create_dir_all(folder).map_err(EngineError::io("create", folder))?;
        let path = unique_path(folder);
        let mut out = Output::create(path.clone(), codec)?;
        let filled = failpoint!("spill").map_err(EngineError::io("write", &path)).and_then(|()| fill(&mut out));
        let filled = filled.and_then(|()| out.writer.finish_for_now().map_err(EngineError::file(&path)));
        let run = filled.and_then(|(segments, charged)| Ok((segments, charged, MappedFile::open(&path)?)));
        // Mapped or failed: the name has served.
        let removed = fs::remove_file(&path).map_err(EngineError::io("remove", &path));
        let (segments, charged, file) = run?;
        removed?;
        let length = segments.first().map_or(0, |s| s.length);
        Ok(Run { file: Arc::new(file), path, length, level: 0, _charged: charged })
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.file.len() as u64
    }

    /// Where it lay.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn buffer_bytes(&self) -> usize {
        // All blocks are of the same size, a record larger than a block aside.
        if self.length == 0 { 0 } else { SegmentCursor::buffer_bytes(&self.file) }
    }

    /// Before its first record.
    pub fn cursor(&self) -> Result<MappedCursor> {
        let cursor = MappedCursor::new(self.file.clone(), 0, self.length, Identity::default());
        cursor.map_err(EngineError::file(&self.path))
    }
}

/// The runs of one input.
pub struct Runs {
    folder: PathBuf,
    codec: Codec,
    list: Vec<Run>,
    written: u64,
    bytes: u64,
}

impl Runs {
    /// No runs yet; they will be written to `folder`.
    pub fn new(folder: &Path, codec: Codec) -> Self {
        Runs { folder: folder.to_path_buf(), codec, list: Vec::new(), written: 0, bytes: 0 }
    }

    /// Whether nothing was spilled.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Runs written so far, those of merge passes included, and their bytes.
    pub fn written(&self) -> (u64, u64) {
        (self.written, self.bytes)
    }

    /// Writes a new run, the last in order of arrival.
    pub fn spill(&mut self, fill: impl FnOnce(&mut Output) -> Result<()>) -> Result<()> {
        let run = Run::write(&self.folder, self.codec, fill)?;
        self.written += 1;
        self.bytes += run.bytes();
        self.list.push(run);
        Ok(())
    }

    /// Merges the last runs into one when there are many: every run is a mapping, of which a process has some ten thousand.
    pub fn compact(&mut self, through: &mut impl Through) -> Result<()> {
        loop {
            let level = self.list.last().map_or(0, |r| r.level);
            let alike = self.list.iter().rev().take_while(|r| r.level == level).count();
            if alike < FAN_IN_MAX {
                return Ok(());
            }
            let group = self.list.split_off(self.list.len() - alike);
            self.merge_group(group, through)?;
            if let Some(merged) = self.list.last_mut() {
                merged.level = level + 1;
            }
        }
    }

    /// Whether all runs can be merged at once within `memory` bytes of buffers.
    fn fit(&self, memory: usize) -> bool {
        self.list.len() <= FAN_IN_MAX && self.list.iter().map(Run::buffer_bytes).sum::<usize>() <= memory
    }

    /// Merges neighbouring runs until the buffers for the rest are covered, and gives that. The claim must last as long.
    pub fn merge(mut self, claim: &mut Claim, through: &mut impl Through) -> Result<MergedRuns> {
        claim.stay();
        claim.grow_towards(self.list.iter().map(Run::buffer_bytes).sum());
        let memory = claim.held();
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
        MergedRuns::new(&self.list)
    }

    fn merge_group(&mut self, mut group: Vec<Run>, through: &mut impl Through) -> Result<()> {
        if group.len() == 1 {
            self.list.append(&mut group);
            return Ok(());
        }
        failpoint!("merge").map_err(EngineError::io("write", &self.folder))?;
        let mut merged = MergedRuns::new(&group)?;
        self.spill(|out| {
            while let Some((key, value)) = merged.peek() {
                through.record(out, key, value)?;
                merged.advance()?;
            }
            through.end(out)
        })
    }
}

/// Runs as one sorted sequence; equal keys come in the order of the runs.
pub struct MergedRuns {
    merge: Merge<MappedCursor>,
    paths: Vec<PathBuf>,
}

impl MergedRuns {
    fn new(runs: &[Run]) -> Result<Self> {
        let cursors = runs.iter().map(Run::cursor).collect::<Result<Vec<_>>>()?;
        let paths: Vec<PathBuf> = runs.iter().map(|r| r.path.clone()).collect();
        let merge = Merge::new(cursors).map_err(|e| EngineError::file(&paths[e.cursor])(e.source))?;
        Ok(MergedRuns { merge, paths })
    }
}

impl Pairs for MergedRuns {
    #[inline]
    fn peek(&self) -> Option<(&[u8], &[u8])> {
        self.merge.current().map(|c| c.record())
    }
    #[inline]
    fn advance(&mut self) -> Result<()> {
        self.merge.advance().map_err(|e| EngineError::file(&self.paths[e.cursor])(e.source))
    }
}
