//! The incoming side of a task: segments of many files as one sequence of pairs.
//!
//! [`Concat`] returns one segment after the other. [`open_sorted`] returns the pairs in key order, ties in the order of
//! the list: it merges if each segment is sorted already, and sorts everything otherwise. Files are mapped, and a merge
//! holds at most one block of each compressed segment. If even that is too much, neighbours are first merged into runs.

use crate::error::{EngineError, Result};
use crate::lent::{Changed, LentBlock, Source};
use crate::mapped::MappedFile;
use crate::memory::{Claim, Share};
use crate::merge::{At, Cursor, Merge};
use crate::pairs::{Claimed, Pairs, Stop};
use crate::run::{FAN_IN_MAX, MappedCursor, RunFile};
use crate::sorter::{Block, Sorted, Sorter};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use windrow_format::block::{FormatError, HEADER_BYTES, Identity};
use windrow_format::codec::{self, Codec};
use windrow_format::prefetch::{self, LINE};
use windrow_format::segment::{Batch, BlockCursor, Places};
use windrow_format::segment_builder::is_sorted;
use windrow_model::{Segment, total};

/// Pairs between two calls of `alive`.
const PAIRS_PER_CHECK: u32 = 1 << 16;
/// Distance in segments between the one that is opened and the one whose first bytes are requested: about as long as memory
/// takes to answer.
const SEGMENTS_AHEAD: usize = 6;
/// Blocks between two calls of `alive`.
const BLOCKS_PER_CHECK: u32 = 64;

/// A segment in a local file.
#[derive(Clone, Debug)]
pub struct LocalSegment {
    /// The file. Segments of one file share it.
    pub path: Arc<Path>,
    /// Offset of the segment in the file, in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// Number of records.
    pub records: u64,
    /// Bytes of the records before compression, including their lengths.
    pub raw_length: u64,
    /// The attempt, output and partition that the segment must belong to.
    pub identity: Identity,
    /// The bytes in which the segment lies, if they are in memory or mapped already.
    pub resident: Option<Arc<MappedFile>>,
    /// Records that the segment changed while a reader used it. Clones share it.
    pub changed: Changed,
    /// Whether the blocks, in the memory of this process, have no checksums.
    pub(crate) unchecked: bool,
}

impl LocalSegment {
    /// A segment of an attempt's shuffle file; the partition of the identity is filled in.
    pub fn of(path: impl Into<Arc<Path>>, segment: &Segment, identity: Identity) -> Self {
        LocalSegment {
            path: path.into(),
            offset: segment.offset,
            length: segment.length,
            records: segment.records,
            raw_length: segment.raw_length,
            identity: Identity { partition: segment.partition, ..identity },
            resident: None,
            changed: Changed::default(),
            unchecked: false,
        }
    }

    /// The same segment in the memory of this process, without checksums.
    pub(crate) fn unchecked(self) -> Self {
        LocalSegment { unchecked: true, ..self }
    }

    /// A segment of an image that begins at `base` in a file: [`of`](Self::of) for a part of a file.
    pub fn in_image(path: impl Into<Arc<Path>>, base: u64, segment: &Segment, identity: Identity) -> Self {
        let offset = base.saturating_add(segment.offset);
        LocalSegment { offset, ..LocalSegment::of(path, segment, identity) }
    }

    /// A segment of bytes that are open already. The partition of the identity is filled in.
    pub(crate) fn in_memory(path: Arc<Path>, segment: &Segment, identity: Identity, bytes: Arc<MappedFile>) -> Self {
        let changed = if bytes.is_of_a_file() { Changed::default() } else { Changed::never() };
        LocalSegment { changed, resident: Some(bytes), ..LocalSegment::of(path, segment, identity) }
    }

    /// The error of a segment that changed while it was used, with its `index` in the list. To be called after the last
    /// reader is gone: a reader that stops early returns no error.
    pub fn changed_error(&self, index: usize) -> Option<EngineError> {
        let source = self.changed.error()?;
        Some(EngineError::Segment { index, path: self.path.to_path_buf(), source })
    }
}

/// An input of a merge: a segment of the list, or a run of an earlier pass.
struct Input {
    cursor: MappedCursor,
    /// Position in the list; none for a run.
    index: Option<usize>,
    path: Arc<Path>,
}

impl Input {
    fn error(index: Option<usize>, path: &Path, source: FormatError) -> EngineError {
        match index {
            Some(index) => EngineError::Segment { index, path: path.to_path_buf(), source },
            None => EngineError::file(path)(source),
        }
    }
}

