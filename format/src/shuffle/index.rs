//! Index and footer of an image: the bytes behind its blocks, by which readers find its partitions.
//!
//! ```text
//! index:  for each segment: partition u32, offset u64, length u64, records u64, raw length u64, digest u32
//! footer: offset of the index u64, segments u32, version u32, CRC-32C u32 of all before and of the owner, magic
//! ```
//! The owner is the attempt and output that wrote the image. As in a block it is not stored: a reader supplies the one that it
//! expects, so an intact index of another attempt is refused like a damaged one. Otherwise a partition that the other attempt
//! did not write would look like one without records.

use super::owner::{check_first_block, check_first_block_of};
use crate::block::{FormatError, Identity};
use crate::checksum::Crc32c;
use crate::regular_file;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use windrow_model::Segment;

const MAGIC: [u8; 8] = *b"windrowS";
/// Version 2 had no flags in its blocks; up to version 3 the index had no digests; up to version 4 its checksum did not cover the
/// owner, so the first block is checked instead.
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=5;
/// The first version whose checksum covers the owner.
const OWNED: u32 = 5;
const ENTRY_BYTES: usize = 40;
const FOOTER_BYTES: usize = 28;

/// Bytes of index and footer of an image with this number of segments.
pub(super) fn tail_bytes(segments: usize) -> usize {
    segments * ENTRY_BYTES + FOOTER_BYTES
}

/// Index and footer of an image of `owner` whose index begins at `index_offset`.
pub(super) fn tail(segments: &[Segment], index_offset: u64, owner: &Identity) -> Vec<u8> {
    let mut tail = Vec::with_capacity(tail_bytes(segments.len()));
    for s in segments {
        tail.extend_from_slice(&s.partition.to_le_bytes());
        for n in [s.offset, s.length, s.records, s.raw_length] {
            tail.extend_from_slice(&n.to_le_bytes());
        }
        tail.extend_from_slice(&s.digest.to_le_bytes());
    }
    tail.extend_from_slice(&index_offset.to_le_bytes());
    tail.extend_from_slice(&(segments.len() as u32).to_le_bytes());
    tail.extend_from_slice(&VERSIONS.end().to_le_bytes());
    tail.extend_from_slice(&checksum(&tail, *VERSIONS.end(), owner).to_le_bytes());
    tail.extend_from_slice(&MAGIC);
    tail
}

/// The checksum of an index and its footer up to the version. The partition of the owner is not covered.
fn checksum(bytes: &[u8], version: u32, owner: &Identity) -> u32 {
    let mut crc = Crc32c::new();
    crc.update(bytes);
    if version >= OWNED {
        crc.update(&Identity { partition: 0, ..*owner }.bytes());
    }
    crc.value()
}

/// Reads and checks the index of an image in memory: checksum, owner, ascending partitions, no gaps. Blocks are checked when
/// they are read.
pub fn read_index(image: &[u8], owner: &Identity) -> Result<Vec<Segment>, FormatError> {
    let footer = image.len().checked_sub(FOOTER_BYTES).ok_or(FormatError::Truncated)?;
    let footer = Footer::parse(&image[footer..], image.len() as u64)?;
    let mut segments = Vec::new();
    let tail = &image[footer.index_offset as usize..];
    let version = each_segment(tail, footer.index_offset, owner, |s| segments.push(s))?;
    match segments.first() {
        Some(first) if version < OWNED => check_first_block_of(image, first, owner)?,
        _ => {}
    }
    Ok(segments)
}

/// Reads and checks the index of a shuffle file of `owner` on disk.
pub fn read_index_of(path: &Path, owner: &Identity) -> Result<Vec<Segment>, FormatError> {
    let file = regular_file::open(path)?;
    let length = file.metadata()?.len();
    read_index_at(&file, 0, length, owner)
}

/// Reads and checks the index of an image of `owner`, of `length` bytes, that begins at `base` in a file. Offsets of the
/// segments count from `base`.
pub fn read_index_at(file: &File, base: u64, length: u64, owner: &Identity) -> Result<Vec<Segment>, FormatError> {
    let mut segments = Vec::new();
    IndexReader::default().read(file, base, length, owner, |segment| segments.push(segment))?;
    Ok(segments)
}

/// Reads the indexes of many images, one after the other, with one buffer.
#[derive(Debug, Default)]
pub struct IndexReader {
    buffer: Vec<u8>,
    /// Bytes of the last index with its footer. Outputs of one stage have indexes of about one size, so this many bytes are
    /// read at once.
    usual: usize,
}

