//! The shuffle file: what one attempt writes for one output, and how another process finds its partitions.
//!
//! ```text
//! blocks, partition after partition ascending     (see `block`)
//! index: for each partition that has records      partition, digest u32, offset, length, records, raw length u64
//! footer, 28 bytes: index offset u64, entries u32, version u32, CRC-32C u32 of (index, footer so far), magic "windrowS"
//! ```
//! Numbers are little-endian. The segments cover the file from byte 0 to the index without gaps.
//! Runs (sorted spills) are the same file with the attempt's own identity.

use crate::block::{self, FormatError, HEADER_BYTES, Header, Identity, RAW_TARGET};
use crate::checksum::{Crc32c, crc32c};
use crate::codec::{Codec, Compressor};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use windrow_model::Segment;

pub use crate::segment::{SegmentCursor, SegmentReader};

const MAGIC: [u8; 8] = *b"windrowS";
const VERSION: u32 = 3;
const ENTRY_BYTES: usize = 40;
const FOOTER_BYTES: usize = 28;
/// Room that a block may need while it is made: LZ4 wants a tenth more than it can ever fill.
const BLOCK_MAX: usize = HEADER_BYTES + RAW_TARGET + RAW_TARGET / 8;
/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// Keys are gathered before they are summed: a sum costs little for each byte, and much for each call.
const KEYS_BYTES: usize = 4 << 10;

/// The digest of a segment while it is written: of its records by the checksums of its blocks, which are cut by the
/// records' sizes alone, whatever the codec; or of its keys.
enum RecordDigest {
    Records(Crc32c),
    Keys(Crc32c, Vec<u8>),
}

impl RecordDigest {
    /// A block whose records have this checksum.
    fn block(&mut self, checksum: u32) {
        if let RecordDigest::Records(crc) = self {
            crc.update(&checksum.to_le_bytes());
        }
    }

    /// The records of a block that will be compressed.
    fn raw_block(&mut self, records: &[u8]) {
        if let RecordDigest::Records(_) = self {
            self.block(crc32c(records));
        }
    }

    /// The key of one record.
    #[inline]
    fn key(&mut self, key: &[u8]) {
        if let RecordDigest::Keys(crc, keys) = self {
            keys.extend_from_slice(&(key.len() as u32).to_le_bytes());
            keys.extend_from_slice(key);
            if keys.len() >= KEYS_BYTES {
                crc.update(keys);
                keys.clear();
                keys.shrink_to(2 * KEYS_BYTES);
            }
        }
    }

    /// What it is, and begins anew.
    fn take(&mut self) -> u32 {
        let crc = match self {
            RecordDigest::Records(crc) => crc,
            RecordDigest::Keys(crc, keys) => {
                crc.update(keys);
                keys.clear();
                crc
            }
        };
        std::mem::take(crc).value()
    }
}

/// Writes a shuffle file. Memory: its write buffer, and with a codec one raw block.
pub struct ShuffleWriter {
    file: File,
    identity: Identity,
    compressor: Compressor,
    compressed: bool,
    /// Finished blocks, and without a codec the open one behind them.
    out: Vec<u8>,
    write_bytes: usize,
    /// File offset of the first byte of `out`.
    out_offset: u64,
    /// With a codec: the open block's records.
    raw: Vec<u8>,
    /// Without a codec: where in `out` the open block's header belongs.
    block_start: usize,
    block_records: u32,
    segments: Vec<Segment>,
    digest: RecordDigest,
}

impl ShuffleWriter {
    /// A new file at `path`; the identity's partition is filled in block by block.
    pub fn create(path: &Path, identity: Identity, codec: Codec) -> Result<Self, FormatError> {
        Self::create_with_buffer(path, identity, codec, WRITE_BYTES)
    }

    /// The same with a smaller write buffer, for small budgets.
    pub fn create_with_buffer(
        path: &Path,
        identity: Identity,
        codec: Codec,
        bytes: usize,
    ) -> Result<Self, FormatError> {
        Ok(ShuffleWriter {
            file: File::create(path)?,
            identity,
            compressor: Compressor::new(codec),
            compressed: codec != Codec::None,
            out: Vec::new(),
            write_bytes: bytes.min(WRITE_BYTES),
            out_offset: 0,
            raw: Vec::new(),
            block_start: 0,
            block_records: 0,
            segments: Vec::new(),
            digest: RecordDigest::Records(Crc32c::new()),
        })
    }

    /// Digests cover the keys alone. To be said before the first record.
    pub fn digest_keys(&mut self) {
        self.digest = RecordDigest::Keys(Crc32c::new(), Vec::new());
    }

    /// Most bytes that a writer with this buffer holds, one larger record aside.
    pub fn memory_bytes(codec: Codec, buffer: usize) -> usize {
        buffer.min(WRITE_BYTES) + BLOCK_MAX + if codec == Codec::None { 0 } else { RAW_TARGET }
    }

