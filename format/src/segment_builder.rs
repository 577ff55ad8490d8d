//! The open block of one partition: records are appended, and a full block is sealed and started again.
//!
//! Records are written in their final form, behind room for the header, so sealing an uncompressed block moves nothing.
//! A builder tracks whether the keys of its segment ascend; readers merge such segments instead of sorting them.

use crate::block::{self, FormatError, HEADER_BYTES, Header, Identity, RAW_TARGET};
use crate::codec::{Codec, Compressor};
use crate::digest::RecordDigest;
use crate::prefetch::{self, LINE};

/// Initial size of a builder's buffer in bytes.
const START_BYTES: usize = 1 << 10;

/// A finished block; header and payload are the first `length` bytes of the buffer.
#[derive(Debug)]
pub struct Sealed {
    /// The header.
    pub header: Header,
    bytes: Vec<u8>,
    length: usize,
    /// Whether the header has a checksum.
    is_checked: bool,
}

impl Sealed {
    /// Adds the checksum that a block of an [unchecked](SegmentBuilder::unchecked) builder lacks. Must come before the block
    /// leaves the memory of the process.
    pub fn check(&mut self, identity: &Identity) {
        if !std::mem::replace(&mut self.is_checked, true) {
            let (head, payload) = self.bytes[..self.length].split_at_mut(HEADER_BYTES);
            head.copy_from_slice(&self.header.seal(identity, &[payload]));
        }
    }

    /// The stored form of the block.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Bytes of memory of the buffer.
    pub fn memory(&self) -> usize {
        self.bytes.len()
    }

    /// A copy in a buffer of exactly the block's length.
    pub fn to_exact(&self) -> Sealed {
        Sealed { bytes: self.as_slice().to_vec(), ..*self }
    }

    /// The buffer, for reuse.
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }
}

/// Builds the blocks of one segment from its records.
#[derive(Debug, Default)]
pub struct SegmentBuilder {
    /// Initialised in its whole length; the open block ends at `end`.
    bytes: Vec<u8>,
    end: usize,
    records: u32,
    /// Whether a key of this segment was smaller than its predecessor.
    unsorted: bool,
    /// The first eight bytes of the last key, and the range of the whole key in `bytes`.
    last: u64,
    last_at: (usize, usize),
    /// The last key of the previous block.
    kept: Vec<u8>,
    /// Digest of the records in sealed blocks, independent of the cut into blocks.
    digest: RecordDigest,
    /// Whether blocks get neither checksums nor digests.
    unchecked: bool,
}

/// The first eight bytes, big-endian, padded with zeros: prefixes order as keys do.
#[inline]
fn prefix(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(b) => u64::from_be_bytes(*b),
        None => {
            let mut b = [0; 8];
            b[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(b)
        }
    }
}

/// Copies a slice of the same length; short slices without a function call.
#[inline(always)]
fn copy(to: &mut [u8], from: &[u8]) {
    let n = from.len();
    match n {
        8..=16 => {
            let (first, last) = (first_chunk::<8>(from), last_chunk::<8>(from));
            to[..8].copy_from_slice(&first);
            to[n - 8..].copy_from_slice(&last);
        }
        4..=7 => {
            let (first, last) = (first_chunk::<4>(from), last_chunk::<4>(from));
            to[..4].copy_from_slice(&first);
            to[n - 4..].copy_from_slice(&last);
        }
        _ => to.copy_from_slice(from),
    }
}

#[inline(always)]
fn first_chunk<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

#[inline(always)]
fn last_chunk<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.last_chunk().copied().unwrap_or([0; N])
}

impl SegmentBuilder {
    /// Creates a builder. With `any_order` the digests of its segments do not depend on the order of their records.
    pub fn new(any_order: bool) -> Self {
        SegmentBuilder { digest: RecordDigest::new(any_order), ..SegmentBuilder::default() }
    }

    /// The same builder, whose blocks have neither checksums nor digests: for readers in the same process.
    pub fn unchecked(self, unchecked: bool) -> Self {
        SegmentBuilder { unchecked, ..self }
    }

    /// Bytes of memory of the buffer.
    #[inline]
    pub fn memory(&self) -> usize {
        self.bytes.len()
    }

    /// Returns whether the open block has no records.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Returns whether a record of these lengths should start a new block, so that this one does not exceed `target`
    /// bytes.
    #[inline]
    pub fn is_full_for(&self, key: usize, value: usize, target: usize) -> bool {
        self.records > 0 && self.end + key + value + 10 > target + HEADER_BYTES
    }