impl IndexReader {
    /// Reads and checks the index of an image as [`read_index_at`] does, and calls `each` with its segments by ascending
    /// partition. Those before an error do not count.
    ///
    /// # Errors
    /// [`FormatError::Truncated`] if the file ends within the image; [`FormatError::Checksum`] if the index is damaged, or of
    /// another attempt or output than `owner`.
    pub fn read(
        &mut self,
        file: &File,
        base: u64,
        length: u64,
        owner: &Identity,
        mut each: impl FnMut(Segment),
    ) -> Result<(), FormatError> {
        // No file has more bytes than a system call can name.
        let end = base.checked_add(length).filter(|end| *end <= i64::MAX as u64).ok_or(FormatError::Truncated)?;
        let guess = (self.usual.max(FOOTER_BYTES) as u64).min(length) as usize;
        if guess < FOOTER_BYTES {
            return Err(FormatError::Truncated);
        }
        read_before(file, end, guess, &mut self.buffer)?;
        let footer = Footer::parse(&self.buffer[guess - FOOTER_BYTES..], length)?;
        let bytes = footer.tail_bytes(length);
        if bytes > guess {
            // The footer was at the end of the file, so an index of this size fits into the image.
            read_before(file, end, bytes, &mut self.buffer)?;
        }
        self.usual = bytes;
        let tail = &self.buffer[self.buffer.len() - bytes..];
        let mut first = None;
        let version = each_segment(tail, footer.index_offset, owner, |segment| {
            first.get_or_insert(segment);
            each(segment);
        })?;
        match first {
            Some(first) if version < OWNED => check_first_block(file, base, &first, owner),
            _ => Ok(()),
        }
    }
}

/// Reads the last `bytes` bytes before `end`.
fn read_before(file: &File, end: u64, bytes: usize, buffer: &mut Vec<u8>) -> Result<(), FormatError> {
    buffer.clear();
    buffer.resize(bytes, 0);
    file.read_exact_at(buffer, end - bytes as u64).map_err(|e: io::Error| match e.kind() {
        ErrorKind::UnexpectedEof => FormatError::Truncated,
        _ => FormatError::Io(e),
    })
}

/// The part of a footer that says where the index is.
struct Footer {
    index_offset: u64,
}

impl Footer {
    /// Parses a footer that must be consistent with the length of its image.
    fn parse(footer: &[u8], length: u64) -> Result<Footer, FormatError> {
        if footer[20..] != MAGIC {
            return Err(FormatError::Malformed("the file does not end with a shuffle file footer"));
        }
        let (index_offset, entries) = (le_u64(&footer[..8]), le_u32(&footer[8..12]));
        let index_bytes = u64::from(entries) * entry_bytes(le_u32(&footer[12..16])) as u64;
        if index_offset.checked_add(index_bytes + FOOTER_BYTES as u64) != Some(length) {
            return Err(FormatError::Malformed("the index is not where the footer says"));
        }
        Ok(Footer { index_offset })
    }

    /// Bytes of index and footer.
    fn tail_bytes(&self, length: u64) -> usize {
        (length - self.index_offset) as usize
    }
}

/// Bytes of an index entry in this version.
fn entry_bytes(version: u32) -> usize {
    if version < 4 { ENTRY_BYTES - 4 } else { ENTRY_BYTES }
}

/// Parses index and footer: the end of an image of `owner` from `index_offset` on. Returns the version.
fn each_segment(
    tail: &[u8],
    index_offset: u64,
    owner: &Identity,
    mut each: impl FnMut(Segment),
) -> Result<u32, FormatError> {
    let (index, footer) = tail.split_at(tail.len() - FOOTER_BYTES);
    let version = le_u32(&footer[12..16]);
    if checksum(&tail[..index.len() + 16], version, owner) != le_u32(&footer[16..20]) {
        return Err(FormatError::Checksum { offset: index_offset });
    }
    if !VERSIONS.contains(&version) {
        return Err(FormatError::Version { found: version.min(255) as u8, reads: *VERSIONS.end() as u8 });
    }
    let (mut offset, mut before) = (0u64, None);
    for e in index.chunks_exact(entry_bytes(version)) {
        let segment = Segment {
            partition: le_u32(&e[..4]),
            offset: le_u64(&e[4..12]),
            length: le_u64(&e[12..20]),
            records: le_u64(&e[20..28]),
            raw_length: le_u64(&e[28..36]),
            digest: e.get(36..40).map_or(0, le_u32),
        };
        let ascends = before.replace(segment.partition) < Some(segment.partition);
        if !ascends || segment.offset != offset || segment.length == 0 {
            return Err(FormatError::Malformed("the index is not in ascending order"));
        }
        offset = offset.checked_add(segment.length).ok_or(FormatError::Truncated)?;
        each(segment);
    }
    if offset != index_offset {
        return Err(FormatError::Malformed("the segments do not cover the file"));
    }
    Ok(version)
}

fn le_u32(b: &[u8]) -> u32 {
    u32::from_le_bytes([b[0], b[1], b[2], b[3]])
}

fn le_u64(b: &[u8]) -> u64 {
    le_u32(b) as u64 | (le_u32(&b[4..]) as u64) << 32
}
