//! The edge that keeps every pair.

mod two_level;

use super::log::BlockLog;
use super::{EdgeResult, EdgeSpec};
use crate::error::{EngineError, Result};
use crate::memory::Claim;
use crate::partition::{Partitioning, Router};
use crate::recycle;
use two_level::{Scattered, TwoLevel};
use windrow_format::block::{self, HEADER_BYTES, Identity, RAW_TARGET};
use windrow_format::codec::{Codec, Compressor};
use windrow_format::segment_builder::SegmentBuilder;
use windrow_format::shuffle::BlockFile;

/// Least size of a block buffer in bytes. With many partitions and little memory blocks become smaller, but not below
/// this.
const BUFFER_MIN: usize = 1 << 10;
/// Open blocks take this part of the edge's guaranteed memory.
const OPEN_PART: usize = 2;

/// Keeps all pairs by partition, within each in order of arrival.
pub struct PlainEdge {
    spec: EdgeSpec,
    router: Router,
    compressor: Compressor,
    /// The partition of the first builder.
    first: u32,
    builders: Vec<SegmentBuilder>,
    /// Takes all pairs if there are too many partitions for an open block each; there are no builders then, and no block
    /// in the log.
    two_level: Option<Box<TwoLevel>>,
    /// An open block is closed before it grows beyond this many bytes.
    block_bytes: usize,
    log: BlockLog,
}

/// Bytes of an open block if there are `count` of them, in an edge whose claim has this floor.
fn buffer_bytes(count: usize, floor: usize) -> usize {
    let buffer = (floor / OPEN_PART / count.max(1)).clamp(BUFFER_MIN, RAW_TARGET + HEADER_BYTES);
    // Buffers double until they have the size of the largest block.
    if buffer > RAW_TARGET { buffer } else { 1 << buffer.ilog2() }
}

/// A builder of blocks. Those that stay in memory need no checksum, and no digest, because nothing is compared in a process
/// whose tasks do not run again.
fn builder(spec: &EdgeSpec) -> SegmentBuilder {
    SegmentBuilder::new(spec.any_order).unchecked(spec.in_memory_outputs.is_some())
}

impl PlainEdge {
    /// Creates an edge without pairs. Files are created when they are needed.
    pub fn new(spec: EdgeSpec) -> Self {
        let (first, count) = match &spec.partitioning {
            Partitioning::Hash(n) => (0, *n as usize),
            Partitioning::Fixed(partition) => (*partition, 1),
            Partitioning::Range(splitters) => (0, splitters.len() + 1),
        };
        let count = count.max(1);
        let claim = spec.share.output();
        if !two_level::is_needed(count, claim.floor()) {
            return PlainEdge::with(spec, first, count, claim, 0);
        }
        let two_level = Box::new(TwoLevel::new(&spec, count, claim));
        let held_elsewhere = spec.share.fixed();
        PlainEdge { two_level: Some(two_level), ..PlainEdge::with(spec, first, 0, held_elsewhere, 0) }
    }

    /// An edge with this number of builders from partition `first` on. `claim` holds `reserved` bytes more than its open
    /// blocks.
    fn with(spec: EdgeSpec, first: u32, count: usize, claim: Claim, reserved: usize) -> Self {
        let buffer = buffer_bytes(count, claim.floor());
        let block_bytes = buffer - HEADER_BYTES;
        let log = BlockLog::new(&spec.folder, spec.identity, claim, count * buffer + reserved);
        PlainEdge {
            router: Router::new(spec.partitioning.clone()),
            compressor: Compressor::new(spec.codec),
            first,
            builders: (0..count).map(|_| builder(&spec)).collect(),
            two_level: None,
            block_bytes,
            log,
            spec,
        }
    }

