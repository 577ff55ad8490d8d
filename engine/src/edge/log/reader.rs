//! Reads the records of a log's blocks again, partition by partition.

use super::{BlockLog, Sealed, Spill};
use crate::error::{EngineError, Result};
use crate::mapped::MappedFile;
use crate::memory::Claim;
use crate::recycle;
use std::path::{Path, PathBuf};
use windrow_format::block::{self, FormatError, Identity};
use windrow_format::codec::{self, Codec};

/// Blocks of a log by ascending partition, and within each in order of completion.
pub(in crate::edge) struct LogReader {
    /// Partition, whether the block is in memory, and its position there.
    order: Vec<(u32, bool, usize)>,
    /// Number of blocks that were read.
    read: usize,
    blocks: Vec<Option<Sealed>>,
    /// The spill file, and its mapping: a record may be larger than memory.
    spill: Option<(Spill, MappedFile)>,
    /// A decompressed block.
    raw: Vec<u8>,
    /// Named in errors about blocks in memory.
    folder: PathBuf,
}

impl BlockLog {
    /// Ends the log; its claim covers the reader's blocks in memory.
    ///
    /// # Errors
    /// The spill file cannot be mapped.
    pub(in crate::edge) fn into_reader(mut self) -> Result<(LogReader, Claim)> {
        let order = self.order();
        let map = |spill: Spill| MappedFile::of_unlinked(&spill.file, &spill.path).map(|map| (spill, map));
        let spill = self.spill.take().map(map).transpose()?;
        let blocks = self.blocks.into_iter().map(|(_, sealed)| Some(sealed)).collect();
        Ok((LogReader { order, read: 0, blocks, spill, raw: Vec::new(), folder: self.folder }, self.claim))
    }
}

impl LogReader {
    /// Bytes of memory of the blocks that were not read.
    pub(in crate::edge) fn memory(&self) -> usize {
        self.blocks.iter().flatten().map(Sealed::memory).sum()
    }

    /// Bytes of the stored form of the blocks in memory that were not read.
    pub(in crate::edge) fn stored(&self) -> usize {
        self.blocks.iter().flatten().map(|sealed| sealed.as_slice().len()).sum()
    }

    /// The next partition with blocks.
    pub(in crate::edge) fn partition(&self) -> Option<u32> {
        self.order.get(self.read).map(|(partition, ..)| *partition)
    }

    /// Calls `f` with every record of the next partition, whose blocks have this identity. Returns the bytes of memory
    /// that were freed.
    ///
    /// # Errors
    /// A spilled block is damaged; the error of `f`.
    pub(in crate::edge) fn read(
        &mut self,
        identity: &Identity,
        f: &mut impl FnMut(&[u8], &[u8]) -> Result<()>,
    ) -> Result<usize> {
        let mut freed = 0;
        while self.partition() == Some(identity.partition) {
            let (_, in_memory, at) = self.order[self.read];
            self.read += 1;
            if in_memory {
                let Some(sealed) = self.blocks[at].take() else { continue };
                freed += sealed.memory();
                let done = each_record(sealed.as_slice(), identity, 0, &mut self.raw, f);
                done.map_err(|stopped| stopped.of(&self.folder))?;
                recycle::give_buffer(sealed.into_buffer());
            } else if let Some((spill, map)) = &self.spill {
                let spilled = &spill.blocks[at];
                let offset = spilled.offset as usize;
                let bytes = map.get(offset..offset + spilled.length).unwrap_or_default();
                let done = each_record(bytes, identity, spilled.offset, &mut self.raw, f);
                done.map_err(|stopped| stopped.of(&spill.path))?;
            }
        }
        Ok(freed)
    }
}

/// Why the records of a block were not read to its end.
enum Stopped {
    Damaged(FormatError),
    Failed(EngineError),
}

impl Stopped {
    fn of(self, path: &Path) -> EngineError {
        match self {
            Stopped::Damaged(source) => EngineError::file(path)(source),
            Stopped::Failed(error) => error,
        }
    }
}

impl From<FormatError> for Stopped {
    fn from(source: FormatError) -> Stopped {
        Stopped::Damaged(source)
    }
}

/// Verifies the block at the start of `bytes` and calls `f` with its records. `raw` is the buffer for a compressed one.
fn each_record(
    bytes: &[u8],
    identity: &Identity,
    offset: u64,
    raw: &mut Vec<u8>,
    f: &mut impl FnMut(&[u8], &[u8]) -> Result<()>,
) -> Result<(), Stopped> {
    let (header, stored, _) = block::open(bytes, identity, offset)?;
    let records = match header.codec {
        Codec::None => stored,
        compressed => {
            codec::decompress(compressed, stored, header.raw_length as usize, raw)?;
            &raw[..]
        }
    };
    block::each_record(records, header.records, &mut |_, key, value| f(key, value).map_err(Stopped::Failed))
}
