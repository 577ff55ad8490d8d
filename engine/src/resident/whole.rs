//! An output that is kept as the blocks in which it was built.
//!
//! Small blocks, and the blocks of a sorted segment, which a merge reads as one, are joined.

use super::Blocks;
use crate::mapped::MappedFile;
use std::ops::Range;
use std::sync::Arc;
use windrow_format::block::RAW_TARGET;
use windrow_format::segment_builder::Sealed;

/// Blocks of at least this size in bytes are not copied into a joined piece.
const LARGE: usize = RAW_TARGET / 2;

/// The blocks of one output.
#[derive(Debug)]
pub(super) struct WholeOutput {
    /// Sorted by partition; the pieces of a partition keep their order.
    pieces: Vec<Piece>,
}

/// Consecutive blocks of one partition.
#[derive(Debug)]
pub(super) struct Piece {
    partition: u32,
    pub records: u64,
    pub raw_length: u64,
    /// None once the partition has been released.
    pub bytes: Option<Arc<MappedFile>>,
}

impl WholeOutput {
    /// Takes the blocks over, which are sorted by partition.
    pub(super) fn new(blocks: Blocks) -> Self {
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
        WholeOutput { pieces }
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        self.pieces.iter().map(Piece::memory).sum()
    }

    /// The pieces of a partition.
    pub(super) fn partition(&self, partition: u32) -> &[Piece] {
        &self.pieces[self.range(partition)]
    }

    /// Takes the bytes of a partition out, which has no further readers.
    pub(super) fn release(&mut self, partition: u32, freed: &mut Vec<Arc<MappedFile>>) {
        let range = self.range(partition);
        freed.extend(self.pieces[range].iter_mut().filter_map(|piece| piece.bytes.take()));
    }

    fn range(&self, partition: u32) -> Range<usize> {
        let first = self.pieces.partition_point(|piece| piece.partition < partition);
        first..first + self.pieces[first..].partition_point(|piece| piece.partition == partition)
    }
}

impl Piece {
    fn memory(&self) -> usize {
        self.bytes.as_ref().map_or(0, |bytes| bytes.memory())
    }
}