    /// Adds a record. Partitions never descend.
    #[inline]
    pub fn push(&mut self, partition: u32, key: &[u8], value: &[u8]) -> Result<(), FormatError> {
        block::check_record(key, value)?;
        if self.segments.last().is_none_or(|s| s.partition != partition) {
            self.open_partition(partition)?;
        }
        let (lengths, n) = block::lengths(key.len(), value.len());
        let bytes = n + key.len() + value.len();
        if self.open_bytes() + bytes > RAW_TARGET {
            self.close_block()?;
            if bytes > RAW_TARGET && !self.compressed {
                return self.push_alone(&lengths[..n], key, value);
            }
        }
        if self.block_records == 0 {
            self.open_block();
        }
        let to = if self.compressed { &mut self.raw } else { &mut self.out };
        to.extend_from_slice(&lengths[..n]);
        to.extend_from_slice(key);
        to.extend_from_slice(value);
        self.block_records += 1;
        self.digest.key(key);
        Ok(())
    }

    /// Room for one block in small steps, so that a small file needs little and a large one no more than it said.
    fn open_block(&mut self) {
        if self.out.capacity() - self.out.len() < BLOCK_MAX {
            let grown = (2 * self.out.capacity()).min(self.write_bytes + BLOCK_MAX);
            self.out.reserve_exact(BLOCK_MAX.max(grown.saturating_sub(self.out.len())));
        }
        if self.compressed {
            self.raw.reserve_exact(RAW_TARGET);
        } else {
            self.block_start = self.out.len();
            self.out.extend_from_slice(&[0; HEADER_BYTES]);
        }
    }

    #[inline]
    fn open_bytes(&self) -> usize {
        if self.block_records == 0 {
            0
        } else if self.compressed {
            self.raw.len()
        } else {
            self.out.len() - self.block_start - HEADER_BYTES
        }
    }

    #[inline(never)]
    fn open_partition(&mut self, partition: u32) -> Result<(), FormatError> {
        self.close_segment()?;
        let last = self.segments.last().map(|s| s.partition);
        assert!(last < Some(partition), "partitions are written in ascending order: {partition} after {last:?}");
        let offset = self.out_offset + self.out.len() as u64;
        self.segments.push(Segment { partition, offset, length: 0, records: 0, raw_length: 0, digest: 0 });
        self.identity.partition = partition;
        Ok(())
    }

    /// The records of a partition are complete.
    fn close_segment(&mut self) -> Result<(), FormatError> {
        self.close_block()?;
        let digest = self.digest.take();
        if let Some(last) = self.segments.last_mut() {
            last.digest = digest;
        }
        Ok(())
    }

    /// A record larger than a block, as it is: it goes to the file without being copied.
    #[inline(never)]
    fn push_alone(&mut self, lengths: &[u8], key: &[u8], value: &[u8]) -> Result<(), FormatError> {
        let bytes = (lengths.len() + key.len() + value.len()) as u32;
        let header = Header { codec: Codec::None, raw_length: bytes, stored_length: bytes, records: 1 };
        let pieces = [lengths, key, value];
        let (head, checksum) = header.seal(&self.identity, &pieces);
        self.digest.block(checksum);
        self.digest.key(key);
        self.out.extend_from_slice(&head);
        self.flush()?;
        for piece in pieces {
            self.file.write_all(piece)?;
            self.out_offset += piece.len() as u64;
        }
        self.count(&header);
        Ok(())
    }

    #[inline(never)]
    fn close_block(&mut self) -> Result<(), FormatError> {
        if self.block_records == 0 {
            return Ok(());
        }
        let records = self.block_records;
        self.block_records = 0;
        let header = if self.compressed {
            self.digest.raw_block(&self.raw);
            let start = self.out.len();
            self.out.extend_from_slice(&[0; HEADER_BYTES]);
            let codec = self.compressor.compress(&self.raw, &mut self.out);
            if codec == Codec::None {
                self.out.extend_from_slice(&self.raw);
            }
            let raw_length = self.raw.len() as u32;
            self.raw.clear();
            self.raw.shrink_to(2 * RAW_TARGET);
            self.seal(start, codec, raw_length, records).0
        } else {
            let raw_length = (self.out.len() - self.block_start - HEADER_BYTES) as u32;
            let (header, checksum) = self.seal(self.block_start, Codec::None, raw_length, records);
            self.digest.block(checksum);
            header
        };
        self.count(&header);
        if self.out.len() >= self.write_bytes {
            self.flush()?;
        }
        Ok(())
    }

    fn seal(&mut self, start: usize, codec: Codec, raw_length: u32, records: u32) -> (Header, u32) {
        let stored_length = (self.out.len() - start - HEADER_BYTES) as u32;
        let header = Header { codec, raw_length, stored_length, records };
        let (head, payload) = self.out[start..].split_at_mut(HEADER_BYTES);
        let (bytes, checksum) = header.seal(&self.identity, &[payload]);
        head.copy_from_slice(&bytes);
        (header, checksum)
    }

    fn count(&mut self, header: &Header) {
        if let Some(s) = self.segments.last_mut() {
            s.length += HEADER_BYTES as u64 + header.stored_length as u64;
            s.records += header.records as u64;
            s.raw_length += header.raw_length as u64;
        }
    }

