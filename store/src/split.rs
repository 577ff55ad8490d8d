//! Splits input files into chunks.
//!
//! There are two independent divisions of the same bytes. *Parts* (of a map-only stage: each becomes one part file)
//! follow from the input alone, so the output does not depend on the chunk size. *Chunks* (each read by one task)
//! follow from the chunk size within each part. Large files are cut; small ones share a chunk with their neighbours in
//! input order.

use crate::chunk_size::ChunkSizes;
use crate::error::{Result, StoreError};
use crate::identity;
use crate::input_file::InputFile;
use crate::steps::Steps;
use rustix::fs::{Mode, OFlags};
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::path::Path;
use windrow_format::boundary::{FileAt, LengthOnly, ReadAt};
use windrow_format::compression::{self, Unsupported};
use windrow_format::cut::cut_each;
use windrow_format::framing::{check_length, needs_bytes};
use windrow_model::{ByteSize, Chunk, Code, Compression, Escape, FileRange, Framing, SourceSpec, total};

/// Options of a split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SplitOptions {
    /// Exact chunk size in bytes: a cut is made at the next record start after each multiple. If absent, the size
    /// follows from input and slots (`chunk_size.rs`).
    pub chunk_bytes: Option<u64>,
    /// Number of tasks that can run at the same time.
    pub slots: u32,
    /// The parts into which the whole input is divided; no chunk spans two of them.
    pub parts: Option<PartsOf>,
    /// Nothing is decompressed, so every file may be cut.
    pub as_is: bool,
}

/// How the whole input is divided into parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartsOf {
    /// Into this many contiguous parts of about equally many bytes.
    Bytes(u32),
    /// Each file is a part, and there are this many.
    Files(u32),
}

/// Most chunks of one source: the planner of the job keeps one task for each.
const CHUNKS_MAX: usize = 1_000_000;
/// Most small files in one chunk: keeps the description of a task far below the message limit.
const RANGES_MAX: usize = 4096;

/// Bytes of all files together, as stored on disk.
pub fn input_bytes(files: &[InputFile]) -> u64 {
    total(files.iter().map(|f| f.identity.length))
}

/// Chunks in input order. Together they hold every byte of every file exactly once, and each range goes from record
/// start to record start. Empty files have no chunks. A file is opened only if a cut falls within it.
pub fn split(source: &SourceSpec, files: &[InputFile], options: SplitOptions, steps: &Steps) -> Result<Vec<Chunk>> {
    let total = input_bytes(files);
    let sizes = match options.chunk_bytes {
        Some(bytes) => ChunkSizes::exact(bytes),
        None => ChunkSizes::of_input(total, options.slots),
    };
    let parts = match options.parts {
        Some(PartsOf::Bytes(count)) => Parts { total, count: count.max(1) },
        Some(PartsOf::Files(count)) => {
            check_files(source, files, count)?;
            Parts { total, count: 1 }
        }
        None => Parts { total, count: 1 },
    };
    let is_by_file = matches!(options.parts, Some(PartsOf::Files(_)));
    let mut packer = Packer { chunks: Vec::new(), open: Chunk::default(), open_bytes: 0 };
    let mut before = 0;
    for (number, file) in (0u32..).zip(files) {
        steps.step(&file.path)?;
        let length = file.identity.length;
        if length == 0 {
            continue;
        }
        let framing = framing_of(source, file)?;
        let as_is = source.as_is || options.as_is || file.as_is;
        let chunk_bytes = if file.content.is_some() { sizes.datasets } else { sizes.files };
        let alone = length > chunk_bytes;
        let cuts = parts.inside(before, length);
        each_piece(framing, as_is, file, chunk_bytes, &cuts, steps, &mut |offset, bytes| {
            let range = FileRange {
                path: file.path.clone(),
                offset,
                length: bytes,
                identity: file.identity,
                content: file.content,
                local: None,
                as_is: options.as_is || file.as_is,
            };
            let part = if is_by_file { number } else { parts.at(before + offset) };
            packer.add(range, part, alone, chunk_bytes);
            packer.check(CHUNKS_MAX, chunk_bytes)
        })?;
        before = before.saturating_add(length);
    }
    packer.close();
    Ok(packer.chunks)
}

