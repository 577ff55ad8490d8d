//! Outputs of a run in one process, kept in memory for the tasks that read them.
//!
//! Blocks stay in the buffers in which they were made, so that nothing is copied, written or mapped. Small ones, and those of a
//! sorted segment, which a merge reads as one, are put together. What may not be kept goes to files: see [memory](crate::memory).

use crate::mapped::MappedFile;
use crate::memory::{Claim, Memory};
use crate::segments::LocalSegment;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use windrow_format::block::{Identity, RAW_TARGET};
use windrow_format::lane::Sealed;
use windrow_format::shuffle::Segments;
use windrow_model::Segment;

/// Blocks of at least this size stay where they are.
const LARGE: usize = RAW_TARGET / 2;

/// Outputs in memory, by the path of the file that each would have been.
#[derive(Debug)]
pub struct Residents {
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
    /// By ascending partition, in the order of each.
    pieces: Vec<Piece>,
}

/// Blocks that lie one behind the other.
#[derive(Debug)]
struct Piece {
    partition: u32,
    records: u64,
    raw_length: u64,
    /// None once nobody reads it any more.
    bytes: Option<Arc<MappedFile>>,
}

/// Finished blocks, each with its partition.
pub type Blocks = Vec<(u32, Sealed)>;

impl Residents {
    /// Nothing yet. What is kept is a part of this memory.
    pub fn new(memory: Arc<Memory>) -> Self {
        Residents { memory, held: Mutex::default() }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an output, of which a claim has the bytes until now, and says what its segments are (their places are those that they
    /// would have in a file). Gives the blocks back if there is no room.
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
        // What was put together takes less room than the blocks did.
        let kept = pieces.iter().map(Piece::memory).sum();
        self.memory.resize_resident(bytes, kept);
        self.held().outputs.insert(path.to_path_buf(), Output { bytes: kept, pieces });
        Ok(segments.into_list())
    }

    /// Where a segment of an output is, if it is kept.
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

    /// Nobody will read this partition of an output any more. Says whether the output is kept here.
    pub fn release_partition(&self, path: &Path, partition: u32) -> bool {
        let mut held = self.held();
        let Some(output) = held.outputs.get_mut(path) else { return false };
        let mine = output.of(partition);
        let freed: usize = output.pieces[mine.clone()].iter().map(Piece::memory).sum();
        let gone: Vec<_> = output.pieces[mine].iter_mut().map(|piece| piece.bytes.take()).collect();
        output.bytes -= freed;
        // Memory goes back when nobody is looking.
        drop(held);
        self.memory.resize_resident(freed, 0);
        drop(gone);
        true
    }

    /// Nobody will read this output any more. Says whether it was kept here.
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
    /// Where the pieces of a partition are.
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
        // A block says of all of its segment so far whether it is sorted.
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
    use windrow_format::lane::Lane;

    fn block(lane: &mut Lane, partition: u32, keys: &[Vec<u8>]) -> (u32, Sealed) {
        keys.iter().for_each(|key| lane.push(key, b"v"));
        let identity = Identity { partition, ..Identity::default() };
        (partition, lane.seal(&identity, &mut Compressor::new(Codec::None), Vec::new()))
    }

    proptest! {
        /// Any blocks come back in their order, by partition.
        #[test]
        fn what_is_kept_comes_back(list in prop::collection::vec((0u32..4, prop::collection::vec(0usize..50_000, 1..4)), 0..20)) {
            let memory = Memory::new(1 << 30, 1);
            let residents = Residents::new(memory.clone());
            let mut claim = memory.begin(1).output();
            let mut lanes: Vec<Lane> = (0..4).map(|_| Lane::default()).collect();
            let mut expected: Vec<Vec<Vec<u8>>> = vec![Vec::new(); 4];
            let mut blocks = Blocks::new();
            for (partition, lengths) in list {
                let keys: Vec<Vec<u8>> = lengths.iter().map(|n| vec![*n as u8; *n]).collect();
                blocks.push(block(&mut lanes[partition as usize], partition, &keys));
                expected[partition as usize].extend(keys);
            }
            let path = Path::new("output");
            claim.force(blocks.iter().map(|(_, sealed)| sealed.memory()).sum());
            let segments = residents.keep(path, blocks, &mut claim).unwrap();
            prop_assert!(segments.is_sorted_by_key(|s| s.partition));
            for segment in &segments {
                let local = residents.find(path, segment, Identity::default()).unwrap();
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
            // What has gone is gone, and nothing else.
            prop_assert!(residents.release_partition(path, 2));
            for segment in &segments {
                let local = residents.find(path, segment, Identity::default()).unwrap();
                prop_assert_eq!(local.is_empty(), segment.partition == 2);
            }
            (0..4).for_each(|partition| assert!(residents.release_partition(path, partition)));
            prop_assert!(residents.held().outputs.values().all(|output| output.bytes == 0));
            prop_assert!(residents.release(path) && !residents.release(path));
            prop_assert!(!residents.release_partition(path, 0));
            drop(claim);
            prop_assert_eq!(memory.free(), memory.pool());
        }
    }

    /// A quarter is there for outputs in any case; beyond it they leave a quarter free.
    #[test]
    fn beyond_what_outputs_may_hold_blocks_are_given_back() {
        let one = || block(&mut Lane::default(), 0, &[vec![7; 1000]]);
        let size = one().1.memory();
        let memory = Memory::new(16 * size, 1);
        let residents = Residents::new(memory.clone());
        let share = memory.begin(1);
        let mut claim = share.output();
        let mut kept = 0;
        let keep = |name: &str, claim: &mut Claim| {
            claim.force(size);
            residents.keep(Path::new(name), vec![one()], claim).is_ok()
        };
        while keep(&kept.to_string(), &mut claim) {
            kept += 1;
        }
        assert_eq!(kept, 8);
        // While somebody needs more, no more than the quarter.
        (2..kept).for_each(|n| assert!(residents.release(Path::new(&n.to_string()))));
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
        let mut lane = Lane::default();
        let blocks: Blocks = (0..9u8).map(|i| block(&mut lane, 3, &[vec![i; 60_000]])).collect();
        let memory = Memory::new(64 << 20, 1);
        let residents = Residents::new(memory.clone());
        let mut claim = memory.begin(1).output();
        claim.force(blocks.iter().map(|(_, sealed)| sealed.memory()).sum());
        let segments = residents.keep(Path::new("sorted"), blocks, &mut claim).unwrap();
        assert_eq!(residents.find(Path::new("sorted"), &segments[0], Identity::default()).unwrap().len(), 1);
    }
}
