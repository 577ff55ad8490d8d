//! Sorts segments in any order by key in bounded memory.
//!
//! Sixteen bytes stand for each record, which stays in place until it is read in order. When the task is not granted
//! more memory for these entries (and for decompressed blocks), they are written out as a sorted run; runs are merged.
//! Idle threads help to sort and to write runs.

use crate::error::{EngineError, Result};
use crate::lent::{Lent, LentBlock};
use crate::mapped::MappedFile;
use crate::memory::{Claim, Share};
use crate::pairs::{Claimed, Pairs, Stop};
use crate::pieces::Pieces;
use crate::region::Region;
use crate::run::{Runs, Unchanged};
use crate::sort::{self, Entry};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use windrow_format::block::{self, FormatError, RAW_TARGET};
use windrow_format::codec::Codec;

/// Most records of a block: each has at least two lengths. A sorter always holds this many entries, however little
/// memory there is.
const BLOCK_RECORDS: usize = RAW_TARGET / 2;
/// Least memory of a sorter in bytes.
const LEAST_BYTES: usize = BLOCK_RECORDS * size_of::<Entry>();

/// Takes blocks of records and sorts them; equal keys keep their order of arrival.
pub(crate) struct Sorter {
    folder: PathBuf,
    claim: Claim,
    /// All entries that may ever be used. Unused ones take no memory yet, or are counted already.
    entries: Region<Entry>,
    used: usize,
    /// Number of entries that count against the claim, even if fewer are used.
    counted: usize,
    pieces: Pieces,
    /// The blocks of `pieces` that must be verified again.
    lent: Lent,
    runs: Runs,
}

/// The result of a sorter.
pub struct Sorted {
    /// The pairs in key order.
    pub pairs: Box<dyn Pairs>,
    /// Number of runs that were written, and their size in bytes.
    pub spilled: (u64, u64),
}

/// The records of a verified block.
pub(crate) enum Block<'b> {
    /// A range of a mapped file. The block verifies it again if other processes can change the file.
    Mapped(&'b Arc<MappedFile>, Range<usize>, Option<LentBlock>),
    /// Decompressed bytes in memory.
    Owned(Vec<u8>),
}

impl Sorter {
    /// Creates a sorter for about `records` records. Uses the memory of `share` (at least half a megabyte) plus one
    /// block; runs are written to `folder`.
    pub(crate) fn new(folder: &Path, share: &Share, records: u64) -> Result<Self> {
        let mut claim = share.input();
        claim.force(LEAST_BYTES);
        // Compressed: what does not fit is large.
        let (pieces, runs) = (Pieces::default(), Runs::new(folder, Codec::Lz4));
        let entries = Region::arbitrary(0).map_err(EngineError::io("reserve memory in", folder))?;
        let (folder, lent) = (folder.to_path_buf(), Lent::default());
        let mut sorter = Sorter { folder, claim, entries, used: 0, counted: 0, pieces, lent, runs };
        sorter.reserve(usize::try_from(records).unwrap_or(usize::MAX).max(BLOCK_RECORDS))?;
        Ok(sorter)
    }

    /// Makes room for this many entries, or for as many as may still be granted.
    fn reserve(&mut self, records: usize) -> Result<()> {
        let bytes = records.saturating_mul(size_of::<Entry>());
        let entries = if self.claim.grow_quietly(bytes).is_ok() {
            self.counted = records;
            Region::arbitrary(records)
        } else {
            self.counted = BLOCK_RECORDS;
            Region::untouched((self.claim.due() / size_of::<Entry>()).clamp(BLOCK_RECORDS, records))
        };
        self.entries = entries.map_err(EngineError::io("reserve memory in", &self.folder))?;
        Ok(())
    }

    /// Bytes of this many entries and of the blocks.
    fn memory(&self, entries: usize) -> usize {
        entries.max(self.counted) * size_of::<Entry>() + self.pieces.memory() + self.lent.memory()
    }

