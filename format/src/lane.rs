//! The open block of one partition: records are appended, and when it is full it is sealed and begins anew.
//!
//! Records are laid down in their final form at once, behind room for the header, so that sealing an uncompressed block moves
//! nothing. A lane notices whether the keys of its segment ascend; readers merge such segments instead of sorting them.

use crate::block::{self, FormatError, HEADER_BYTES, Header, Identity, RAW_TARGET};
use crate::codec::{Codec, Compressor};
use crate::digest::RecordDigest;
use crate::prefetch::{self, LINE};

/// First size of a lane's buffer.
const START_BYTES: usize = 1 << 10;

/// A finished block: header and payload are the first `length` bytes.
#[derive(Debug)]
pub struct Sealed {
    /// What the block says of itself.
    pub header: Header,
    bytes: Vec<u8>,
    length: usize,
}

impl Sealed {
    /// The block as it is stored.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Bytes of memory that it holds.
    pub fn memory(&self) -> usize {
        self.bytes.len()
    }

    /// A copy in a buffer that is no longer than it must be.
    pub fn to_exact(&self) -> Sealed {
        Sealed { header: self.header, bytes: self.as_slice().to_vec(), length: self.length }
    }

    /// Its buffer, to be used again.
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }
}

/// Collects the records of one segment.
#[derive(Debug, Default)]
pub struct Lane {
    /// Initialised as far as it is long; the open block ends at `end`.
    bytes: Vec<u8>,
    end: usize,
    records: u32,
    /// Whether a key of this segment was smaller than the one before it.
    unsorted: bool,
    /// The last key's first eight bytes, and where the whole key lies in `bytes`.
    last: u64,
    last_at: (usize, usize),
    /// The last key of the block before.
    kept: Vec<u8>,
    /// Of the segment's records in its sealed blocks, however they are cut.
    digest: RecordDigest,
}

/// The first eight bytes, big-endian, padded with zeros: ascends as keys do.
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

/// Copies a slice of the same length; a short one without a call.
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

impl Lane {
    /// Whether the records of the segments come in any order: their digest then does not depend on it.
    pub fn new(any_order: bool) -> Self {
        Lane { digest: RecordDigest::new(any_order), ..Lane::default() }
    }

    /// Bytes of memory that it holds.
    #[inline]
    pub fn memory(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no record is in the open block.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Whether a record of these lengths should open a new block rather than let this one grow beyond `target` bytes.
    #[inline]
    pub fn is_full_for(&self, key: usize, value: usize, target: usize) -> bool {
        self.records > 0 && self.end + key + value + 10 > target + HEADER_BYTES
    }

    /// Adds a record whose lengths have been checked.
    #[inline]
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        let (lengths, n) = block::lengths(key.len(), value.len());
        let start = self.end.max(HEADER_BYTES);
        let end = start + n + key.len() + value.len();
        if end > self.bytes.len() {
            self.grow(end);
        }
        if !self.unsorted {
            self.watch(key, start + n);
        }
        let to = &mut self.bytes[start..end];
        if n == 2 {
            to[..2].copy_from_slice(&lengths[..2]);
        } else {
            to[..n].copy_from_slice(&lengths[..n]);
        }
        copy(&mut to[n..n + key.len()], key);
        copy(&mut to[n + key.len()..], value);
        self.end = end;
        self.records += 1;
        // Many other lanes get records before this one does, more than the processor itself can keep track of.
        if end - start > LINE {
            let next = self.bytes.as_ptr().wrapping_add(end);
            prefetch::read(next.wrapping_add(LINE));
            prefetch::read(next.wrapping_add(2 * LINE));
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, needed: usize) {
        let usual = (2 * self.bytes.len()).clamp(START_BYTES, RAW_TARGET + HEADER_BYTES);
        let length = needed.max(usual);
        // Whoever counts memory sees as much as there is.
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

    /// Whether a key with a prefix that is not larger than the last one's is not smaller either.
    #[inline(never)]
    fn ascends(&self, prefix: u64, key: &[u8]) -> bool {
        let last = if self.records > 0 { &self.bytes[self.last_at.0..self.last_at.1] } else { &self.kept[..] };
        prefix == self.last && last <= key
    }

    /// Ends the open block, which must hold a record. `spare` takes the place of the buffer that goes along (or, for a
    /// compressed block, receives it).
    pub fn seal(&mut self, identity: &Identity, compressor: &mut Compressor, mut spare: Vec<u8>) -> Sealed {
        assert!(self.records > 0, "an empty block is not written");
        self.kept.clear();
        if !self.unsorted {
            self.kept.extend_from_slice(&self.bytes[self.last_at.0..self.last_at.1]);
        }
        let raw_length = (self.end - HEADER_BYTES) as u32;
        self.digest.add_block(&self.bytes[HEADER_BYTES..self.end]);
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
        head.copy_from_slice(&header.seal(identity, &[payload]));
        (self.end, self.records) = (0, 0);
        Sealed { header, bytes, length }
    }

    /// Header and lengths of a block that holds this one record as it is: the key and the value follow them. For records that are
    /// too large to be copied; the open block must be empty.
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

    /// Forgets the segment, which must have been sealed, and keeps the buffer for another.
    pub fn restart(&mut self) {
        assert!(self.records == 0, "no record is left behind");
        (self.unsorted, self.last) = (false, 0);
        self.digest.restart();
        self.kept.clear();
    }

    /// Its buffer, to be used again.
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }

    /// Begins anew with a small buffer; no block may be open.
    pub fn drop_buffer(&mut self) {
        assert!(self.records == 0, "no record is left behind");
        self.bytes = Vec::new();
    }
}

/// Whether the keys of a whole segment ascend, as its last block says. Reads every header and no payload.
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
