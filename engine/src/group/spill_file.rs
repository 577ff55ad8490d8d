//! An unlinked file whose chunks are mapped for writing.

use crate::run::unique_path;
use memmap2::{MmapMut, MmapOptions};
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use windrow_failpoint::failpoint;
use windrow_format::private;
use windrow_format::quota::Charged;

/// Smallest and largest size of a chunk in bytes: few mappings for a huge group, little disk for a small one.
const CHUNK_BYTES: [usize; 2] = [4 << 20, 256 << 20];
/// Alignment of mappings in bytes.
const ALIGN: u64 = 64 << 10;

/// Mapped chunks of one file without a name.
pub(super) struct SpillFile {
    file: File,
    length: u64,
    charged: Charged,
    chunks: Vec<MmapMut>,
}

impl SpillFile {
    /// Creates a file in the folder, which is created if it does not exist.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        private::create_folders(folder)?;
        let path = unique_path(folder);
        let file = private::create_new(&path)?;
        fs::remove_file(&path)?;
        Ok(SpillFile { file, length: 0, charged: Charged::new(), chunks: Vec::new() })
    }

    /// Start and size of a new chunk of at least `bytes` bytes. Its memory does not move until [`clear`](Self::clear).
    pub(super) fn chunk(&mut self, bytes: usize) -> io::Result<(*mut u8, usize)> {
        let size = (self.length as usize).clamp(CHUNK_BYTES[0], CHUNK_BYTES[1]).max(bytes);
        let offset = self.length.next_multiple_of(ALIGN);
        self.charged.grow_to(offset + size as u64)?;
        failpoint!("group.spill")?;
        // Reserve the disk space now: a store into a mapping on a full disk would raise a fatal signal.
        match fallocate(&self.file, FallocateFlags::empty(), offset, size as u64) {
            Ok(()) => {}
            Err(rustix::io::Errno::OPNOTSUPP) => self.file.set_len(offset + size as u64)?,
            Err(e) => return Err(e.into()),
        }
        self.length = offset + size as u64;
        // SAFETY: the file has no name and this is its only descriptor, so no other process writes or truncates it;
        // `clear` drops the mappings before it truncates the file.
        let mut map = unsafe { MmapOptions::new().offset(offset).len(size).map_mut(&self.file)? };
        let start = map.as_mut_ptr();
        self.chunks.push(map);
        Ok((start, size))
    }

    /// Drops all chunks and frees their disk space.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.chunks.clear();
        self.length = 0;
        self.charged.clear();
        self.file.set_len(0)
    }
}
