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
//!
//! These bytes are an *image*. An image is a file of its own, or a part of a [spool](crate::spool) from a base on; its
//! offsets count from its first byte, so its bytes are the same in both.

mod index;
mod owner;

use crate::block::{self, FormatError, HEADER_BYTES, Header, Identity, RAW_TARGET};
use crate::codec::{Codec, Compressor};
use crate::durable::create_with_folder;
use crate::gather;
use crate::quota::Charged;
use crate::segment_builder::SegmentBuilder;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use windrow_failpoint::failpoint;
use windrow_model::Segment;

pub use crate::segment::{SegmentCursor, SegmentReader};
pub use index::{IndexReader, read_index, read_index_at, read_index_of};

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

    /// Replaces the digests of all segments, which came from their blocks.
    pub fn set_digest(&mut self, digest: u32) {
        self.list.iter_mut().for_each(|s| s.digest = digest);
    }

    /// Bytes of the whole image: of the blocks so far, the index and the footer.
    pub fn image_bytes(&self) -> u64 {
        self.offset + index::tail_bytes(self.list.len()) as u64
    }

    /// Index and footer of the image of `owner` whose blocks were added: the bytes that follow the last block. The partition of
    /// `owner` is ignored.
    pub fn tail(&self, owner: &Identity) -> Vec<u8> {
        index::tail(&self.list, self.offset, owner)
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
    owner: Identity,
}

impl BlockFile {
    /// Creates a file at `path`, and its folder if needed. Its blocks belong to `owner`, whose partition is ignored.
    pub fn create(path: &Path, owner: Identity) -> Result<Self, FormatError> {
        let file = BufWriter::with_capacity(GATHER_BYTES, create_with_folder(path)?);
        Ok(BlockFile { file, charged: Charged::new(), segments: Segments::default(), owner })
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
        self.segments.set_digest(digest);
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
        let tail = self.segments.tail(&self.owner);
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
            file: BlockFile::create(path, identity)?,
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
