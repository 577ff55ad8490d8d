//! The shuffle file: the bytes that one attempt writes for one output, and the index by which readers find its
//! partitions.
//!
//! ```text
//! blocks, partition after partition ascending     (see `block`)
//! index: for each partition that has records      partition u32, offset, length, records, raw length u64, digest u32
//! footer, 28 bytes: index offset u64, entries u32, version u32, CRC-32C u32 of (index, footer so far), magic "windrowS"
//! ```
//! Numbers are little-endian. The segments cover the file from byte 0 to the index without gaps.
//! Runs (sorted spills) are the same file with the attempt's own identity.

use crate::block::{self, FormatError, HEADER_BYTES, Header, Identity, RAW_TARGET};
use crate::codec::{Codec, Compressor};
use crate::durable::create_with_folder;
use crate::gather;
use crate::quota::Charged;
use crate::regular_file;
use crate::segment_builder::SegmentBuilder;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use windrow_failpoint::failpoint;
use windrow_model::Segment;

pub use crate::segment::{SegmentCursor, SegmentReader};

const MAGIC: [u8; 8] = *b"windrowS";
/// Version 2 had no flags in its blocks; up to version 3 the index had no digests.
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=4;
const ENTRY_BYTES: usize = 40;
const FOOTER_BYTES: usize = 28;
/// Smaller pieces are gathered before they are written; blocks of the usual size are written directly.
const GATHER_BYTES: usize = 32 << 10;

/// Collects the segments of consecutive blocks.
#[derive(Debug, Default)]
pub struct Segments {
    offset: u64,
    list: Vec<Segment>,
}

impl Segments {
    /// Adds a block. Partitions must not descend.
    pub fn add(&mut self, partition: u32, header: &Header) {
        let last = self.list.last().map(|s| s.partition);
        if last != Some(partition) {
            assert!(last < Some(partition), "partitions are written in ascending order: {partition} after {last:?}");
            let offset = self.offset;
            self.list.push(Segment { partition, offset, length: 0, records: 0, raw_length: 0, digest: 0 });
        }
        let length = HEADER_BYTES as u64 + header.stored_length as u64;
        self.offset += length;
        if let Some(s) = self.list.last_mut() {
            s.length += length;
            s.records += header.records as u64;
            s.raw_length += header.raw_length as u64;
            s.digest = header.digest;
        }
    }

    /// All segments, by ascending partition.
    pub fn into_list(self) -> Vec<Segment> {
        self.list
    }
}

/// Writes a shuffle file from finished blocks.
pub struct BlockFile {
    file: BufWriter<File>,
    charged: Charged,
    segments: Segments,
}

impl BlockFile {
    /// Creates a file at `path`, and its folder if needed.
    pub fn create(path: &Path) -> Result<Self, FormatError> {
        let file = BufWriter::with_capacity(GATHER_BYTES, create_with_folder(path)?);
        Ok(BlockFile { file, charged: Charged::new(), segments: Segments::default() })
    }

    /// Adds a block, given in pieces. Partitions must not descend.
    pub fn append(&mut self, partition: u32, header: &Header, pieces: &[&[u8]]) -> Result<(), FormatError> {
        self.begin(partition, header)?;
        for piece in pieces {
            self.file.write_all(piece)?;
        }
        Ok(())
    }

    /// Accounts for a block that is about to be written.
    fn begin(&mut self, partition: u32, header: &Header) -> Result<(), FormatError> {
        self.segments.add(partition, header);
        self.charged.add(HEADER_BYTES as u64 + header.stored_length as u64)?;
        Ok(failpoint!("shuffle.write")?)
    }