/// Opens segments in key order; pairs with equal keys are returned in the order of the list. Uses the memory of
/// `share`, and writes what exceeds it to `scratch`. Calls `alive` at intervals and stops at its error. An error names
/// the segment.
pub fn open_sorted(
    segments: Vec<LocalSegment>,
    scratch: &Path,
    share: &Share,
    alive: &dyn Fn() -> Result<()>,
) -> Result<Sorted> {
    let mut files = Files::default();
    if all_sorted(&segments, &mut files)? {
        let mut claim = share.input();
        claim.mark_unspillable();
        let pairs = open_merged(segments, scratch, &mut claim)?;
        return Ok(Sorted { pairs: Box::new(Claimed { pairs, _claim: claim }), spilled: (0, 0) });
    }
    let mut sorter = Sorter::new(scratch, share, total(segments.iter().map(|s| s.records)))?;
    for (index, segment) in segments.into_iter().enumerate() {
        let (identity, changed, unchecked) = (segment.identity, segment.changed.clone(), segment.unchecked);
        let input = files.bounded_input(index, segment)?;
        alive()?;
        let (file, start, path) = (input.cursor.file().clone(), input.cursor.start(), input.path.clone());
        let source = Arc::new(Source { file, start, identity, path, index, changed });
        let blocks = if unchecked { BlockCursor::unchecked() } else { BlockCursor::new(identity) };
        let added = sort_segment(&mut sorter, &input.cursor, blocks, &source, alive);
        added.map_err(|stop| stop_error(stop, Some(index), &input.path))?;
    }
    sorter.finish()
}

fn sort_segment(
    sorter: &mut Sorter,
    segment: &MappedCursor,
    mut blocks: BlockCursor,
    source: &Arc<Source>,
    alive: &dyn Fn() -> Result<()>,
) -> Result<(), Stop> {
    let bytes = segment.segment();
    let can_change = segment.file().is_of_a_file();
    let mut read = 0u32;
    while let Some((header, payload, verified)) = blocks.next_block(bytes)? {
        let block = match header.codec {
            Codec::None => {
                let range = segment.start() + payload.start..segment.start() + payload.end;
                let lent = LentBlock { source: source.clone(), payload: range.clone(), verified };
                Block::Mapped(segment.file(), range, can_change.then_some(lent))
            }
            codec => {
                let mut raw = Vec::new();
                let offset = (payload.start - HEADER_BYTES) as u64;
                let stored = &bytes[payload];
                let done = codec::decompress(codec, stored, header.raw_length as usize, &mut raw);
                if can_change {
                    // The stored bytes must not have changed while they were decompressed.
                    verified.check_again(stored, &source.identity, offset)?;
                }
                done?;
                Block::Owned(raw)
            }
        };
        sorter.add(block, header.records)?;
        read += 1;
        if read.is_multiple_of(BLOCKS_PER_CHECK) {
            alive()?;
        }
    }
    Ok(())
}

