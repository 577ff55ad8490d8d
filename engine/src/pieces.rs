//! Records in place: verified blocks of many segments in one address range, so that four bytes identify a record.
//!
//! Uncompressed blocks stay in their mapped files, whose pages do not belong to this process; compressed ones are
//! decompressed into memory, which counts. Every piece begins at a page of its own in the address range, so a page
//! identifies its piece.

use crate::heap;
use crate::mapped::MappedFile;
use crate::sort::{Entry, Keys, PREFETCH};
use std::ops::Range;
use std::sync::Arc;
use windrow_format::block;
use windrow_format::prefetch::{self, LINE};

const PAGE_BITS: u32 = 12;
/// Most bytes between the records of two neighbouring blocks: at least a header.
const HEADER_MAX: usize = 64;
/// Neighbouring blocks of a mapped segment form one piece up to this size in bytes.
const MAPPED_MAX: usize = 64 << 20;
/// Bytes of a record that are prefetched. In longer records the processor detects the sequential access itself.
const PREFETCH_MAX: usize = 512;

/// Blocks of records in one address range.
#[derive(Default)]
pub(crate) struct Pieces {
    list: Vec<Piece>,
    /// The index of the piece for each page.
    pages: Vec<u32>,
    /// Bytes of decompressed blocks.
    owned: usize,
}

struct Piece {
    /// Address of the first byte.
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
    /// Bytes of memory that belong to this process.
    pub(crate) fn memory(&self) -> usize {
        self.owned + self.pages.len() * 4
    }

    /// Drops all pieces.
    pub(crate) fn clear(&mut self) {
        *self = Pieces::default();
    }

    /// Returns whether this many more bytes can be addressed.
    pub(crate) fn have_room_for(&self, bytes: usize) -> bool {
        u32::try_from((self.pages.len() << PAGE_BITS) + bytes + HEADER_MAX).is_ok()
    }

    /// Adds bytes of a mapped file, which must have [room](Self::have_room_for), and returns the address of the first.
    pub(crate) fn add_mapped(&mut self, file: &Arc<MappedFile>, range: Range<usize>) -> u32 {
        if let Some(Piece { start, bytes: Bytes::Mapped(last, have) }) = self.list.last_mut()
            && Arc::ptr_eq(last, file)
            // A header lies between the records of two blocks.
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

    /// Adds a decompressed block, which must have [room](Self::have_room_for), and returns the address of its first
    /// byte.
    pub(crate) fn add_owned(&mut self, bytes: Vec<u8>) -> u32 {
        let length = bytes.len();
        self.owned += bytes.capacity();
        self.add(Bytes::Owned(bytes), length)
    }

    fn add(&mut self, bytes: Bytes, length: usize) -> u32 {
        let start = self.pages.len() << PAGE_BITS;
        self.list.push(Piece { start, bytes });
        // An empty piece takes an address too.
        self.cover(start + length.max(1));
        start as u32
    }

    /// Assigns all pages up to this address to the last piece.
    fn cover(&mut self, end: usize) {
        self.pages.resize(end.div_ceil(1 << PAGE_BITS).max(self.pages.len()), self.list.len() as u32 - 1);
    }

    /// The bytes from an address to the end of its piece.
    #[inline]
    pub(crate) fn from(&self, at: u32) -> &[u8] {
        let piece = &self.list[self.pages[(at >> PAGE_BITS) as usize] as usize];
        &piece.bytes()[at as usize - piece.start..]
    }

    /// The record at an address. Its lengths were checked when it was added; if the file has changed since, the result
    /// is some bytes within the piece.
    #[inline]
    pub(crate) fn record(&self, at: u32) -> (&[u8], &[u8]) {
        let bytes = self.from(at);
        match block::read_lengths(bytes, 0) {
            Ok((key, key_length, value_length)) => bytes[key..key + key_length + value_length].split_at(key_length),
            Err(_) => (&[], &[]),
        }
    }

    /// Prefetches the records that follow entry `at` in the order.
    #[inline]
    pub(crate) fn prefetch_ahead(&self, entries: &[Entry], at: usize) {
        if let Some(far) = entries.get(at + PREFETCH) {
            self.prefetch_start(far.at);
        }
        if let Some(near) = entries.get(at + PREFETCH / 2) {
            self.prefetch_rest(near.at);
        }
    }

    /// Prefetches the start of a record, which [`prefetch_rest`](Self::prefetch_rest) reads.
    #[inline]
    fn prefetch_start(&self, at: u32) {
        prefetch::read(self.from(at).as_ptr());
    }

    /// Prefetches the further cache lines of a record, up to a limit.
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