    /// Adds blocks in their stored form with few writes. Partitions must not descend.
    pub fn append_all<'b>(
        &mut self,
        blocks: impl IntoIterator<Item = (u32, &'b Header, &'b [u8])>,
    ) -> Result<(), FormatError> {
        let mut pieces = Vec::new();
        for (partition, header, bytes) in blocks {
            self.begin(partition, header)?;
            pieces.push(bytes);
        }
        self.file.flush()?;
        Ok(gather::write_all(self.file.get_mut(), pieces)?)
    }

    /// Replaces the digests of all segments, which came from their blocks.
    pub fn set_digest(&mut self, digest: u32) {
        self.segments.list.iter_mut().for_each(|s| s.digest = digest);
    }

    /// Writes index and footer without syncing. Returns the segments.
    pub fn finish(self) -> Result<Vec<Segment>, FormatError> {
        let (segments, charged) = self.finish_for_now()?;
        charged.keep();
        Ok(segments)
    }

    /// Finishes a file that is removed before its attempt ends: its bytes count until the returned [`Charged`] is
    /// dropped.
    pub fn finish_for_now(mut self) -> Result<(Vec<Segment>, Charged), FormatError> {
        let mut tail = Vec::with_capacity(self.segments.list.len() * ENTRY_BYTES + FOOTER_BYTES);
        for s in &self.segments.list {
            tail.extend_from_slice(&s.partition.to_le_bytes());
            for n in [s.offset, s.length, s.records, s.raw_length] {
                tail.extend_from_slice(&n.to_le_bytes());
            }
            tail.extend_from_slice(&s.digest.to_le_bytes());
        }
        tail.extend_from_slice(&self.segments.offset.to_le_bytes());
        tail.extend_from_slice(&(self.segments.list.len() as u32).to_le_bytes());
        tail.extend_from_slice(&VERSIONS.end().to_le_bytes());
        let checksum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &tail) as u32;
        tail.extend_from_slice(&checksum.to_le_bytes());
        tail.extend_from_slice(&MAGIC);
        self.charged.add(tail.len() as u64)?;
        self.file.write_all(&tail)?;
        self.file.flush()?;
        Ok((self.segments.into_list(), self.charged))
    }
}

/// Writes a shuffle file from records, partition by partition.
pub struct ShuffleWriter {
    file: BlockFile,
    identity: Identity,
    compressor: Compressor,
    builder: SegmentBuilder,
    /// Buffer for sealing the next block.
    spare: Vec<u8>,
    open: Option<u32>,
}

impl ShuffleWriter {
    /// Creates a file at `path`; the identity's partition is filled in for each block.
    pub fn create(path: &Path, identity: Identity, codec: Codec) -> Result<Self, FormatError> {
        Ok(ShuffleWriter {
            file: BlockFile::create(path)?,
            identity,
            compressor: Compressor::new(codec),
            builder: SegmentBuilder::default(),
            spare: Vec::new(),
            open: None,
        })
    }

    /// Adds a record. Partitions must not descend.
    #[inline]
    pub fn push(&mut self, partition: u32, key: &[u8], value: &[u8]) -> Result<(), FormatError> {
        block::check_record(key, value)?;
        if self.open != Some(partition) {
            self.close_block()?;
            self.builder.restart();
            self.open = Some(partition);
            self.identity.partition = partition;
        }
        if self.builder.is_full_for(key.len(), value.len(), RAW_TARGET) {
            self.close_block()?;
        }
        if key.len() + value.len() > RAW_TARGET {
            return self.push_alone(partition, key, value);
        }
        self.builder.push(key, value);
        Ok(())
    }

    /// Writes a record larger than a block without copying it.
    #[inline(never)]
    fn push_alone(&mut self, partition: u32, key: &[u8], value: &[u8]) -> Result<(), FormatError> {
        self.close_block()?;
        let (header, head) = self.builder.alone(&self.identity, key, value);
        self.file.append(partition, &header, &[&head, key, value])
    }

    #[inline(never)]
    fn close_block(&mut self) -> Result<(), FormatError> {
        let Some(partition) = self.open.filter(|_| !self.builder.is_empty()) else {
            return Ok(());
        };
        let sealed = self.builder.seal(&self.identity, &mut self.compressor, std::mem::take(&mut self.spare));
        self.file.append(partition, &sealed.header, &[sealed.as_slice()])?;
        self.spare = sealed.into_buffer();
        Ok(())
    }

