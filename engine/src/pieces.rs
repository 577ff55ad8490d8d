//! Records where they lie: verified blocks of many segments under one range of addresses, so that four bytes name a record.
//!
//! Uncompressed blocks stay in their mapped files, whose pages are not this process's; compressed ones are decompressed into memory,
//! which counts. Every piece begins at a page of its own in the common range, so that a page tells the piece.

use crate::heap;
use crate::mapped::MappedFile;
use crate::sort::{Entry, Keys, PREFETCH};
use std::ops::Range;
use std::sync::Arc;
use windrow_format::block;
use windrow_format::prefetch::{self, LINE};

const PAGE_BITS: u32 = 12;
/// What may lie between two blocks of records: at least a header.
const HEADER_MAX: usize = 64;
/// Neighbouring blocks of a mapped segment are one piece up to this size.
const MAPPED_MAX: usize = 64 << 20;
/// Of longer records the processor itself finds that they are read from front to back.
const PREFETCH_MAX: usize = 512;

/// Blocks of records.
#[derive(Default)]
pub struct Pieces {
    list: Vec<Piece>,
    /// The piece of each page.
    pages: Vec<u32>,
    /// Bytes of decompressed blocks.
    owned: usize,
}

struct Piece {
    /// Address of its first byte.
    start: usize,
    bytes: Bytes,
}

enum Bytes {
    Mapped(Arc<MappedFile>, Range<usize>),
    Owned(Vec<u8>),
}

impl Piece {
    #[inline]
    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(file, range) => file.get(range.clone()).unwrap_or_default(),
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl Pieces {
    /// Bytes of memory that are this process's own.
    pub fn memory(&self) -> usize {
        self.owned + self.pages.len() * 4
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Pieces::default();
    }

    /// Whether there are addresses left for so many more bytes.
    pub fn have_room_for(&self, bytes: usize) -> bool {
        u32::try_from((self.pages.len() << PAGE_BITS) + bytes + HEADER_MAX).is_ok()
    }

    /// Adds bytes of a mapped file, for which there is [room](Self::have_room_for), and gives the address of the first.
    pub fn add_mapped(&mut self, file: &Arc<MappedFile>, range: Range<usize>) -> u32 {
        if let Some(Piece { start, bytes: Bytes::Mapped(last, have) }) = self.list.last_mut()
            && Arc::ptr_eq(last, file)
            // A block's header lies between its records and those of the block before.
            && (have.end..=have.end + HEADER_MAX).contains(&range.start)
            && range.end - have.start <= MAPPED_MAX
        {
            let at = *start + (range.start - have.start);
            have.end = range.end;
            let end = *start + have.len();
            self.cover(end);
            return at as u32;
        }
        let length = range.len();
        self.add(Bytes::Mapped(file.clone(), range), length)
    }

    /// Adds a decompressed block, for which there is [room](Self::have_room_for), and gives the address of its first byte.
    pub fn add_owned(&mut self, bytes: Vec<u8>) -> u32 {
        let length = bytes.len();
        self.owned += bytes.capacity();
        self.add(Bytes::Owned(bytes), length)
    }

    fn add(&mut self, bytes: Bytes, length: usize) -> u32 {
        let start = self.pages.len() << PAGE_BITS;
        self.list.push(Piece { start, bytes });
        // An empty piece has an address of its own, too.
        self.cover(start + length.max(1));
        start as u32
    }

    /// Makes the last piece the one of all pages up to this address.
    fn cover(&mut self, end: usize) {
        self.pages.resize(end.div_ceil(1 << PAGE_BITS).max(self.pages.len()), self.list.len() as u32 - 1);
    }

    /// The bytes from an address to the end of its piece.
    #[inline]
    pub fn from(&self, at: u32) -> &[u8] {
        let piece = &self.list[self.pages[(at >> PAGE_BITS) as usize] as usize];
        &piece.bytes()[at as usize - piece.start..]
    }

    /// The record at an address. It was read once, so its lengths are right; of a file that has changed since, something inside of
    /// the piece.
    #[inline]
    pub fn record(&self, at: u32) -> (&[u8], &[u8]) {
        let bytes = self.from(at);
        match block::read_lengths(bytes, 0) {
            Ok((key, key_length, value_length)) => bytes[key..key + key_length + value_length].split_at(key_length),
            Err(_) => (&[], &[]),
        }
    }

    /// Asks the processor for records that are read soon: those behind the one at this place in an order.
    #[inline]
    pub fn prefetch_ahead(&self, entries: &[Entry], at: usize) {
        if let Some(far) = entries.get(at + PREFETCH) {
            self.prefetch_start(far.at);
        }
        if let Some(near) = entries.get(at + PREFETCH / 2) {
            self.prefetch_rest(near.at);
        }
    }

    /// Asks the processor for the beginning of a record, which [`prefetch_rest`](Self::prefetch_rest) reads.
    #[inline]
    fn prefetch_start(&self, at: u32) {
        prefetch::read(self.from(at).as_ptr());
    }

    /// Asks the processor for what a record has behind its first line, as far as that is worth while.
    #[inline]
    fn prefetch_rest(&self, at: u32) {
        let bytes = self.from(at);
        if let Ok((key, key_length, value_length)) = block::read_lengths(bytes, 0) {
            let end = (key + key_length + value_length).min(bytes.len()).min(PREFETCH_MAX);
            let first_line = LINE - bytes.as_ptr().addr() % LINE;
            (first_line..end).step_by(LINE).for_each(|at| prefetch::read(bytes[at..].as_ptr()));
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.list.clear();
        heap::freed(self.owned);
    }
}

impl Keys for Pieces {
    #[inline]
    fn key(&self, at: u32) -> &[u8] {
        self.record(at).0
    }
    #[inline]
    fn prefetch(&self, at: u32) {
        prefetch::read(self.from(at).as_ptr());
    }
}