    /// Adds a block of `records` records.
    pub(crate) fn add(&mut self, block: Block<'_>, records: u32) -> Result<(), Stop> {
        let count = records as usize;
        if count > BLOCK_RECORDS {
            return Err(FormatError::Malformed("a block has more records than a block can have").into());
        }
        let needed = self.memory(self.used + count) + block.own_bytes();
        let fits = self.used + count <= self.entries.as_slice().len() && self.pieces.have_room_for(block.length());
        if !fits || !self.claim.cover(needed) {
            self.spill()?;
            // A single block is held whatever its size.
            self.claim.force(self.memory(count) + block.own_bytes());
        }
        let base = match block {
            Block::Mapped(file, range, lent) => {
                lent.into_iter().for_each(|block| self.lent.add(block));
                self.pieces.add_mapped(file, range)
            }
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

    /// Writes all held records as a run, and returns memory if another consumer has asked for it.
    fn spill(&mut self) -> Result<()> {
        let Sorter { entries, used, pieces, lent, runs, .. } = &mut *self;
        if *used > 0 {
            let entries = &mut entries.as_mut_slice()[..*used];
            sort::by_key_with_help(entries, pieces);
            let (order, lying) = (&*entries, &*pieces);
            runs.spill_with_help(order.len(), &|range, out| {
                for i in range {
                    lying.prefetch_ahead(order, i);
                    let (key, value) = lying.record(order[i].at);
                    out.push(key, value)?;
                }
                Ok(())
            })?;
            // Verify before the run counts.
            lent.check_again()?;
            pieces.clear();
        }
        // The memory of these entries has been touched and still counts.
        self.counted = self.counted.max(std::mem::take(&mut self.used));
        if self.claim.is_asked() {
            self.release()?;
            self.claim.answer();
        }
        self.claim.shrink(self.memory(0));
        self.runs.compact(&mut Unchanged)
    }

    /// Returns the memory of the entries.
    fn release(&mut self) -> Result<()> {
        let entries = self.entries.as_slice().len();
        let error = EngineError::io("reserve memory in", &self.folder);
        self.counted = BLOCK_RECORDS;
        // Free the old region before the new one is mapped.
        self.entries = Region::untouched(0).map_err(EngineError::io("reserve memory in", &self.folder))?;
        self.entries = Region::untouched(entries).map_err(error)?;
        Ok(())
    }

    /// Ends the input and returns all pairs in order.
    pub(crate) fn finish(mut self) -> Result<Sorted> {
        if self.runs.is_empty() {
            let Sorter { mut entries, used, pieces, lent, mut claim, .. } = self;
            claim.mark_unspillable();
            sort::by_key_with_help(&mut entries.as_mut_slice()[..used], &pieces);
            let in_place = InPlace { entries, used, pieces, lent, next: 0 };
            return Ok(Sorted { pairs: Box::new(Claimed { pairs: in_place, _claim: claim }), spilled: (0, 0) });
        }
        self.spill()?;
        let Sorter { mut claim, runs, entries, .. } = self;
        drop(entries);
        let spilled = runs.written();
        claim.shrink(0);
        let pairs = runs.merge(&mut claim, &mut Unchanged)?;
        Ok(Sorted { pairs: Box::new(Claimed { pairs, _claim: claim }), spilled })
    }
}

impl Block<'_> {
    fn length(&self) -> usize {
        match self {
            Block::Mapped(_, range, _) => range.len(),
            Block::Owned(bytes) => bytes.len(),
        }
    }

    /// Bytes of memory that belong to this process.
    fn own_bytes(&self) -> usize {
        match self {
            Block::Mapped(..) => 0,
            Block::Owned(bytes) => bytes.capacity(),
        }
    }
}

/// Records in place, their order, and the current position in it.
struct InPlace {
    entries: Region<Entry>,
    used: usize,
    pieces: Pieces,
    lent: Lent,
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
        if self.next == self.used { self.lent.check_again() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Pair = (Vec<u8>, Vec<u8>);

    fn blocks(pairs: &[Pair]) -> impl Iterator<Item = (Vec<u8>, u32)> {
        pairs.chunks(3000).map(|chunk| {
            let mut bytes = Vec::new();
            for (key, value) in chunk {
                let (lengths, taken) = block::lengths(key.len(), value.len());
                bytes.extend_from_slice(&lengths[..taken]);
                bytes.extend_from_slice(key);
                bytes.extend_from_slice(value);
            }
            (bytes, chunk.len() as u32)
        })
    }

    /// Sorts with this number of threads in this much memory; also returns the number of runs.
    fn sort(pairs: &[Pair], threads: usize, memory: usize) -> (Vec<Pair>, u64) {
        let folder = tempfile::tempdir().unwrap();
        let sort = || {
            let mut sorter = Sorter::new(folder.path(), &Share::alone(memory, 1), pairs.len() as u64).unwrap();
            for (bytes, records) in blocks(pairs) {
                assert!(sorter.add(Block::Owned(bytes), records).is_ok());
            }
            let Sorted { mut pairs, spilled } = sorter.finish().unwrap();
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
            let mut all = Vec::new();
            while let Some((key, value)) = pairs.peek() {
                all.push((key.to_vec(), value.to_vec()));
                pairs.advance().unwrap();
            }
            (all, spilled.0)
        };
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(sort)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4))]
        #[test]
        fn sort_is_stable_for_any_memory_and_threads(
            count in 60_000u32..150_000,
            distinct in prop_oneof![Just(1u32), 2u32..20, Just(1 << 20)],
            seed: u32,
            giant: bool,
        ) {
            let pairs: Vec<Pair> = (0..count).map(|n| {
                let random = (n ^ seed).wrapping_mul(0x9E37_79B1).rotate_left(15).wrapping_mul(0x85EB_CA77);
                // Half of the pairs may have one key.
                let key = if giant && random.is_multiple_of(2) { 7 } else { (random >> 8) % distinct };
                (key.to_be_bytes().to_vec(), n.to_be_bytes().to_vec())
            }).collect();
            let mut expected = pairs.clone();
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            for threads in 1..5 {
                let (all, runs) = sort(&pairs, threads, 0);
                prop_assert!(all == expected, "{} threads", threads);
                prop_assert!(runs > 1);
            }
            let (all, runs) = sort(&pairs, 3, 64 << 20);
            prop_assert!(all == expected);
            prop_assert_eq!(runs, 0);
        }
    }
}