    fn flush(&mut self) -> Result<(), FormatError> {
        self.file.write_all(&self.out)?;
        self.out_offset += self.out.len() as u64;
        self.out.clear();
        self.out.shrink_to(WRITE_BYTES + 2 * RAW_TARGET);
        Ok(())
    }

    /// Writes index and footer; nothing is synced. Says where each partition lies.
    pub fn finish(mut self) -> Result<Vec<Segment>, FormatError> {
        self.close_segment()?;
        let index_offset = self.out_offset + self.out.len() as u64;
        let start = self.out.len();
        for s in &self.segments {
            self.out.extend_from_slice(&s.partition.to_le_bytes());
            self.out.extend_from_slice(&s.digest.to_le_bytes());
            for n in [s.offset, s.length, s.records, s.raw_length] {
                self.out.extend_from_slice(&n.to_le_bytes());
            }
        }
        self.out.extend_from_slice(&index_offset.to_le_bytes());
        self.out.extend_from_slice(&(self.segments.len() as u32).to_le_bytes());
        self.out.extend_from_slice(&VERSION.to_le_bytes());
        let checksum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &self.out[start..]) as u32;
        self.out.extend_from_slice(&checksum.to_le_bytes());
        self.out.extend_from_slice(&MAGIC);
        self.flush()?;
        Ok(self.segments)
    }
}

/// The segments of a whole shuffle file, checked: ascending, without gaps, as the checksum says. Blocks are checked when read.
pub fn read_index(file: &[u8]) -> Result<Vec<Segment>, FormatError> {
    let footer = file.len().checked_sub(FOOTER_BYTES).ok_or(FormatError::Truncated)?;
    let index_offset = index_offset(&file[footer..], file.len() as u64)?;
    segments(&file[index_offset as usize..], index_offset)
}

/// The same for a file on disk, of which only the index is read.
pub fn read_index_of(path: &Path) -> Result<Vec<Segment>, FormatError> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut footer = [0; FOOTER_BYTES];
    file.seek(SeekFrom::Start(length.checked_sub(FOOTER_BYTES as u64).ok_or(FormatError::Truncated)?))?;
    file.read_exact(&mut footer)?;
    let index_offset = index_offset(&footer, length)?;
    file.seek(SeekFrom::Start(index_offset))?;
    let mut tail = Vec::new();
    file.take(length - index_offset).read_to_end(&mut tail)?;
    if tail.len() as u64 != length - index_offset {
        return Err(FormatError::Truncated);
    }
    segments(&tail, index_offset)
}

/// Where the index begins in a file of this length, if the footer fits it.
fn index_offset(footer: &[u8], length: u64) -> Result<u64, FormatError> {
    if footer[20..] != MAGIC {
        return Err(FormatError::Malformed("it does not end as a shuffle file does"));
    }
    let (offset, entries) = (le_u64(&footer[..8]), le_u32(&footer[8..12]));
    let index_bytes = u64::from(entries) * ENTRY_BYTES as u64;
    if offset.checked_add(index_bytes + FOOTER_BYTES as u64) != Some(length) {
        return Err(FormatError::Malformed("its index does not lie where the footer says"));
    }
    Ok(offset)
}

/// Index and footer, the end of a file from `index_offset` on.
fn segments(tail: &[u8], index_offset: u64) -> Result<Vec<Segment>, FormatError> {
    let (index, footer) = tail.split_at(tail.len() - FOOTER_BYTES);
    let summed = &tail[..index.len() + 16];
    if crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, summed) as u32 != le_u32(&footer[16..20]) {
        return Err(FormatError::Checksum { offset: index_offset });
    }
    let version = le_u32(&footer[12..16]);
    if version != VERSION {
        return Err(FormatError::Version { found: version.min(255) as u8 });
    }
    let mut segments: Vec<Segment> = Vec::with_capacity(index.len() / ENTRY_BYTES);
    let mut offset = 0u64;
    for e in index.chunks_exact(ENTRY_BYTES) {
        let segment = Segment {
            partition: le_u32(&e[..4]),
            digest: le_u32(&e[4..8]),
            offset: le_u64(&e[8..16]),
            length: le_u64(&e[16..24]),
            records: le_u64(&e[24..32]),
            raw_length: le_u64(&e[32..40]),
        };
        let ascends = segments.last().is_none_or(|s| s.partition < segment.partition);
        if !ascends || segment.offset != offset || segment.length == 0 {
            return Err(FormatError::Malformed("its index is not in order"));
        }
        offset = offset.checked_add(segment.length).ok_or(FormatError::Truncated)?;
        segments.push(segment);
    }
    if offset != index_offset {
        return Err(FormatError::Malformed("its segments do not fill it"));
    }
    Ok(segments)
}

fn le_u32(b: &[u8]) -> u32 {
    u32::from_le_bytes([b[0], b[1], b[2], b[3]])
}

fn le_u64(b: &[u8]) -> u64 {
    le_u32(b) as u64 | (le_u32(&b[4..]) as u64) << 32
}