    /// Writes index and footer without syncing. Returns the segments.
    pub fn finish(mut self) -> Result<Vec<Segment>, FormatError> {
        self.close_block()?;
        self.file.finish()
    }

    /// Finishes a file that is removed before its attempt ends: its bytes count until the returned [`Charged`] is
    /// dropped.
    pub fn finish_for_now(mut self) -> Result<(Vec<Segment>, Charged), FormatError> {
        self.close_block()?;
        self.file.finish_for_now()
    }
}

/// Reads and checks the index of a shuffle file: checksum, ascending partitions, no gaps. Blocks are checked when they
/// are read.
pub fn read_index(file: &[u8]) -> Result<Vec<Segment>, FormatError> {
    let footer = file.len().checked_sub(FOOTER_BYTES).ok_or(FormatError::Truncated)?;
    let index_offset = index_offset(&file[footer..], file.len() as u64)?;
    segments(&file[index_offset as usize..], index_offset)
}

/// Reads and checks the index of a shuffle file on disk without reading the blocks.
pub fn read_index_of(path: &Path) -> Result<Vec<Segment>, FormatError> {
    let mut file = regular_file::open(path)?;
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

/// Offset of the index in a file of this length, if the footer is consistent with it.
fn index_offset(footer: &[u8], length: u64) -> Result<u64, FormatError> {
    if footer[20..] != MAGIC {
        return Err(FormatError::Malformed("the file does not end with a shuffle file footer"));
    }
    let (offset, entries) = (le_u64(&footer[..8]), le_u32(&footer[8..12]));
    let index_bytes = u64::from(entries) * entry_bytes(le_u32(&footer[12..16])) as u64;
    if offset.checked_add(index_bytes + FOOTER_BYTES as u64) != Some(length) {
        return Err(FormatError::Malformed("the index is not where the footer says"));
    }
    Ok(offset)
}

/// Bytes of an index entry in this version.
fn entry_bytes(version: u32) -> usize {
    if version < 4 { ENTRY_BYTES - 4 } else { ENTRY_BYTES }
}

/// Parses index and footer: the end of a file from `index_offset` on.
fn segments(tail: &[u8], index_offset: u64) -> Result<Vec<Segment>, FormatError> {
    let (index, footer) = tail.split_at(tail.len() - FOOTER_BYTES);
    let summed = &tail[..index.len() + 16];
    if crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, summed) as u32 != le_u32(&footer[16..20]) {
        return Err(FormatError::Checksum { offset: index_offset });
    }
    let version = le_u32(&footer[12..16]);
    if !VERSIONS.contains(&version) {
        return Err(FormatError::Version { found: version.min(255) as u8, reads: *VERSIONS.end() as u8 });
    }
    let entry_bytes = entry_bytes(version);
    let mut segments: Vec<Segment> = Vec::with_capacity(index.len() / entry_bytes);
    let mut offset = 0u64;
    for e in index.chunks_exact(entry_bytes) {
        let segment = Segment {
            partition: le_u32(&e[..4]),
            offset: le_u64(&e[4..12]),
            length: le_u64(&e[12..20]),
            records: le_u64(&e[20..28]),
            raw_length: le_u64(&e[28..36]),
            digest: e.get(36..40).map_or(0, le_u32),
        };
        let ascends = segments.last().is_none_or(|s| s.partition < segment.partition);
        if !ascends || segment.offset != offset || segment.length == 0 {
            return Err(FormatError::Malformed("the index is not in ascending order"));
        }
        offset = offset.checked_add(segment.length).ok_or(FormatError::Truncated)?;
        segments.push(segment);
    }
    if offset != index_offset {
        return Err(FormatError::Malformed("the segments do not cover the file"));
    }
    Ok(segments)
}

fn le_u32(b: &[u8]) -> u32 {
    u32::from_le_bytes([b[0], b[1], b[2], b[3]])
}

fn le_u64(b: &[u8]) -> u64 {
    le_u32(b) as u64 | (le_u32(&b[4..]) as u64) << 32
}
