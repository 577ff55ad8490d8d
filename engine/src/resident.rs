//! Task outputs kept in memory for the tasks of the same process that read them.
//!
//! Blocks stay in the buffers in which they were built: they are not copied, written or mapped. Small blocks, and the
//! blocks of a sorted segment, which a merge reads as one, are joined. Outputs that may not be kept are written to
//! files: see [memory](crate::memory).

use crate::mapped::MappedFile;
use crate::memory::{Claim, Memory};
use crate::segments::LocalSegment;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use windrow_format::block::{Identity, RAW_TARGET};
use windrow_format::segment_builder::Sealed;
use windrow_format::shuffle::Segments;
use windrow_model::Segment;

/// Blocks of at least this size in bytes are not copied into a joined piece.
const LARGE: usize = RAW_TARGET / 2;

/// Outputs in memory, keyed by the path of the file that each output would have been.
#[derive(Debug)]
pub struct InMemoryOutputs {
    memory: Arc<Memory>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    outputs: HashMap<PathBuf, Output>,
}

#[derive(Debug)]
struct Output {
    bytes: usize,
    /// Sorted by partition; the pieces of a partition keep their order.
    pieces: Vec<Piece>,
}

/// Consecutive blocks of one partition.
#[derive(Debug)]
struct Piece {
    partition: u32,
    records: u64,
    raw_length: u64,
    /// None once the partition has been released.
    bytes: Option<Arc<MappedFile>>,
}

/// Finished blocks with their partitions.
pub(crate) type Blocks = Vec<(u32, Sealed)>;

