//! Reading one segment: block after block, each verified before its first record is lent, and again after its last one where the
//! bytes can change meanwhile.
//!
//! [`SegmentCursor`] owns a position but not the bytes, so that it can stand beside a mapped file in one struct; [`SegmentReader`]
//! is the two together. Uncompressed blocks are read where they lie, compressed ones into one buffer of the cursor.

use crate::block::{self, FormatError, HEADER_BYTES, Header, Identity, Verified};
use crate::codec::{self, Codec};
use std::ops::Range;

/// A position in a segment. Every call is given the same segment's bytes.
#[derive(Debug, Default)]
pub struct SegmentCursor {
    identity: Identity,
    /// Whether the segment is a mapped file that others can write to.
    can_change: bool,
    /// The block whose records are lent from where they lie, if it must be verified again: where it begins and ends.
    lent: Option<(usize, usize, Verified)>,
    /// Where the next block begins.
    next_block: usize,
    /// Whether the current block lies in `own` rather than in the segment; positions below are relative to that.
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
    /// Before the first record of a segment that must belong to `identity`.
    pub fn new(identity: Identity) -> Self {
        SegmentCursor { identity, ..Default::default() }
    }

    /// The same for a segment that others can change while it is read: every block is verified once more after its last record.
    /// A reader that stops earlier calls [`check_again`](Self::check_again).
    pub fn of_changeable(identity: Identity) -> Self {
        SegmentCursor { identity, can_change: true, ..Default::default() }
    }

    /// Verifies once more the block whose records are lent, if that is necessary and has not happened yet.
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

    /// Bytes that a cursor over this segment will need for its own: nothing for an uncompressed one.
    pub fn buffer_bytes(segment: &[u8]) -> usize {
        match Header::parse(segment) {
            Ok(h) if h.codec != Codec::None => (h.raw_length as usize).max(block::RAW_TARGET),
            _ => 0,
        }
    }

    /// Steps to the next record; false at the end.
    #[inline]
    pub fn advance(&mut self, segment: &[u8]) -> Result<bool, FormatError> {
        if self.at == self.end && !self.open_block(segment)? {
            return Ok(false);
        }
        let source = if self.decompressed { &self.own[..] } else { segment };
        let (key, key_length, value_length) = block::read_lengths(&source[..self.end], self.at)?;
        if self.records_left == 0 {
            return Err(FormatError::Malformed("a block holds more records than it says"));
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
                return Err(FormatError::Malformed("a block holds fewer records than it says"));
            }
            if self.next_block >= segment.len() {
                return Ok(false);
            }
            let start = self.next_block;
            let (header, payload, verified) = block::open(&segment[start..], &self.identity, start as u64)?;
            self.next_block = start + HEADER_BYTES + payload.len();
            self.records_left = header.records;
            self.decompressed = header.codec != Codec::None;
            self.lent = self.can_change.then_some((start, self.next_block, verified));
            if self.decompressed {
                let done = codec::decompress(header.codec, payload, header.raw_length as usize, &mut self.own);
                // What was decompressed is what was verified.
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

    /// Calls `f` with every record that is left, the current one not included.
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
                    return Err(FormatError::Malformed("a block holds more records than it says").into());
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

    /// The current record's key and value. Only after [`advance`](Self::advance) has said true.
    #[inline]
    pub fn record<'a>(&'a self, segment: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let source = if self.decompressed { &self.own[..] } else { segment };
        source[self.key..self.at].split_at(self.key_length)
    }
}

/// The blocks of a segment, each verified.
#[derive(Debug)]
pub struct BlockCursor {
    identity: Identity,
    next: usize,
}

impl BlockCursor {
    /// Before the first block of a segment that must belong to `identity`.
    pub fn new(identity: Identity) -> Self {
        BlockCursor { identity, next: 0 }
    }

    /// The next block: its header, where its payload lies, and what was verified. Every call is given the same segment's bytes.
    pub fn next_block(&mut self, segment: &[u8]) -> Result<Option<(Header, Range<usize>, Verified)>, FormatError> {
        if self.next >= segment.len() {
            return Ok(None);
        }
        let (header, payload, verified) = block::open(&segment[self.next..], &self.identity, self.next as u64)?;
        let start = self.next + HEADER_BYTES;
        self.next = start + payload.len();
        Ok(Some((header, start..self.next, verified)))
    }
}

/// A key and its value, lent.
pub type Record<'a> = (&'a [u8], &'a [u8]);

/// Records of one segment, lent one after the other.
pub struct SegmentReader<'a> {
    segment: &'a [u8],
    cursor: SegmentCursor,
}

impl<'a> SegmentReader<'a> {
    /// Over the bytes of one segment that must belong to `identity`.
    pub fn new(segment: &'a [u8], identity: Identity) -> Self {
        SegmentReader { segment, cursor: SegmentCursor::new(identity) }
    }

    /// The next record, until the next call.
    #[inline]
    #[allow(clippy::should_implement_trait)] // It lends; std's iterator cannot.
    pub fn next(&mut self) -> Result<Option<Record<'_>>, FormatError> {
        Ok(if self.cursor.advance(self.segment)? { Some(self.cursor.record(self.segment)) } else { None })
    }
}
