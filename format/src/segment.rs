//! Reads one segment block by block: each block is verified before its first record is lent, and again after its last
//! one if the bytes can change meanwhile.
//!
//! [`SegmentCursor`] owns a position but not the bytes, so that it can be stored beside a mapped file in one struct;
//! [`SegmentReader`] combines the two. Uncompressed blocks are read in place, compressed ones are decompressed into one
//! buffer of the cursor.

use crate::block::{self, FormatError, HEADER_BYTES, Header, Identity, Verified};
use crate::codec::{self, Codec};
use std::ops::Range;

/// Most records of a batch: while the first are used, memory is asked for what the last need.
pub const BATCH: usize = 64;

/// Neighbouring records of one block.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    block: &'a [u8],
    places: &'a [Place],
}

/// Memory for the places of a batch, which serves one batch after the other.
pub struct Places([Place; BATCH]);

/// Offsets in a block.
#[derive(Clone, Copy, Default)]
struct Place {
    key: usize,
    value: usize,
    end: usize,
}

impl Default for Places {
    fn default() -> Self {
        Places([Place::default(); BATCH])
    }
}

impl<'a> Batch<'a> {
    /// Number of records: from 1 to [`BATCH`].
    #[inline]
    #[allow(clippy::len_without_is_empty)] // It never is.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// A record; none at the end.
    #[inline(always)]
    pub fn get(&self, i: usize) -> Option<Record<'a>> {
        let Place { key, value, end } = *self.places.get(i)?;
        self.block[key..end].split_at_checked(value - key)
    }

    /// The records in order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Record<'a>> + use<'a> {
        let batch = *self;
        (0..batch.len()).filter_map(move |i| batch.get(i))
    }
}

/// A position in a segment. Every call must get the bytes of the same segment.
#[derive(Debug, Default)]
pub struct SegmentCursor {
    identity: Identity,
    /// Whether the segment is a mapped file that other processes can write to.
    can_change: bool,
    /// Whether the segment is in the memory of the process that wrote it, without checksums.
    unchecked: bool,
    /// Start, end and header of the block whose records are lent in place, if it must be verified again.
    lent: Option<(usize, usize, Verified)>,
    /// Offset of the next block.
    next_block: usize,
    /// Whether the current block is in `own` rather than in the segment; the positions below refer to that buffer.
    decompressed: bool,
    own: Vec<u8>,
    at: usize,
    end: usize,
    records_left: u32,
    key: usize,
    key_length: usize,
    value_length: usize,
}

impl SegmentCursor {
    /// A cursor before the first record of a segment that must belong to `identity`.
    pub fn new(identity: Identity) -> Self {
        SegmentCursor { identity, ..Default::default() }
    }

    /// A cursor over a segment that other processes can change while it is read: every block is verified again after
    /// its last record. A reader that stops earlier must call [`check_again`](Self::check_again).
    pub fn of_changeable(identity: Identity) -> Self {
        SegmentCursor { identity, can_change: true, ..Default::default() }
    }

    /// A cursor over a segment in the memory of the process that wrote it: its blocks are not verified.
    pub fn unchecked() -> Self {
        SegmentCursor { unchecked: true, ..Default::default() }
    }

    /// Verifies the lent block again, if that is necessary and has not happened yet.
    #[inline(never)]
    pub fn check_again(&mut self, segment: &[u8]) -> Result<(), FormatError> {
        match self.lent.take() {
            Some((start, end, verified)) => {
                let payload = segment.get(start + HEADER_BYTES..end).ok_or(FormatError::Truncated)?;
                verified.check_again(payload, &self.identity, start as u64)
            }
            None => Ok(()),
        }
    }

    /// Bytes of memory that a cursor over this segment will need: none for an uncompressed segment.
    pub fn buffer_bytes(segment: &[u8]) -> usize {
        match Header::parse(segment) {
            Ok(h) if h.codec != Codec::None => (h.raw_length as usize).max(block::RAW_TARGET),
            _ => 0,
        }
    }

    /// Steps to the next record; returns false at the end.
    #[inline]
    pub fn advance(&mut self, segment: &[u8]) -> Result<bool, FormatError> {
        if self.at == self.end && !self.open_block(segment)? {
            return Ok(false);
        }
        let source = if self.decompressed { &self.own[..] } else { segment };
        let (key, key_length, value_length) = block::read_lengths(&source[..self.end], self.at)?;
        if self.records_left == 0 {
            return Err(FormatError::Malformed("a block holds more records than its header declares"));
        }
        self.records_left -= 1;
        (self.key, self.key_length, self.value_length) = (key, key_length, value_length);
        self.at = key + key_length + value_length;
        Ok(true)
    }