/// Checks that there is a file for each part, and that none is empty: an empty file has no chunk, so its part would be
/// missing without an error.
fn check_files(source: &SourceSpec, files: &[InputFile], parts: u32) -> Result<()> {
    let inputs = || source.inputs.iter().map(|input| input.escaped().to_string()).collect::<Vec<_>>().join(" ");
    if files.len() != parts as usize {
        let message = format!("{}: the plan was made for {parts} files, and there are {} now", inputs(), files.len());
        return Err(StoreError::new(Code::InputChanged, message));
    }
    match files.iter().find(|file| file.identity.length == 0) {
        Some(empty) => Err(StoreError::new(Code::InputCorrupt, format!("{}: it is empty", empty.path.escaped()))),
        None => Ok(()),
    }
}

/// The framing of a file.
///
/// # Errors
/// The file is not a whole number of fixed-size records.
fn framing_of(source: &SourceSpec, file: &InputFile) -> Result<Framing> {
    // Chunks of datasets were cut when they were put.
    if file.content.is_some() {
        return Ok(Framing::Whole);
    }
    if source.framing.has_empty_records() {
        return Err(StoreError::new(Code::PlanInvalid, "a source of records of zero bytes"));
    }
    check_length(file.identity.length, source.framing).map(|()| source.framing).map_err(|e| {
        let note = match compression::of_text(&file.path, b"") {
            Ok(Compression::None) => "",
            _ => " (files of such records are read as they are stored, never decompressed)",
        };
        let (path, bytes) = (file.path.escaped(), file.identity.length);
        StoreError::new(Code::InputMalformed, format!("{path}: {bytes} bytes are not {e}{note}"))
    })
}

/// Passes each piece of a file to `give`. The work can be cancelled between two pieces and between two reads. A
/// compressed file of text is one piece; its reader detects the compression in the same way.
fn each_piece(
    framing: Framing,
    as_is: bool,
    file: &InputFile,
    chunk_bytes: u64,
    part_cuts: &[u64],
    steps: &Steps,
    give: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<()> {
    let length = file.identity.length;
    if length <= chunk_bytes && part_cuts.is_empty() {
        return give(0, length);
    }
    // The cutting code knows only IO errors: the original error is kept beside them.
    let ended = RefCell::new(None);
    let check = |allowed: Result<()>| {
        allowed.map_err(|e| {
            *ended.borrow_mut() = Some(e);
            io::Error::other("the split was stopped")
        })
    };
    let mut each = |offset, bytes| {
        let allowed = steps.step(&file.path).and_then(|()| steps.listed(&file.path));
        check(allowed.and_then(|()| give(offset, bytes)))
    };
    let cut = match needs_bytes(framing) {
        true => {
            let opened = FileAt::new(open(file)?, length);
            let is_cut = as_is || compression_of(file, &opened)? == Compression::None;
            let framing = if is_cut { framing } else { Framing::Whole };
            let at = SteppedFile { file: opened, step: &|| check(steps.step(&file.path)) };
            cut_each(framing, &at, chunk_bytes, part_cuts, &mut each)
        }
        false => cut_each(framing, &LengthOnly(length), chunk_bytes, part_cuts, &mut each),
    };
    cut.map_err(|e| match (ended.take(), e.kind()) {
        (Some(ended), _) => ended,
        (None, io::ErrorKind::UnexpectedEof) => changed(file, &e.to_string()),
        (None, _) => unreadable(file, &e),
    })
}

/// A file whose every read takes a step.
struct SteppedFile<'a> {
    file: FileAt,
    step: &'a dyn Fn() -> io::Result<()>,
}

impl ReadAt for SteppedFile<'_> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        (self.step)()?;
        self.file.read_at(offset, buf)
    }
    fn length(&self) -> u64 {
        self.file.length()
    }
    fn skip_zeros(&self, offset: u64) -> io::Result<u64> {
        self.file.skip_zeros(offset)
    }
}

