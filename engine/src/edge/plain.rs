//! The edge that keeps every pair.

use super::log::BlockLog;
use super::{EdgeResult, EdgeSpec};
use crate::error::{EngineError, Result};
use crate::partition::{Partitioning, Router};
use crate::recycle;
use windrow_format::block::{self, HEADER_BYTES, Identity, RAW_TARGET};
use windrow_format::codec::{Codec, Compressor};
use windrow_format::lane::Lane;
use windrow_format::shuffle::BlockFile;

/// With many partitions and little memory blocks become smaller, but their buffers not smaller than this.
const BUFFER_MIN: usize = 1 << 10;
/// Open blocks take this part of what the edge has in any case.
const OPEN_PART: usize = 2;

/// Pairs by partition, within each in the order of their arrival.
pub struct PlainEdge {
    spec: EdgeSpec,
    router: Router,
    compressor: Compressor,
    /// The partition of the first lane.
    first: u32,
    lanes: Vec<Lane>,
    /// An open block is closed before it grows beyond this.
    block_bytes: usize,
    log: BlockLog,
}

impl PlainEdge {
    /// An edge without pairs. Files appear when they are needed.
    pub fn new(spec: EdgeSpec) -> Self {
        let (first, count) = match &spec.partitioning {
            Partitioning::Hash(n) => (0, *n as usize),
            Partitioning::Fixed(partition) => (*partition, 1),
            Partitioning::Range(splitters) => (0, splitters.len() + 1),
        };
        let count = count.max(1);
        let claim = spec.share.output();
        let buffer = (claim.floor() / OPEN_PART / count).clamp(BUFFER_MIN, RAW_TARGET + HEADER_BYTES);
        // Buffers double until they are as long as the longest block.
        let buffer = if buffer > RAW_TARGET { buffer } else { 1 << buffer.ilog2() };
        let block_bytes = buffer - HEADER_BYTES;
        let log = BlockLog::new(&spec.folder, claim, count * buffer);
        PlainEdge {
            router: Router::new(spec.partitioning.clone()),
            compressor: Compressor::new(spec.codec),
            first,
            lanes: (0..count).map(|_| Lane::new(spec.any_order)).collect(),
            block_bytes,
            log,
            spec,
        }
    }

    /// Adds a pair to its key's partition.
    #[inline]
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.push_to(self.router.of(key), key, value)
    }

    /// The partition that a pair with this key goes to.
    #[inline]
    pub fn partition(&self, key: &[u8]) -> u32 {
        self.router.of(key)
    }

    /// Adds a pair to this partition, one that [`partition`](Self::partition) has named.
    #[inline]
    pub fn push_to(&mut self, partition: u32, key: &[u8], value: &[u8]) -> Result<()> {
        let at = (partition - self.first) as usize;
        let lane = &mut self.lanes[at];
        if lane.is_full_for(key.len(), value.len(), self.block_bytes) || key.len() + value.len() > RAW_TARGET {
            return self.push_to_next_block(at, key, value);
        }
        lane.push(key, value);
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn push_to_next_block(&mut self, at: usize, key: &[u8], value: &[u8]) -> Result<()> {
        block::check_record(key, value).map_err(EngineError::Record)?;
        self.close(at, false)?;
        if key.len() + value.len() <= RAW_TARGET {
            self.lanes[at].push(key, value);
            // What is larger than an open block is to be does not stay open.
            return if key.len() + value.len() > self.block_bytes { self.close(at, false) } else { Ok(()) };
        }
        // Written from where the caller has it.
        let partition = self.first + at as u32;
        let identity = Identity { partition, ..self.spec.identity };
        let (header, head) = self.lanes[at].alone(&identity, key, value);
        self.log.add_alone(partition, header, &[&head, key, value])
    }

    /// Ends the open block. Another one follows unless it is the last of its partition.
    fn close(&mut self, at: usize, last: bool) -> Result<()> {
        let lane = &mut self.lanes[at];
        if lane.is_empty() {
            return Ok(());
        }
        let partition = self.first + at as u32;
        let identity = Identity { partition, ..self.spec.identity };
        // A compressed block goes into it.
        let needs_none = last && self.spec.codec == Codec::None;
        let usual = self.block_bytes + HEADER_BYTES;
        let spare = if needs_none { Vec::new() } else { recycle::take_buffer(lane.memory().min(usual)) };
        let sealed = lane.seal(&identity, &mut self.compressor, spare);
        if lane.memory() > 2 * usual {
            lane.drop_buffer();
        }
        self.log.add(partition, sealed)
    }

    /// Writes the shuffle file, unless there are no pairs.
    pub fn finish(self) -> Result<EdgeResult> {
        self.finish_with(None)
    }

    /// The same, with this digest for each segment in the place of that of its records.
    pub(super) fn finish_with(mut self, digest: Option<u32>) -> Result<EdgeResult> {
        self.log.close_all();
        for at in 0..self.lanes.len() {
            self.close(at, true)?;
        }
        self.lanes = Vec::new();
        if self.log.is_empty() {
            return Ok(EdgeResult { segments: Vec::new(), runs: 0, spilled_bytes: 0 });
        }
        let path = &self.spec.file;
        if let Some(residents) = &self.spec.residents
            && let Some(mut segments) = self.log.keep_resident(residents, path)
        {
            segments.iter_mut().for_each(|s| s.digest = digest.unwrap_or(s.digest));
            return Ok(EdgeResult { segments, runs: 0, spilled_bytes: 0 });
        }
        let mut file = BlockFile::create(path).map_err(EngineError::file(path))?;
        let (runs, spilled_bytes) = self.log.spilled();
        self.log.write(&mut file, path)?;
        if let Some(digest) = digest {
            file.set_digest(digest);
        }
        let segments = file.finish().map_err(EngineError::file(path))?;
        Ok(EdgeResult { segments, runs, spilled_bytes })
    }
}
