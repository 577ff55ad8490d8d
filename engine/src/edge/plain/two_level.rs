//! Scattering into more partitions than there is memory, or cache, for open blocks.
//!
//! Every partition needs an open block. If blocks of the least size for all of them exceed the edge's share of memory, or
//! if there are thousands of them, records first go to *groups* of neighbouring partitions (coarse), about as many groups as partitions in each. Their
//! blocks are kept or spilled like those of any edge. At the end the groups are read one after the other, and each is
//! scattered to its partitions (fine). Both steps keep the order of arrival, so every partition has the same records in
//! the same order as with one level.
//!
//! A coarse record is the number of its partition within the group (two bytes), the key, and the value. A record that
//! is larger than a block is not copied: a record of the number alone, with [`LARGE`] set, comes before it.
//!
//! ```text
//! memory        coarse: groups x block, and finished blocks        fine: partitions of a group x block, finished blocks
//! disk          finished coarse blocks, once memory is full        the shuffle file
//! ```
//!
//! Each step has about as many open blocks as the square root of the number of partitions: 1,024 for 1,000,000 of them,
//! the most that a plan may have.

use super::{BUFFER_MIN, BlockLog, EdgeSpec, OPEN_PART, PlainEdge, buffer_bytes};
use crate::edge::EdgeResult;
use crate::error::{EngineError, Result};
use crate::memory::Claim;
use crate::partition::Partitioning;
use windrow_format::block::{Identity, RAW_TARGET};
use windrow_format::codec::Codec;
use windrow_format::shuffle::BlockFile;

/// Up to this many partitions are always scattered in one step: their blocks of the least size take two megabytes.
const ONE_LEVEL: usize = 2_000;
/// From this many partitions on two steps are faster with any memory: nearly every record of one step goes to a page and
/// a cache line that were last used thousands of records ago (`docs/PERFORMANCE.md`).
const TWO_LEVELS: usize = 5_000;
/// Outputs of this many bytes are written group by group.
const GROUPWISE: usize = 2 << 20;
/// Set in the number of a partition if the next record belongs to it and has no number of its own.
const LARGE: u16 = 1 << 15;
/// Bytes of the number before a key.
const NUMBER_BYTES: usize = 2;

/// Returns whether an edge with a claim of this floor scatters into this many partitions in two steps.
pub(super) fn is_needed(partitions: usize, floor: usize) -> bool {
    let lacks_memory = partitions.saturating_mul(BUFFER_MIN) > floor / OPEN_PART;
    partitions >= TWO_LEVELS || (partitions > ONE_LEVEL && lacks_memory)
}

/// The coarse step.
pub(super) struct TwoLevel {
    coarse: PlainEdge,
    partitions: usize,
    /// A group has two to this power partitions.
    shift: u32,
    /// Buffer for a number and a key.
    key: Vec<u8>,
}

/// The outcome of the fine step.
pub(super) enum Scattered {
    /// All blocks, by partition, of an output that is small, or may stay in memory.
    Blocks(BlockLog),
    /// They are in the file.
    File(EdgeResult),
}

impl TwoLevel {
    /// Creates the coarse step for partitions from 0 on, with `claim` for both steps.
    pub(super) fn new(spec: &EdgeSpec, partitions: usize, claim: Claim) -> TwoLevel {
        let shift = partitions.ilog2().div_ceil(2).min(LARGE.ilog2());
        let groups = partitions.div_ceil(1 << shift);
        // Its blocks are read back by their identity.
        let spec = EdgeSpec {
            partitioning: Partitioning::Fixed(0),
            any_order: false,
            in_memory_outputs: None,
            ..spec.clone()
        };
        TwoLevel { coarse: PlainEdge::with(spec, 0, groups, claim, 0), partitions, shift, key: Vec::new() }
    }

    /// Adds a pair to a partition.
    #[inline]
    pub(super) fn push(&mut self, partition: u32, key: &[u8], value: &[u8]) -> Result<()> {
        let group = partition >> self.shift;
        let number = (partition - (group << self.shift)) as u16;
        if key.len() + value.len() > RAW_TARGET {
            self.coarse.push_to(group, &(number | LARGE).to_le_bytes(), &[])?;
            return self.coarse.push_to(group, key, value);
        }
        self.key.clear();
        self.key.extend_from_slice(&number.to_le_bytes());
        self.key.extend_from_slice(key);
        self.coarse.push_to(group, &self.key, value)
    }