    /// Adds a record whose lengths have been checked against the limits.
    #[inline]
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        if (key.len() | value.len()) < 0x80 {
            // Both lengths in one store, from a register. Two stores of a byte that are read back as one word would wait
            // until every earlier store, also of other blocks, has reached the cache.
            let lengths = (key.len() | value.len() << 8) as u16;
            self.push_behind(&lengths.to_le_bytes(), key, value);
        } else {
            let (lengths, n) = block::lengths(key.len(), value.len());
            self.push_behind(&lengths[..n], key, value);
        }
    }

    /// Adds a record whose lengths are encoded as `lengths`.
    #[inline(always)]
    fn push_behind(&mut self, lengths: &[u8], key: &[u8], value: &[u8]) {
        let start = self.end.max(HEADER_BYTES);
        let n = lengths.len();
        let end = start + n + key.len() + value.len();
        if end > self.bytes.len() {
            self.grow(end);
        }
        if !self.unsorted {
            self.watch(key, start + n);
        }
        let to = &mut self.bytes[start..end];
        to[..n].copy_from_slice(lengths);
        copy(&mut to[n..n + key.len()], key);
        copy(&mut to[n + key.len()..], value);
        self.end = end;
        self.records += 1;
        // Many other builders get records before this one does again, more than the hardware prefetcher can track.
        let next = self.bytes.as_ptr().wrapping_add(end);
        if end - start > LINE {
            prefetch::write(next.wrapping_add(LINE));
            prefetch::write(next.wrapping_add(2 * LINE));
        } else if start / LINE != end / LINE {
            prefetch::write(next.wrapping_add(LINE));
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, needed: usize) {
        let usual = (2 * self.bytes.len()).clamp(START_BYTES, RAW_TARGET + HEADER_BYTES);
        let length = needed.max(usual);
        // Exact, so that memory accounting sees the whole capacity.
        self.bytes.reserve_exact(length - self.bytes.len());
        self.bytes.resize(length, 0);
    }

    #[inline]
    fn watch(&mut self, key: &[u8], at: usize) {
        let prefix = prefix(key);
        if prefix <= self.last && !self.ascends(prefix, key) {
            self.unsorted = true;
        }
        self.last = prefix;
        self.last_at = (at, at + key.len());
    }

    /// Returns whether the key is not smaller than the last one, given that its prefix is not larger.
    #[inline(never)]
    fn ascends(&self, prefix: u64, key: &[u8]) -> bool {
        let last = if self.records > 0 { &self.bytes[self.last_at.0..self.last_at.1] } else { &self.kept[..] };
        prefix == self.last && last <= key
    }

    /// Seals the open block, which must hold a record. `spare` becomes the buffer of the next block, or receives the
    /// compressed form of this one.
    pub fn seal(&mut self, identity: &Identity, compressor: &mut Compressor, mut spare: Vec<u8>) -> Sealed {
        assert!(self.records > 0, "an empty block is not written");
        self.kept.clear();
        if !self.unsorted {
            self.kept.extend_from_slice(&self.bytes[self.last_at.0..self.last_at.1]);
        }
        let raw_length = (self.end - HEADER_BYTES) as u32;
        if !self.unchecked {
            self.digest.add_block(&self.bytes[HEADER_BYTES..self.end]);
        }
        let mut header = Header {
            codec: Codec::None,
            raw_length,
            stored_length: raw_length,
            records: self.records,
            sorted: !self.unsorted,
            digest: self.digest.value(),
        };
        let compressed = compressor.compress_behind(HEADER_BYTES, &self.bytes[HEADER_BYTES..self.end], &mut spare);
        let (mut bytes, length) = match compressed {
            Some((codec, length)) => {
                header.codec = codec;
                header.stored_length = length as u32;
                (spare, HEADER_BYTES + length)
            }
            None => (std::mem::replace(&mut self.bytes, spare), self.end),
        };
        let (head, payload) = bytes[..length].split_at_mut(HEADER_BYTES);
        let sealed = if self.unchecked { header.without_checksum() } else { header.seal(identity, &[payload]) };
        head.copy_from_slice(&sealed);
        (self.end, self.records) = (0, 0);
        Sealed { header, bytes, length, is_checked: !self.unchecked }
    }

    /// Header and lengths of a block that holds only this record; the caller writes key and value after them. For
    /// records that are too large to copy. The open block must be empty.
    pub fn alone(&mut self, identity: &Identity, key: &[u8], value: &[u8]) -> (Header, Vec<u8>) {
        assert!(self.records == 0, "records keep their order");
        self.watch(key, HEADER_BYTES);
        self.kept.clear();
        if !self.unsorted {
            self.kept.extend_from_slice(key);
        }
        let (lengths, n) = block::lengths(key.len(), value.len());
        let bytes = (n + key.len() + value.len()) as u32;
        let sorted = !self.unsorted;
        self.digest.add_alone([&lengths[..n], key, value]);
        let digest = self.digest.value();
        let header = Header { codec: Codec::None, raw_length: bytes, stored_length: bytes, records: 1, sorted, digest };
        let mut head = header.seal(identity, &[&lengths[..n], key, value]).to_vec();
        head.extend_from_slice(&lengths[..n]);
        (header, head)
    }

    /// Starts another segment and keeps the buffer. The open block must be empty.
    pub fn restart(&mut self) {
        assert!(self.records == 0, "the open block is empty");
        (self.unsorted, self.last) = (false, 0);
        self.digest.restart();
        self.kept.clear();
    }

    /// The buffer, for reuse.
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }

    /// Replaces the buffer by an empty one. The open block must be empty.
    pub fn drop_buffer(&mut self) {
        assert!(self.records == 0, "the open block is empty");
        self.bytes = Vec::new();
    }
}

/// Returns whether the keys of a whole segment ascend, according to its last block. Reads every header and no payload.
pub fn is_sorted(segment: &[u8]) -> Result<bool, FormatError> {
    let mut at = 0;
    let mut sorted = true;
    while at < segment.len() {
        let header = Header::parse(&segment[at..])?;
        sorted = header.sorted;
        at += HEADER_BYTES + header.stored_length as usize;
    }
    Ok(sorted)
}
