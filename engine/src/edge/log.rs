//! Finished blocks of an edge in order of completion: in memory, and in a file once the edge's memory is full.

mod reader;

use crate::error::{EngineError, Result};
use crate::memory::Claim;
use crate::recycle;
use crate::resident::{InMemoryOutputs, Kept};
use crate::run::unique_path;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use windrow_failpoint::failpoint;
use windrow_format::block::{Header, Identity};
use windrow_format::codec::Codec;
use windrow_format::gather;
use windrow_format::private;
use windrow_format::quota::Charged;
use windrow_format::segment_builder::Sealed;
use windrow_format::shuffle::{BlockFile, Segments};
use windrow_format::spool::{Place, Spool};
use windrow_model::{Segment, total};

/// Largest image in bytes that goes to a spool. Beyond it the cost of a file is below a hundredth of that of its bytes, and
/// a file of its own can be deleted as soon as it has no readers.
const SPOOLED_MAX: u64 = 1 << 20;

/// Blocks with their partitions.
pub(super) struct BlockLog {
    folder: PathBuf,
    /// Of the blocks, but for their partition.
    identity: Identity,
    blocks: Vec<(u32, Sealed)>,
    /// Bytes of memory of `blocks`.
    bytes: usize,
    /// Covers `blocks` and the open blocks.
    claim: Claim,
    open_bytes: usize,
    spill: Option<Spill>,
    runs: u64,
}

/// A spill file without a name, so a crash leaves nothing behind.
struct Spill {
    file: File,
    path: PathBuf,
    /// Charges the disk space to the quota until the file is dropped.
    charged: Charged,
    length: u64,
    blocks: Vec<Spilled>,
}

struct Spilled {
    partition: u32,
    header: Header,
    offset: u64,
    length: usize,
}

impl BlockLog {
    /// Creates a log without blocks. `open_bytes` are reserved for open blocks; blocks that the claim does not cover
    /// are written to a file in `folder`.
    pub(super) fn new(folder: &Path, identity: Identity, mut claim: Claim, open_bytes: usize) -> Self {
        claim.force(open_bytes);
        BlockLog {
            folder: folder.to_path_buf(),
            identity,
            blocks: Vec::new(),
            bytes: 0,
            claim,
            open_bytes,
            spill: None,
            runs: 0,
        }
    }

