//! Files mapped for reading, and memory that is read in the same way.
//!
//! This is the one place where the engine maps a file that it did not create. Its safety rests on a rule of the system
//! around it: what a task reads is complete before the task starts, and is not written to afterwards. A file of many
//! outputs (`windrow_format::spool`) may grow meanwhile, behind those bytes.

use crate::error::{EngineError, Result};
use crate::recycle;
use crate::torn::{self, Watched};
use memmap2::{Advice, Mmap};
use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;
use windrow_format::regular_file;
use windrow_format::segment_builder::Sealed;

/// A read-only mapping of a whole file, with the length that it had then, whose pages belong to the page cache and not to this process; or blocks that
/// were never written to a file.
#[derive(Debug)]
pub struct MappedFile(Bytes);

#[derive(Debug)]
enum Bytes {
    /// The mapping, and before it what watches it, which must be dropped first.
    Map(Option<Watched>, Mmap),
    /// A buffer and the number of its bytes that count. The buffer is recycled.
    Buffer(Vec<u8>, usize),
}

impl MappedFile {
    /// Maps the file for sequential reading; keeps no descriptor open. Bytes that cannot be read later read as zeros, which
    /// [`torn_at`](Self::torn_at) reports.
    pub fn open(path: &Path) -> Result<MappedFile> {
        MappedFile::map(path, torn::watch)
    }

    /// Maps a file whose bytes are taken as they are without a check of the reader: where they cannot be read, the process ends.
    pub(crate) fn open_own(path: &Path) -> Result<MappedFile> {
        MappedFile::map(path, |_| None)
    }

    /// Maps a file of this process that has no name, for reads in any order; `path` is the one that it had. It must not be written
    /// to while the mapping exists.
    pub(crate) fn of_unlinked(file: &File, path: &Path) -> Result<MappedFile> {
        MappedFile::map_open(file, path, Advice::Random, torn::watch)
    }

    fn map(path: &Path, watch: impl FnOnce(&[u8]) -> Option<Watched>) -> Result<MappedFile> {
        let file = regular_file::open(path).map_err(EngineError::io("open", path))?;
        MappedFile::map_open(&file, path, Advice::Sequential, watch)
    }

    fn map_open(
        file: &File,
        path: &Path,
        advice: Advice,
        watch: impl FnOnce(&[u8]) -> Option<Watched>,
    ) -> Result<MappedFile> {
        let length = file.metadata().map_err(EngineError::io("read the length of", path))?.len();
        if length == 0 {
            // An empty file cannot be mapped.
            return Ok(MappedFile(Bytes::Buffer(Vec::new(), 0)));
        }
        // SAFETY: the parts that a task reads of staged inputs and the engine's own files are not written to meanwhile. If a file
        // changes nevertheless, it yields arbitrary bytes, which every reader treats as untrusted (a reader of a
        // segment verifies them again after their use, a reader of an input compares the file's identity), or zeros
        // where it has become shorter (`torn.rs`).
        let map = unsafe { Mmap::map(file) }.map_err(EngineError::io("map", path))?;
        // Only a hint: a kernel without it reads ahead less.
        let _ = map.advise(advice);
        Ok(MappedFile(Bytes::Map(watch(&map), map)))
    }

    /// Offset of a byte that could not be read, since the file had become shorter or its disk failed: the process has read zeros
    /// from its page on. Ask after the last use of the bytes.
    pub fn torn_at(&self) -> Option<u64> {
        match &self.0 {
            Bytes::Map(watched, _) => watched.as_ref()?.torn_at(),
            Bytes::Buffer(..) => None,
        }
    }

    #[cfg(test)]
    pub(crate) fn is_watched(&self) -> bool {
        matches!(self.0, Bytes::Map(Some(_), _))
    }

    /// Blocks that are read from memory: a single block is taken over, several are copied into one buffer.
    pub(crate) fn resident(blocks: Vec<Sealed>) -> MappedFile {
        let length = blocks.iter().map(|sealed| sealed.as_slice().len()).sum();
        let buffer = match <[Sealed; 1]>::try_from(blocks) {
            Ok([one]) => one.into_buffer(),
            Err(many) => {
                let mut all = Vec::with_capacity(length);
                for sealed in many {
                    all.extend_from_slice(sealed.as_slice());
                    recycle::give_buffer(sealed.into_buffer());
                }
                all
            }
        };
        MappedFile(Bytes::Buffer(buffer, length))
    }

    /// Bytes that are read from memory.
    pub(crate) fn of_bytes(bytes: Vec<u8>) -> MappedFile {
        let length = bytes.len();
        MappedFile(Bytes::Buffer(bytes, length))
    }

    /// Returns whether the bytes belong to a file and not to this process.
    pub(crate) fn is_of_a_file(&self) -> bool {
        matches!(self.0, Bytes::Map(..))
    }

    /// Bytes of memory that belong to this process.
    pub(crate) fn memory(&self) -> usize {
        match &self.0 {
            Bytes::Map(..) => 0,
            Bytes::Buffer(buffer, _) => buffer.capacity(),
        }
    }

    /// Starts reading a range of the file without waiting, clipped to the end of the file. Only a hint.
    pub fn read_ahead(&self, range: Range<usize>) {
        if let Bytes::Map(_, map) = &self.0 {
            let end = range.end.min(map.len());
            if range.start < end {
                let _ = map.advise_range(Advice::WillNeed, range.start, end - range.start);
            }
        }
    }

    /// Maps the pages of a range at once, instead of sixteen with every page fault. Only a hint.
    pub fn populate(&self, range: Range<usize>) {
        #[cfg(target_os = "linux")]
        if let Bytes::Map(_, map) = &self.0 {
            let _ = map.advise_range(Advice::PopulateRead, range.start, range.len());
        }
        #[cfg(not(target_os = "linux"))]
        let _ = range;
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        if let Bytes::Buffer(buffer, _) = &mut self.0 {
            recycle::give_buffer(std::mem::take(buffer));
        }
    }
}

impl Deref for MappedFile {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Map(_, map) => map,
            Bytes::Buffer(buffer, length) => &buffer[..*length],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_an_empty_slice() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(MappedFile::open(file.path()).unwrap().len(), 0);
        std::fs::write(file.path(), b"abc").unwrap();
        assert_eq!(&MappedFile::open(file.path()).unwrap()[..], b"abc");
        assert!(MappedFile::open(Path::new("/nonexistent")).is_err());
    }
}