    /// The fine step. An output that is large or was spilled, and is not for memory, goes straight to its file, group by
    /// group, so that the memory of one group serves the next; `digest`, if given, replaces the digest of each segment's
    /// records.
    pub(super) fn scatter(mut self, spec: &EdgeSpec, digest: Option<u32>) -> Result<Scattered> {
        self.coarse.close_all()?;
        let size = 1usize << self.shift;
        let in_group = size.min(self.partitions);
        // Blocks that leave no room for those of the fine step are spilled at once, rather than by its every block.
        self.coarse.log.make_room(|floor| 2 * in_group * buffer_bytes(in_group, floor))?;
        let (mut runs, mut spilled_bytes) = self.coarse.log.spilled();
        let identity = self.coarse.spec.identity;
        let (mut reader, claim) = self.coarse.log.into_reader()?;
        let mut fine = PlainEdge::with(spec.clone(), 0, in_group, claim, reader.memory());
        let is_for_memory = spec.in_memory_outputs.is_some() || reader.stored() < GROUPWISE;
        let mut file = match runs > 0 || !is_for_memory {
            true => Some(BlockFile::create(&spec.file, identity).map_err(EngineError::file(&spec.file))?),
            false => None,
        };
        let mut spare = Vec::new();
        while let Some(group) = reader.partition() {
            fine.first = group << self.shift;
            let mut large = None;
            let freed = reader.read(&Identity { partition: group, ..identity }, &mut |key, value| {
                push_fine(&mut fine, &mut large, key, value)
            })?;
            fine.close_exactly(&mut spare)?;
            fine.log.release(freed);
            if let Some(file) = &mut file {
                let (more_runs, more_bytes) = fine.log.spilled();
                (runs, spilled_bytes) = (runs + more_runs, spilled_bytes + more_bytes);
                fine.log.write(file, &spec.file)?;
            }
        }
        fine.log.close_all();
        let Some(mut file) = file else { return Ok(Scattered::Blocks(fine.log)) };
        if let Some(digest) = digest {
            file.set_digest(digest);
        }
        let segments = file.finish().map_err(EngineError::file(&spec.file))?;
        Ok(Scattered::File(EdgeResult { segments, place: None, has_file: true, runs, spilled_bytes }))
    }
}

/// Adds a coarse record to its partition. `large` is the partition of a record without a number of its own.
#[inline]
fn push_fine(fine: &mut PlainEdge, large: &mut Option<u32>, key: &[u8], value: &[u8]) -> Result<()> {
    if let Some(partition) = large.take() {
        return fine.push_to(partition, key, value);
    }
    let Some((number, rest)) = key.split_first_chunk::<NUMBER_BYTES>() else {
        return Err(EngineError::Decode("a coarse record has no partition".to_string()));
    };
    let number = u16::from_le_bytes(*number);
    let partition = fine.first + u32::from(number & !LARGE);
    if number & LARGE != 0 {
        *large = Some(partition);
        return Ok(());
    }
    fine.push_to(partition, rest, value)
}

impl PlainEdge {
    /// Closes all open blocks and lets the builders begin other segments. Blocks much smaller than their buffers are
    /// copied, so that the memory of the log is that of the records; `spare` is a buffer for the next call.
    fn close_exactly(&mut self, spare: &mut Vec<u8>) -> Result<()> {
        for (at, builder) in self.builders.iter_mut().enumerate() {
            if !builder.is_empty() {
                let partition = self.first + at as u32;
                let identity = Identity { partition, ..self.spec.identity };
                let mut sealed = builder.seal(&identity, &mut self.compressor, std::mem::take(spare));
                if sealed.header.codec == Codec::None && sealed.memory() > 2 * sealed.as_slice().len() {
                    let exact = sealed.to_exact();
                    *spare = sealed.into_buffer();
                    sealed = exact;
                }
                self.log.add(partition, sealed)?;
            }
            builder.restart();
        }
        Ok(())
    }
}