    /// Returns whether no block was added.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.spill.is_none()
    }

    /// Number of spills, and of bytes that were spilled.
    pub(super) fn spilled(&self) -> (u64, u64) {
        (self.runs, self.spill.as_ref().map_or(0, |s| s.length))
    }

    /// Drops the reserve for open blocks: from now on only finished blocks are added.
    pub(super) fn close_all(&mut self) {
        self.open_bytes = 0;
    }

    /// Spills all blocks unless there is memory for `more` bytes beside them. `more` gets the floor of the claim.
    pub(super) fn make_room(&mut self, more: impl FnOnce(usize) -> usize) -> Result<()> {
        let more = more(self.claim.floor());
        if self.claim.cover(self.open_bytes + self.bytes + more) { Ok(()) } else { self.spill() }
    }

    /// Gives back a part of the reserve.
    pub(super) fn release(&mut self, bytes: usize) {
        self.open_bytes -= bytes.min(self.open_bytes);
    }

    /// Adds a block.
    pub(super) fn add(&mut self, partition: u32, sealed: Sealed) -> Result<()> {
        let fits = sealed.header.codec == Codec::None || sealed.memory() == sealed.as_slice().len();
        let sealed = if fits { sealed } else { Self::shrunk(sealed) };
        self.bytes += sealed.memory();
        self.blocks.push((partition, sealed));
        if self.claim.cover(self.open_bytes + self.bytes) { Ok(()) } else { self.spill() }
    }

    /// Copies a compressed block into a buffer of its exact size.
    fn shrunk(sealed: Sealed) -> Sealed {
        let small = sealed.to_exact();
        recycle::give_buffer(sealed.into_buffer());
        small
    }

    /// Adds a block that is too large for memory: writes it to the file.
    pub(super) fn add_alone(&mut self, partition: u32, header: Header, pieces: &[&[u8]]) -> Result<()> {
        self.spill()?;
        self.runs += 1;
        let length = pieces.iter().map(|p| p.len()).sum();
        self.opened()?.append(pieces.iter().copied(), std::iter::once((partition, header, length)))
    }

    fn opened(&mut self) -> Result<&mut Spill> {
        if self.spill.is_none() {
            private::create_folders(&self.folder).map_err(EngineError::io("create", &self.folder))?;
            let path = unique_path(&self.folder);
            let file = private::create_new(&path).map_err(EngineError::io("create", &path))?;
            fs::remove_file(&path).map_err(EngineError::io("remove", &path))?;
            self.spill = Some(Spill { file, path, charged: Charged::new(), length: 0, blocks: Vec::new() });
        }
        self.spill.as_mut().ok_or_else(|| EngineError::Decode("a spill was just opened".to_string()))
    }

    /// Adds the checksums that blocks lack, before they leave memory.
    fn check_all(&mut self) {
        let BlockLog { identity, blocks, .. } = self;
        blocks
            .iter_mut()
            .for_each(|(partition, sealed)| sealed.check(&Identity { partition: *partition, ..*identity }));
    }

    fn spill(&mut self) -> Result<()> {
        if self.blocks.is_empty() {
            return Ok(());
        }
        self.check_all();
        let blocks = std::mem::take(&mut self.blocks);
        self.runs += 1;
        self.bytes = 0;
        let spill = self.opened()?;
        spill.append(
            blocks.iter().map(|(_, sealed)| sealed.as_slice()),
            blocks.iter().map(|(partition, sealed)| (*partition, sealed.header, sealed.as_slice().len())),
        )?;
        // Shrink the claim first: buffers are recycled only into free memory.
        self.claim.answer();
        self.claim.shrink(self.open_bytes);
        for (_, sealed) in blocks {
            recycle::give_buffer(sealed.into_buffer());
        }
        Ok(())
    }

    /// Keeps all blocks in memory instead of writing them to a file of their own. Returns none if there is no room or a
    /// block was spilled.
    pub(super) fn keep_resident(&mut self, outputs: &InMemoryOutputs, of: &Identity) -> Result<Option<Vec<Segment>>> {
        if self.spill.is_some() {
            return Ok(None);
        }
        self.claim.shrink(self.bytes);
        match outputs.keep(of, std::mem::take(&mut self.blocks), &mut self.claim)? {
            Kept::Segments(segments) => Ok(Some(segments)),
            Kept::Refused(blocks) => {
                self.blocks = blocks;
                Ok(None)
            }
        }
    }

    /// Appends all blocks with index and footer to a spool, in the order of [`write`](Self::write). Returns none if a block was
    /// spilled, the image is large, or the spool takes no more.
    pub(super) fn append_to(
        &mut self,
        spool: &Spool,
        owner: &Identity,
        digest: Option<u32>,
    ) -> Result<Option<(Vec<Segment>, Place)>> {
        let held = self.blocks.iter().map(|(_, sealed)| sealed.as_slice().len() as u64);
        if self.spill.is_some() || total(held) > SPOOLED_MAX {
            return Ok(None);
        }
        // Stable: blocks of a partition keep their order.
        self.blocks.sort_by_key(|(partition, _)| *partition);
        let mut segments = Segments::default();
        self.blocks.iter().for_each(|(partition, sealed)| segments.add(*partition, &sealed.header));
        if segments.image_bytes() > SPOOLED_MAX {
            return Ok(None);
        }
        if let Some(digest) = digest {
            segments.set_digest(digest);
        }
        let tail = segments.tail(owner);
        let blocks = self.blocks.iter().map(|(_, sealed)| sealed.as_slice());
        let pieces: Vec<&[u8]> = blocks.chain([&tail[..]]).collect();
        let appended = spool.append(&pieces).map_err(EngineError::io("append to", spool.path()))?;
        let Some(place) = appended else { return Ok(None) };
        self.give_back();
        Ok(Some((segments.into_list(), place)))
    }

    /// All blocks by partition, and within each in order of completion: the partition, whether the block is in memory,
    /// and its position there.
    fn order(&self) -> Vec<(u32, bool, usize)> {
        let spilled = self.spill.as_ref().map_or(&[][..], |s| &s.blocks);
        // Spilled blocks are older than those in memory.
        let of_spill = spilled.iter().enumerate().map(|(i, s)| (s.partition, false, i));
        let of_memory = self.blocks.iter().enumerate().map(|(i, (partition, _))| (*partition, true, i));
        let mut order: Vec<(u32, bool, usize)> = of_spill.chain(of_memory).collect();
        order.sort_unstable();
        order
    }

    /// Writes all blocks into a shuffle file, partition by partition, and within each in order of completion. The log
    /// is empty then, and may take blocks of later partitions.
    pub(super) fn write(&mut self, file: &mut BlockFile, path: &Path) -> Result<()> {
        self.check_all();
        let order = self.order();
        let spill = self.spill.take();
        let spilled = spill.as_ref().map_or(&[][..], |s| &s.blocks);
        // Spilled blocks that were read back, as many as fit into one write.
        let mut read = Vec::new();
        let mut order = &order[..];
        while !order.is_empty() {
            // Blocks of one write.
            let mut bytes = 0;
            let last = order.iter().position(|(_, in_memory, i)| {
                bytes += if *in_memory { 0 } else { spilled[*i].length };
                bytes >= gather::BYTES
            });
            let (batch, later) = order.split_at(last.map_or(order.len(), |last| last + 1));
            order = later;
            read.clear();
            for (_, _, i) in batch.iter().filter(|(_, in_memory, _)| !in_memory) {
                let Some(spill) = &spill else { continue };
                let from = read.len();
                read.resize(from + spilled[*i].length, 0);
                let error = EngineError::io("read back", &spill.path);
                spill.file.read_exact_at(&mut read[from..], spilled[*i].offset).map_err(error)?;
            }
            let mut rest = &read[..];
            let blocks = batch.iter().map(|(partition, in_memory, i)| {
                if *in_memory {
                    let sealed = &self.blocks[*i].1;
                    return (*partition, &sealed.header, sealed.as_slice());
                }
                let (bytes, others) = rest.split_at(spilled[*i].length);
                rest = others;
                (*partition, &spilled[*i].header, bytes)
            });
            file.append_all(blocks).map_err(EngineError::file(path))?;
        }
        (self.bytes, self.runs) = (0, 0);
        self.give_back();
        Ok(())
    }

    /// Frees the memory of blocks that were written.
    fn give_back(&mut self) {
        // First the claim: buffers are recycled only into free memory.
        self.claim.shrink(self.open_bytes);
        for (_, sealed) in std::mem::take(&mut self.blocks) {
            recycle::give_buffer(sealed.into_buffer());
        }
    }
}

impl Spill {
    /// Writes consecutive blocks, given as slices of bytes and as partition, header and length of each block.
    fn append<'b>(
        &mut self,
        pieces: impl Iterator<Item = &'b [u8]>,
        blocks: impl Iterator<Item = (u32, Header, usize)> + Clone,
    ) -> Result<()> {
        let length: usize = blocks.clone().map(|(_, _, length)| length).sum();
        let charged = self.charged.add(length as u64);
        let ready = charged.and_then(|()| failpoint!("spill"));
        let written = ready.and_then(|()| gather::write_all(&mut self.file, pieces));
        written.map_err(EngineError::io("spill to", &self.path))?;
        for (partition, header, length) in blocks {
            self.blocks.push(Spilled { partition, header, offset: self.length, length });
            self.length += length as u64;
        }
        Ok(())
    }
}