/// Returns whether every segment is marked as sorted in its blocks.
fn all_sorted(segments: &[LocalSegment], files: &mut Files) -> Result<bool> {
    for (index, segment) in segments.iter().enumerate() {
        let input = files.bounded_input(index, segment.clone())?;
        if !is_sorted(input.cursor.segment()).map_err(|e| Input::error(Some(index), &input.path, e))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Segments merged by key.
pub struct Merged {
    merge: Merge<MappedCursor>,
    names: Vec<(Option<usize>, Arc<Path>)>,
}

/// Opens sorted segments as one sorted sequence; pairs with equal keys are returned in the order of the list.
/// Additional passes write runs to `scratch` when the claim does not cover the block buffers or there are more files
/// than the fan-in limit. The claim must outlive the result. An error names the segment.
fn open_merged(segments: Vec<LocalSegment>, scratch: &Path, claim: &mut Claim) -> Result<Merged> {
    let mut files = Files::default();
    let mut passes = Passes { scratch, claim, runs: Vec::new(), group: Vec::new(), group_bytes: 0 };
    for (index, segment) in segments.into_iter().enumerate() {
        let maps = segment.resident.is_none() && !files.open.contains_key(&segment.path);
        if files.open.len() >= FAN_IN_MAX && maps {
            passes.close_group()?;
            files.open.clear();
        }
        let input = files.input(Some(index), segment)?;
        passes.add(input)?;
    }
    drop(files);
    passes.finish()
}

/// Opens a file of another attempt. The file existed when this task started, so if it is missing now, its segment is
/// lost, which is not this task's fault.
pub(crate) fn open_file(index: Option<usize>, path: &Path) -> Result<Arc<MappedFile>> {
    let opened = MappedFile::open(path).map_err(|e| match e {
        EngineError::Io { source, .. } if FormatError::is_gone(&source) => {
            Input::error(index, path, FormatError::Gone(source))
        }
        other => other,
    });
    opened.map(Arc::new)
}

/// A cursor over a segment of another attempt's file, or of memory. `file` holds it.
fn cursor(file: Arc<MappedFile>, segment: &LocalSegment) -> Result<MappedCursor, FormatError> {
    let LocalSegment { offset, length, identity, unchecked, .. } = *segment;
    match file.is_of_a_file() {
        true => MappedCursor::of_changeable(file, offset, length, identity, segment.changed.clone()),
        false if unchecked => MappedCursor::unchecked(file, offset, length),
        false => MappedCursor::new(file, offset, length, identity),
    }
}

/// Mapped files, each opened once.
#[derive(Default)]
struct Files {
    open: BTreeMap<Arc<Path>, Arc<MappedFile>>,
}

impl Files {
    /// Opens an input of a sequence that is read one input at a time, so that few files stay open.
    fn bounded_input(&mut self, index: usize, segment: LocalSegment) -> Result<Input> {
        if self.open.len() >= FAN_IN_MAX {
            self.open.clear();
        }
        self.input(Some(index), segment)
    }

    fn input(&mut self, index: Option<usize>, segment: LocalSegment) -> Result<Input> {
        let path = segment.path.clone();
        let file = match (&segment.resident, self.open.get(&path)) {
            (Some(resident), _) => resident.clone(),
            (None, Some(file)) => file.clone(),
            (None, None) => {
                let file = open_file(index, &path)?;
                self.open.insert(path.clone(), file.clone());
                file
            }
        };
        let cursor = cursor(file, &segment).map_err(|e| Input::error(index, &path, e))?;
        Ok(Input { cursor, index, path })
    }
}

/// Merges groups of neighbours into runs, pass by pass, until the remaining inputs fit.
struct Passes<'a> {
    scratch: &'a Path,
    claim: &'a mut Claim,
    /// Runs of the closed groups.
    runs: Vec<Input>,
    group: Vec<Input>,
    group_bytes: usize,
}

impl Passes<'_> {
    fn add(&mut self, input: Input) -> Result<()> {
        let bytes = input.cursor.buffer_bytes();
        if self.group.len() >= 2 && !self.claim.cover(self.group_bytes + bytes) {
            self.close_group()?;
        }
        self.group_bytes += bytes;
        self.group.push(input);
        Ok(())
    }

    fn close_group(&mut self) -> Result<()> {
        self.group_bytes = 0;
        let mut group = std::mem::take(&mut self.group);
        match group.len() {
            0 => {}
            1 => self.runs.append(&mut group),
            _ => {
                let run = write_run(merged(group)?, self.scratch)?;
                self.runs.push(run);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Merged> {
        while !self.runs.is_empty() {
            self.close_group()?;
            let runs = std::mem::take(&mut self.runs);
            for run in runs {
                if self.group.len() >= FAN_IN_MAX {
                    self.close_group()?;
                }
                self.add(run)?;
            }
        }
        merged(self.group)
    }
}

fn merged(inputs: Vec<Input>) -> Result<Merged> {
    let (mut cursors, mut names) = (Vec::with_capacity(inputs.len()), Vec::with_capacity(inputs.len()));
    for input in inputs {
        cursors.push(input.cursor);
        names.push((input.index, input.path));
    }
    let merge = Merge::new(cursors).map_err(|e| named(&names, e))?;
    Ok(Merged { merge, names })
}

#[cold]
fn named(names: &[(Option<usize>, Arc<Path>)], e: At<FormatError>) -> EngineError {
    let (index, path) = &names[e.cursor];
    Input::error(*index, path, e.source)
}

fn write_run(mut merged: Merged, scratch: &Path) -> Result<Input> {
    // Runs are compressed: they are written only when the data is large.
    let run = RunFile::write(scratch, Codec::Lz4, |out| {
        while let Some((key, value)) = merged.peek() {
            out.push(key, value)?;
            merged.advance()?;
        }
        Ok(())
    })?;
    Ok(Input { cursor: run.cursor()?, index: None, path: run.path().into() })
}

impl Pairs for Merged {
    #[inline]
    fn peek(&self) -> Option<(&[u8], &[u8])> {
        self.merge.current().map(|c| c.record())
    }
    #[inline]
    fn advance(&mut self) -> Result<()> {
        self.merge.advance().map_err(|e| named(&self.names, e))
    }
}

/// Segments one after the other.
pub struct Concat {
    rest: std::vec::IntoIter<LocalSegment>,
    /// Position of the next segment in the list.
    next: usize,
    /// The file that was mapped last; neighbouring segments often share it.
    file: Option<(Arc<Path>, Arc<MappedFile>)>,
    current: Option<Input>,
}

/// Opens segments as one sequence, in the order of the list and within each segment. An error names the segment.
pub fn open_concat(segments: Vec<LocalSegment>) -> Result<Concat> {
    let mut concat = Concat { rest: segments.into_iter(), next: 0, file: None, current: None };
    concat.open_next()?;
    Ok(concat)
}

impl Concat {
    fn open_next(&mut self) -> Result<()> {
        self.current = None;
        while let Some(segment) = self.rest.next() {
            let index = self.next;
            self.next += 1;
            self.request_ahead();
            let file = match (&segment.resident, &self.file) {
                (Some(resident), _) => resident.clone(),
                (None, Some((path, file))) if *path == segment.path => file.clone(),
                (None, _) => {
                    let file = open_file(Some(index), &segment.path)?;
                    self.file = Some((segment.path.clone(), file.clone()));
                    file
                }
            };
            let error = |e| Input::error(Some(index), &segment.path, e);
            let mut cursor = cursor(file, &segment).map_err(error)?;
            if cursor.advance().map_err(error)? {
                self.current = Some(Input { cursor, index: Some(index), path: segment.path });
                return Ok(());
            }
        }
        Ok(())
    }

    /// Requests the first bytes of a later segment: small segments of a partition lie in as many places as there are tasks.
    fn request_ahead(&self) {
        if let Some(LocalSegment { resident: Some(file), offset, .. }) = self.rest.as_slice().get(SEGMENTS_AHEAD)
            && let Some(bytes) = usize::try_from(*offset).ok().and_then(|offset| file.get(offset..))
        {
            prefetch::read(bytes.as_ptr());
            prefetch::read(bytes.as_ptr().wrapping_add(LINE));
        }
    }
}

/// The error of a loop over the pairs of one segment or run.
fn stop_error(stop: Stop, index: Option<usize>, path: &Path) -> EngineError {
    match stop {
        Stop::Format(e) => Input::error(index, path, e),
        Stop::Function(e) => e,
    }
}

impl Concat {
    /// Calls `f` with every remaining pair. Calls `alive` at intervals and stops at its error. Much faster than single
    /// steps.
    pub fn for_each(
        mut self,
        alive: &dyn Fn() -> Result<()>,
        mut f: impl FnMut(&[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut until_check = PAIRS_PER_CHECK;
        let mut each = |key: &[u8], value: &[u8]| {
            f(key, value).map_err(Stop::Function)?;
            until_check -= 1;
            if until_check == 0 {
                until_check = PAIRS_PER_CHECK;
                alive().map_err(Stop::Function)?;
            }
            Ok(())
        };
        while let Some(current) = &mut self.current {
            let (key, value) = current.cursor.record();
            let all = each(key, value).and_then(|()| current.cursor.for_each(&mut each));
            all.map_err(|stop: Stop| stop_error(stop, current.index, &current.path))?;
            self.open_next()?;
        }
        Ok(())
    }

    /// Calls `f` with all remaining pairs in order, up to [`BATCH`](crate::BATCH) neighbours at a time, so that `f` can ask for the
    /// memory of all before it uses that of the first. Calls `alive` at intervals and stops at its error.
    pub fn for_each_batch(
        mut self,
        alive: &dyn Fn() -> Result<()>,
        mut f: impl FnMut(Batch<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut until_check = PAIRS_PER_CHECK;
        let mut places = Places::default();
        let mut each = |batch: Batch<'_>| {
            f(batch).map_err(Stop::Function)?;
            until_check = until_check.saturating_sub(batch.len() as u32);
            if until_check == 0 {
                until_check = PAIRS_PER_CHECK;
                alive().map_err(Stop::Function)?;
            }
            Ok(())
        };
        while let Some(current) = &mut self.current {
            let all = current.cursor.for_each_batch(&mut places, &mut each);
            all.map_err(|stop: Stop| stop_error(stop, current.index, &current.path))?;
            self.open_next()?;
        }
        Ok(())
    }
}

impl Pairs for Concat {
    #[inline]
    fn peek(&self) -> Option<(&[u8], &[u8])> {
        self.current.as_ref().map(|c| c.cursor.record())
    }
    #[inline]
    fn advance(&mut self) -> Result<()> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        match current.cursor.advance() {
            Ok(true) => Ok(()),
            Ok(false) => self.open_next(),
            Err(e) => Err(Input::error(current.index, &current.path, e)),
        }
    }
}
