//! Files mapped for reading.
//!
//! The one place where the engine maps a file that it did not make. Its safety rests on a rule of the system around it: files of a
//! task are complete before the task is told of them, and nobody writes to them afterwards.

use crate::error::{EngineError, Result};
use memmap2::{Advice, Mmap};
use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;

/// A read-only mapping of a whole file. Its pages are the page cache's, not this process's.
#[derive(Debug)]
pub struct MappedFile {
    /// `None` for an empty file, which cannot be mapped.
    map: Option<Mmap>,
}

impl MappedFile {
    /// Maps the file for reading from front to back; keeps no descriptor open.
    pub fn open(path: &Path) -> Result<MappedFile> {
        let file = File::open(path).map_err(EngineError::io("open", path))?;
        let length = file.metadata().map_err(EngineError::io("read the length of", path))?.len();
        if length == 0 {
            return Ok(MappedFile { map: None });
        }
        // SAFETY: staged inputs and the engine's own files are not written to while a task reads them. An input that the user changes
        // meanwhile yields arbitrary bytes, which every reader treats as untrusted, or the fatal signal that names the record.
        let map = unsafe { Mmap::map(&file) }.map_err(EngineError::io("map", path))?;
        // Only a hint: a kernel that does not know it reads ahead less.
        let _ = map.advise(Advice::Sequential);
        Ok(MappedFile { map: Some(map) })
    }

    /// Maps the pages of a range that is read next, all at once instead of sixteen with every fault. Only a hint.
    pub fn populate(&self, range: Range<usize>) {
        #[cfg(target_os = "linux")]
        if let Some(map) = &self.map {
            let _ = map.advise_range(Advice::PopulateRead, range.start, range.len());
        }
        #[cfg(not(target_os = "linux"))]
        let _ = range;
    }
}

impl Deref for MappedFile {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
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