impl InMemoryOutputs {
    /// Creates an empty store, whose outputs count as a part of `memory`.
    pub fn new(memory: Arc<Memory>) -> Self {
        InMemoryOutputs { memory, held: Mutex::default() }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an output whose bytes `claim` holds until now and returns its segments, with the offsets that they would
    /// have in a file.
    ///
    /// # Errors
    /// Returns the blocks if there is no room for them.
    pub fn keep(&self, path: &Path, mut blocks: Blocks, claim: &mut Claim) -> Result<Vec<Segment>, Blocks> {
        let bytes: usize = blocks.iter().map(|(_, sealed)| sealed.memory()).sum();
        if !claim.keep(bytes) {
            return Err(blocks);
        }
        // Stable: blocks of a partition keep their order.
        blocks.sort_by_key(|(partition, _)| *partition);
        let mut segments = Segments::default();
        blocks.iter().for_each(|(partition, sealed)| segments.add(*partition, &sealed.header));
        let pieces = pieces(blocks);
        // The joined pieces take less memory than the blocks did.
        let kept = pieces.iter().map(Piece::memory).sum();
        self.memory.resize_resident(bytes, kept);
        self.held().outputs.insert(path.to_path_buf(), Output { bytes: kept, pieces });
        Ok(segments.into_list())
    }

    /// The parts of a segment of an output, if the output is kept.
    pub fn find(&self, path: &Path, segment: &Segment, identity: Identity) -> Option<Vec<LocalSegment>> {
        let held = self.held();
        let output = held.outputs.get(path)?;
        let local = |piece: &Piece| {
            let bytes = piece.bytes.as_ref()?;
            Some(LocalSegment {
                offset: 0,
                length: bytes.len() as u64,
                records: piece.records,
                raw_length: piece.raw_length,
                resident: Some(bytes.clone()),
                ..LocalSegment::of(path.to_path_buf(), segment, identity)
            })
        };
        Some(output.pieces[output.of(segment.partition)].iter().filter_map(local).collect())
    }

    /// Drops a partition of an output, which must have no further readers. Returns whether the output is kept here.
    pub fn release_partition(&self, path: &Path, partition: u32) -> bool {
        let mut held = self.held();
        let Some(output) = held.outputs.get_mut(path) else { return false };
        let mine = output.of(partition);
        let freed: usize = output.pieces[mine.clone()].iter().map(Piece::memory).sum();
        let gone: Vec<_> = output.pieces[mine].iter_mut().map(|piece| piece.bytes.take()).collect();
        output.bytes -= freed;
        // Free the memory without the lock.
        drop(held);
        self.memory.resize_resident(freed, 0);
        drop(gone);
        true
    }

    /// Drops an output, which must have no further readers. Returns whether it was kept here.
    pub fn release(&self, path: &Path) -> bool {
        let mut held = self.held();
        let Some(output) = held.outputs.remove(path) else { return false };
        drop(held);
        self.memory.resize_resident(output.bytes, 0);
        drop(output);
        true
    }
}

impl Output {
    /// The range of the pieces of a partition.
    fn of(&self, partition: u32) -> Range<usize> {
        let first = self.pieces.partition_point(|piece| piece.partition < partition);
        first..first + self.pieces[first..].partition_point(|piece| piece.partition == partition)
    }
}

impl Piece {
    fn memory(&self) -> usize {
        self.bytes.as_ref().map_or(0, |bytes| bytes.memory())
    }
}

fn pieces(blocks: Blocks) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = blocks.into_iter().peekable();
    while let Some((partition, sealed)) = rest.next() {
        let mut group = vec![sealed];
        // The `sorted` flag of a block holds for its whole segment so far.
        let joins = |last: &Sealed, next: &Sealed| {
            next.header.sorted || (last.as_slice().len() < LARGE && next.as_slice().len() < LARGE)
        };
        while let Some((_, next)) =
            rest.next_if(|(p, next)| *p == partition && group.last().is_some_and(|last| joins(last, next)))
        {
            group.push(next);
        }
        let records = group.iter().map(|sealed| sealed.header.records as u64).sum();
        let raw_length = group.iter().map(|sealed| sealed.header.raw_length as u64).sum();
        pieces.push(Piece { partition, records, raw_length, bytes: Some(Arc::new(MappedFile::resident(group))) });
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segments::open_concat;
    use proptest::prelude::*;
    use windrow_format::codec::{Codec, Compressor};
    use windrow_format::segment_builder::SegmentBuilder;

    fn block(builder: &mut SegmentBuilder, partition: u32, keys: &[Vec<u8>]) -> (u32, Sealed) {
        keys.iter().for_each(|key| builder.push(key, b"v"));
        let identity = Identity { partition, ..Identity::default() };
        (partition, builder.seal(&identity, &mut Compressor::new(Codec::None), Vec::new()))
    }

    proptest! {
        /// Any blocks are read back in order, by partition.
        #[test]
        fn kept_blocks_are_read_back_by_partition(list in prop::collection::vec((0u32..4, prop::collection::vec(0usize..50_000, 1..4)), 0..20)) {
            let memory = Memory::new(1 << 30, 1);
            let outputs = InMemoryOutputs::new(memory.clone());
            let mut claim = memory.begin(1).output();
            let mut builders: Vec<SegmentBuilder> = (0..4).map(|_| SegmentBuilder::default()).collect();
            let mut expected: Vec<Vec<Vec<u8>>> = vec![Vec::new(); 4];
            let mut blocks = Blocks::new();
            for (partition, lengths) in list {
                let keys: Vec<Vec<u8>> = lengths.iter().map(|n| vec![*n as u8; *n]).collect();
                blocks.push(block(&mut builders[partition as usize], partition, &keys));
                expected[partition as usize].extend(keys);
            }
            let path = Path::new("output");
            claim.force(blocks.iter().map(|(_, sealed)| sealed.memory()).sum());
            let segments = outputs.keep(path, blocks, &mut claim).unwrap();
            prop_assert!(segments.is_sorted_by_key(|s| s.partition));
            for segment in &segments {
                let local = outputs.find(path, segment, Identity::default()).unwrap();
                prop_assert_eq!(local.iter().map(|s| s.length).sum::<u64>(), segment.length);
                prop_assert_eq!(local.iter().map(|s| s.records).sum::<u64>(), segment.records);
                let mut found = Vec::new();
                let keep = |key: &[u8], _: &[u8]| {
                    found.push(key.to_vec());
                    Ok(())
                };
                open_concat(local).unwrap().for_each(&|| Ok(()), keep).unwrap();
                prop_assert_eq!(&found, &expected[segment.partition as usize]);
            }
            prop_assert_eq!(segments.len(), expected.iter().filter(|keys| !keys.is_empty()).count());
            // Only the released partition is gone.
            prop_assert!(outputs.release_partition(path, 2));
            for segment in &segments {
                let local = outputs.find(path, segment, Identity::default()).unwrap();
                prop_assert_eq!(local.is_empty(), segment.partition == 2);
            }
            (0..4).for_each(|partition| assert!(outputs.release_partition(path, partition)));
            prop_assert!(outputs.held().outputs.values().all(|output| output.bytes == 0));
            prop_assert!(outputs.release(path) && !outputs.release(path));
            prop_assert!(!outputs.release_partition(path, 0));
            drop(claim);
            prop_assert_eq!(memory.free(), memory.pool());
        }
    }

    /// Outputs may always hold a quarter of the limit; beyond it they must leave a quarter free.
    #[test]
    fn blocks_beyond_the_resident_limit_are_returned() {
        let one = || block(&mut SegmentBuilder::default(), 0, &[vec![7; 1000]]);
        let size = one().1.memory();
        let memory = Memory::new(16 * size, 1);
        let outputs = InMemoryOutputs::new(memory.clone());
        let share = memory.begin(1);
        let mut claim = share.output();
        let mut kept = 0;
        let keep = |name: &str, claim: &mut Claim| {
            claim.force(size);
            outputs.keep(Path::new(name), vec![one()], claim).is_ok()
        };
        while keep(&kept.to_string(), &mut claim) {
            kept += 1;
        }
        assert_eq!(kept, 8);
        // While another consumer holds the rest, outputs may hold only the quarter.
        (2..kept).for_each(|n| assert!(outputs.release(Path::new(&n.to_string()))));
        let mut other = share.output();
        other.grow(8 * size).unwrap();
        let mut again = 0;
        while keep(&format!("again {again}"), &mut claim) {
            again += 1;
        }
        assert_eq!(again, 2);
        drop(other);
        assert!(keep("now", &mut claim));
    }

    #[test]
    fn a_sorted_segment_is_one_piece() {
        let mut builder = SegmentBuilder::default();
        let blocks: Blocks = (0..9u8).map(|i| block(&mut builder, 3, &[vec![i; 60_000]])).collect();
        let memory = Memory::new(64 << 20, 1);
        let outputs = InMemoryOutputs::new(memory.clone());
        let mut claim = memory.begin(1).output();
        claim.force(blocks.iter().map(|(_, sealed)| sealed.memory()).sum());
        let segments = outputs.keep(Path::new("sorted"), blocks, &mut claim).unwrap();
        assert_eq!(outputs.find(Path::new("sorted"), &segments[0], Identity::default()).unwrap().len(), 1);
    }
}