    /// Adds a pair to the partition of its key.
    #[inline]
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.push_to(self.router.of(key), key, value)
    }

    /// The partition of a key.
    #[inline]
    pub fn partition(&self, key: &[u8]) -> u32 {
        self.router.of(key)
    }

    /// Adds a pair to a partition that [`partition`](Self::partition) has returned.
    #[inline]
    pub fn push_to(&mut self, partition: u32, key: &[u8], value: &[u8]) -> Result<()> {
        let at = (partition - self.first) as usize;
        let Some(builder) = self.builders.get_mut(at) else { return self.push_to_group(partition, key, value) };
        if builder.is_full_for(key.len(), value.len(), self.block_bytes) || key.len() + value.len() > RAW_TARGET {
            return self.push_to_next_block(at, key, value);
        }
        builder.push(key, value);
        Ok(())
    }

    /// Adds a pair to the group of its partition.
    #[inline(never)]
    fn push_to_group(&mut self, partition: u32, key: &[u8], value: &[u8]) -> Result<()> {
        match &mut self.two_level {
            Some(two_level) => two_level.push(partition, key, value),
            None => Err(EngineError::Decode(format!("the edge has no partition {partition}"))),
        }
    }

    #[cold]
    #[inline(never)]
    fn push_to_next_block(&mut self, at: usize, key: &[u8], value: &[u8]) -> Result<()> {
        block::check_record(key, value).map_err(EngineError::Record)?;
        self.close(at, false)?;
        if key.len() + value.len() <= RAW_TARGET {
            self.builders[at].push(key, value);
            // A record larger than the open block size is closed at once.
            return if key.len() + value.len() > self.block_bytes { self.close(at, false) } else { Ok(()) };
        }
        // A record larger than a block is written from the caller's buffers.
        let partition = self.first + at as u32;
        let identity = Identity { partition, ..self.spec.identity };
        let (header, head) = self.builders[at].alone(&identity, key, value);
        self.log.add_alone(partition, header, &[&head, key, value])
    }

    /// Closes the open block. Another one follows unless `last` is set.
    fn close(&mut self, at: usize, last: bool) -> Result<()> {
        let builder = &mut self.builders[at];
        if builder.is_empty() {
            return Ok(());
        }
        let partition = self.first + at as u32;
        let identity = Identity { partition, ..self.spec.identity };
        // The buffer for the next block also takes the compressed form of this one.
        let needs_none = last && self.spec.codec == Codec::None;
        let usual = self.block_bytes + HEADER_BYTES;
        let spare = if needs_none { Vec::new() } else { recycle::take_buffer(builder.memory().min(usual)) };
        let sealed = builder.seal(&identity, &mut self.compressor, spare);
        if builder.memory() > 2 * usual {
            builder.drop_buffer();
        }
        self.log.add(partition, sealed)
    }

    /// Closes the open blocks; no pair follows.
    fn close_all(&mut self) -> Result<()> {
        self.log.close_all();
        for at in 0..self.builders.len() {
            self.close(at, true)?;
        }
        self.builders = Vec::new();
        Ok(())
    }

    /// Writes the image to the spool or to a file of its own, unless there are no pairs.
    pub fn finish(self) -> Result<EdgeResult> {
        self.finish_with(None)
    }

    /// Writes the image; `digest`, if given, replaces the digest of each segment's records.
    pub(super) fn finish_with(mut self, digest: Option<u32>) -> Result<EdgeResult> {
        match self.two_level.take() {
            None => self.close_all()?,
            Some(two_level) => match two_level.scatter(&self.spec, digest)? {
                Scattered::Blocks(log) => self.log = log,
                Scattered::File(result) => return Ok(result),
            },
        }
        if self.log.is_empty() {
            return Ok(EdgeResult { segments: Vec::new(), place: None, has_file: false, runs: 0, spilled_bytes: 0 });
        }
        let path = &self.spec.file;
        if let Some(outputs) = &self.spec.in_memory_outputs
            && let Some(mut segments) = self.log.keep_resident(outputs, &self.spec.identity)?
        {
            segments.iter_mut().for_each(|s| s.digest = digest.unwrap_or(s.digest));
            return Ok(EdgeResult { segments, place: None, has_file: false, runs: 0, spilled_bytes: 0 });
        }
        if let Some(spool) = &self.spec.spool
            && let Some((segments, place)) = self.log.append_to(spool, &self.spec.identity, digest)?
        {
            return Ok(EdgeResult { segments, place: Some(place), has_file: false, runs: 0, spilled_bytes: 0 });
        }
        let mut file = BlockFile::create(path, self.spec.identity).map_err(EngineError::file(path))?;
        let (runs, spilled_bytes) = self.log.spilled();
        self.log.write(&mut file, path)?;
        if let Some(digest) = digest {
            file.set_digest(digest);
        }
        let segments = file.finish().map_err(EngineError::file(path))?;
        Ok(EdgeResult { segments, place: None, has_file: true, runs, spilled_bytes })
    }
}