    #[inline(never)]
    fn open_block(&mut self, segment: &[u8]) -> Result<bool, FormatError> {
        loop {
            self.check_again(segment)?;
            if self.records_left != 0 {
                return Err(FormatError::Malformed("a block holds fewer records than its header declares"));
            }
            if self.next_block >= segment.len() {
                return Ok(false);
            }
            let start = self.next_block;
            let (header, payload, verified) = match self.unchecked {
                true => block::open_unchecked(&segment[start..])?,
                false => block::open(&segment[start..], &self.identity, start as u64)?,
            };
            self.next_block = start + HEADER_BYTES + payload.len();
            self.records_left = header.records;
            self.decompressed = header.codec != Codec::None;
            self.lent = self.can_change.then_some((start, self.next_block, verified));
            if self.decompressed {
                let done = codec::decompress(header.codec, payload, header.raw_length as usize, &mut self.own);
                // The stored bytes must not have changed while they were decompressed.
                self.check_again(segment)?;
                done?;
                (self.at, self.end) = (0, self.own.len());
            } else {
                (self.at, self.end) = (start + HEADER_BYTES, self.next_block);
            }
            if self.at < self.end {
                return Ok(true);
            }
        }
    }

    /// Calls `f` with every remaining record, excluding the current one.
    #[inline]
    pub fn for_each<E: From<FormatError>>(
        &mut self,
        segment: &[u8],
        f: &mut impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let source = if self.decompressed { &self.own[..] } else { segment };
            let block = &source[..self.end];
            let (mut at, mut left) = (self.at, self.records_left);
            while at < block.len() {
                let (key, key_length, value_length) = block::read_lengths(block, at)?;
                if left == 0 {
                    return Err(FormatError::Malformed("a block holds more records than its header declares").into());
                }
                left -= 1;
                at = key + key_length + value_length;
                let (key, value) = block[key..at].split_at(key_length);
                f(key, value)?;
            }
            (self.at, self.records_left) = (self.end, left);
            if !self.open_block(segment)? {
                return Ok(());
            }
        }
    }

    /// Calls `f` with the current record and all that follow, up to [`BATCH`] neighbours of one block at a time. Valid only
    /// after [`advance`](Self::advance) has returned true.
    #[inline]
    pub fn for_each_batch<E: From<FormatError>>(
        &mut self,
        segment: &[u8],
        places: &mut Places,
        f: &mut impl FnMut(Batch<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        places.0[0] = Place { key: self.key, value: self.key + self.key_length, end: self.at };
        let mut n = 1;
        loop {
            let source = if self.decompressed { &self.own[..] } else { segment };
            let block = &source[..self.end];
            let (mut at, mut left) = (self.at, self.records_left);
            while at < block.len() {
                let (key, key_length, value_length) = block::read_lengths(block, at)?;
                if left == 0 {
                    return Err(FormatError::Malformed("a block holds more records than its header declares").into());
                }
                left -= 1;
                at = key + key_length + value_length;
                if n == BATCH {
                    f(Batch { block, places: &places.0 })?;
                    n = 0;
                }
                places.0[n] = Place { key, value: key + key_length, end: at };
                n += 1;
            }
            if n > 0 {
                f(Batch { block, places: &places.0[..n] })?;
                n = 0;
            }
            (self.at, self.records_left) = (self.end, left);
            if !self.open_block(segment)? {
                return Ok(());
            }
        }
    }

    /// Key and value of the current record. Valid only after [`advance`](Self::advance) has returned true.
    #[inline]
    pub fn record<'a>(&'a self, segment: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let source = if self.decompressed { &self.own[..] } else { segment };
        source[self.key..self.at].split_at(self.key_length)
    }
}

/// The blocks of a segment; each is verified.
#[derive(Debug)]
pub struct BlockCursor {
    /// None for a segment in the memory of the process that wrote it, without checksums.
    identity: Option<Identity>,
    next: usize,
}

impl BlockCursor {
    /// A cursor before the first block of a segment that must belong to `identity`.
    pub fn new(identity: Identity) -> Self {
        BlockCursor { identity: Some(identity), next: 0 }
    }

    /// A cursor over a segment in the memory of the process that wrote it: its blocks are not verified.
    pub fn unchecked() -> Self {
        BlockCursor { identity: None, next: 0 }
    }

    /// The next block: its header, the range of its payload, and the state to verify it again. Every call must get the
    /// bytes of the same segment.
    pub fn next_block(&mut self, segment: &[u8]) -> Result<Option<(Header, Range<usize>, Verified)>, FormatError> {
        if self.next >= segment.len() {
            return Ok(None);
        }
        let (header, payload, verified) = match &self.identity {
            Some(identity) => block::open(&segment[self.next..], identity, self.next as u64)?,
            None => block::open_unchecked(&segment[self.next..])?,
        };
        let start = self.next + HEADER_BYTES;
        self.next = start + payload.len();
        Ok(Some((header, start..self.next, verified)))
    }
}

/// Key and value, lent.
pub type Record<'a> = (&'a [u8], &'a [u8]);

/// Lends the records of one segment one at a time.
pub struct SegmentReader<'a> {
    segment: &'a [u8],
    cursor: SegmentCursor,
}

impl<'a> SegmentReader<'a> {
    /// A reader of one segment, which must belong to `identity`.
    pub fn new(segment: &'a [u8], identity: Identity) -> Self {
        SegmentReader { segment, cursor: SegmentCursor::new(identity) }
    }

    /// The next record, valid until the next call.
    #[inline]
    #[allow(clippy::should_implement_trait)] // It lends its items, which `Iterator` cannot.
    pub fn next(&mut self) -> Result<Option<Record<'_>>, FormatError> {
        Ok(if self.cursor.advance(self.segment)? { Some(self.cursor.record(self.segment)) } else { None })
    }
}
