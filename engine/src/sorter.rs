//! Segments in any order, sorted by key in a fixed amount of memory.
//!
//! Sixteen bytes stand for each record, which stays where it lies until it is read in order. When these entries (and the blocks
//! that had to be decompressed) fill the memory, they are written out as a sorted run; runs are merged.

use crate::error::{EngineError, Result};
use crate::mapped::MappedFile;
use crate::pieces::Pieces;
use crate::region::Region;
use crate::run::{Copied, Runs};
use crate::segments::{Pairs, Stop};
use crate::sort::{self, Entry};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use windrow_format::block::{self, FormatError, RAW_TARGET};
use windrow_format::codec::Codec;

/// Most records of a block: each has two lengths at least. So many entries are held however little memory there is.
const BLOCK_RECORDS: usize = RAW_TARGET / 2;

/// Takes blocks of records; equal keys keep the order of their arrival.
pub struct Sorter {
    memory: usize,
    entries: Region<Entry>,
    used: usize,
    pieces: Pieces,
    runs: Runs,
}

/// What a sorter gives back.
pub struct Sorted {
    /// The pairs in order of their keys.
    pub pairs: Box<dyn Pairs>,
    /// Runs that were written, and their bytes.
    pub spilled: (u64, u64),
}

/// A verified block: its records.
pub enum Block<'b> {
    /// In a mapped file.
    Mapped(&'b Arc<MappedFile>, Range<usize>),
    /// In memory.
    Owned(Vec<u8>),
}

impl Sorter {
    /// For about so many records. Holds `memory` bytes (half a megabyte at least), one block aside; runs are written to `folder`.
    pub fn new(folder: &Path, memory: usize, records: u64) -> Result<Self> {
        let entries =
            usize::try_from(records).unwrap_or(usize::MAX).min(memory / size_of::<Entry>()).max(BLOCK_RECORDS);
        let memory = memory.max(BLOCK_RECORDS * size_of::<Entry>());
        let entries = Region::arbitrary(entries).map_err(EngineError::io("reserve memory in", folder))?;
        // Compressed: what does not fit is large.
        let runs = Runs::new(folder, Codec::Lz4);
        Ok(Sorter { memory, entries, used: 0, pieces: Pieces::default(), runs })
    }

    /// Adds a block of so many records.
    pub fn add(&mut self, block: Block<'_>, records: u32) -> Result<(), Stop> {
        let count = records as usize;
        if count > BLOCK_RECORDS {
            return Err(FormatError::Malformed("a block has more records than a block can have").into());
        }
        let full = self.used * size_of::<Entry>() + self.pieces.memory() > self.memory;
        if full || self.used + count > self.entries.as_slice().len() || !self.pieces.have_room_for(block.length()) {
            self.spill()?;
        }
        let base = match block {
            Block::Mapped(file, range) => self.pieces.add_mapped(file, range),
            Block::Owned(bytes) => self.pieces.add_owned(bytes),
        };
        let entries = &mut self.entries.as_mut_slice()[self.used..self.used + count];
        let mut next = entries.iter_mut();
        block::each_record(self.pieces.from(base), records, &mut |at, key, _| {
            if let Some(entry) = next.next() {
                *entry = Entry::new(key, base + at as u32);
            }
            Ok::<(), FormatError>(())
        })?;
        self.used += count;
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        let Sorter { entries, used, pieces, runs, .. } = self;
        if *used == 0 {
            return Ok(());
        }
        let entries = &mut entries.as_mut_slice()[..*used];
        sort::by_key_with_help(entries, pieces);
        runs.spill(|out| {
            for (i, entry) in entries.iter().enumerate() {
                pieces.prefetch_ahead(entries, i);
                let (key, value) = pieces.record(entry.at);
                out.push(key, value)?;
            }
            Ok(())
        })?;
        *used = 0;
        pieces.clear();
        runs.compact(&mut Copied)
    }

    /// All pairs in order.
    pub fn finish(mut self) -> Result<Sorted> {
        if self.runs.is_empty() {
            let Sorter { mut entries, used, pieces, .. } = self;
            sort::by_key_with_help(&mut entries.as_mut_slice()[..used], &pieces);
            return Ok(Sorted { pairs: Box::new(InPlace { entries, used, pieces, next: 0 }), spilled: (0, 0) });
        }
        self.spill()?;
        let Sorter { memory, runs, .. } = self;
        let spilled = runs.written();
        Ok(Sorted { pairs: Box::new(runs.merge(memory, &mut Copied)?), spilled })
    }
}

impl Block<'_> {
    fn length(&self) -> usize {
        match self {
            Block::Mapped(_, range) => range.len(),
            Block::Owned(bytes) => bytes.len(),
        }
    }
}

/// Records where they lie, their order, and the place in it.
struct InPlace {
    entries: Region<Entry>,
    used: usize,
    pieces: Pieces,
    next: usize,
}

impl Pairs for InPlace {
    #[inline]
    fn peek(&self) -> Option<(&[u8], &[u8])> {
        if self.next == self.used {
            return None;
        }
        Some(self.pieces.record(self.entries.as_slice()[self.next].at))
    }
    #[inline]
    fn advance(&mut self) -> Result<()> {
        let entries = &self.entries.as_slice()[..self.used];
        self.pieces.prefetch_ahead(entries, self.next);
        self.next += usize::from(self.next < self.used);
        Ok(())
    }
}