fn compression_of(file: &InputFile, opened: &FileAt) -> Result<Compression> {
    let head = compression::head(|at, buf| opened.read_at(at, buf)).map_err(|e| unreadable(file, &e))?;
    compression::of_text(&file.path, &head).map_err(|e| unsupported(&file.path, e))
}

/// The error for a file of a format that text is not read from.
pub fn unsupported(path: &Path, unsupported: Unsupported) -> StoreError {
    StoreError::new(Code::InputUnsupported, format!("{}: {unsupported}", path.escaped()))
}

/// Opens a listed file. It may have been replaced since: opening a FIFO must not block.
fn open(file: &InputFile) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = rustix::fs::open(&file.path, flags, Mode::empty()).map_err(io::Error::from).map(File::from);
    let opened = opened.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => changed(file, "it is gone"),
        _ => unreadable(file, &e),
    })?;
    match identity::of_file(&opened) {
        Ok(now) if now.is_same(&file.identity) => Ok(opened),
        Ok(_) => Err(changed(file, "it is no longer the file that was listed")),
        Err(e) => Err(unreadable(file, &e)),
    }
}

fn changed(file: &InputFile, what: &str) -> StoreError {
    StoreError::new(Code::InputChanged, format!("{}: {what}", file.path.escaped()))
}

fn unreadable(file: &InputFile, e: &io::Error) -> StoreError {
    StoreError::new(Code::InputUnreadable, format!("{}: {e}", file.path.escaped()))
}

/// The division of the whole input into contiguous parts. Part `k` begins at the first record start at or after byte `k
/// * total / count`, counted over all files in input order.
struct Parts {
    total: u64,
    count: u32,
}

impl Parts {
    /// The part of a record that starts at this byte of the whole input: the number of parts that begin at or before
    /// it. For a record start, nominal and real part starts give the same result, because a real start is the first
    /// record start at or after the nominal one.
    fn at(&self, byte: u64) -> u32 {
        let nominal = ((byte as u128 + 1) * self.count as u128 - 1) / (self.total as u128).max(1);
        nominal.min(self.count as u128 - 1) as u32
    }

    /// The nominal starts of parts within a file (excluding its own start), relative to the file.
    fn inside(&self, before: u64, length: u64) -> Vec<u64> {
        let begin = |k: u32| (k as u128 * self.total as u128 / self.count as u128) as u64;
        let first = self.at(before) + 1;
        (first..self.count).map(begin).take_while(|b| *b - before < length).map(|b| b - before).collect()
    }
}

/// Packs ranges into chunks in order.
struct Packer {
    chunks: Vec<Chunk>,
    open: Chunk,
    open_bytes: u64,
}

impl Packer {
    /// Adds a range to the open chunk, or to a new one if that would exceed `chunk_bytes`.
    fn add(&mut self, range: FileRange, part: u32, alone: bool, chunk_bytes: u64) {
        let fits = range.length <= chunk_bytes.saturating_sub(self.open_bytes);
        if alone || !fits || part != self.open.part || self.open.ranges.len() == RANGES_MAX {
            self.close();
        }
        self.open.part = part;
        self.open_bytes = self.open_bytes.saturating_add(range.length);
        self.open.ranges.push(range);
        if alone {
            self.close();
        }
    }

    /// Fails when there are more than `chunks_max` chunks.
    fn check(&self, chunks_max: usize, chunk_bytes: u64) -> Result<()> {
        if self.chunks.len() <= chunks_max {
            return Ok(());
        }
        let size = ByteSize(chunk_bytes);
        let what = format!("chunks of {size} of this input are more than {chunks_max}: give a larger --chunk-size");
        Err(StoreError::new(Code::BadRequest, what))
    }

    fn close(&mut self) {
        self.open_bytes = 0;
        let chunk = std::mem::take(&mut self.open);
        if !chunk.ranges.is_empty() {
            self.chunks.push(chunk);
        }
    }
}
