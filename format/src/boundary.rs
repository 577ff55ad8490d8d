//! Finds where records begin in a file, by the rules of `framing`, reading as little as possible.
//!
//! This module knows nothing of chunk sizes (see `cut`).

mod probe;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use windrow_model::Framing;

pub use probe::Boundaries;

/// Random access to bytes of a known length.
pub trait ReadAt {
    /// Reads some bytes at `offset` into `buf` and returns their number; zero only at the end.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Length in bytes.
    fn length(&self) -> u64;
    /// The first offset from `offset` on that may hold a byte other than zero. Lets a search skip the holes of a sparse
    /// file.
    fn skip_zeros(&self, offset: u64) -> io::Result<u64> {
        Ok(offset)
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|o| self.get(o..)).unwrap_or(&[]);
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
    fn length(&self) -> u64 {
        self.len() as u64
    }
}

/// An open file with the length that it had when it was listed. Reads with `pread`, so a failing disk is an error and
/// not a signal.
#[derive(Debug)]
pub struct FileAt {
    file: File,
    length: u64,
}

impl FileAt {
    /// `length` is the expected length in bytes; reading a file that is shorter fails with `UnexpectedEof`.
    pub fn new(file: File, length: u64) -> Self {
        FileAt { file, length }
    }
}

impl ReadAt for FileAt {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read_at(buf, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
    fn length(&self) -> u64 {
        self.length
    }
    fn skip_zeros(&self, offset: u64) -> io::Result<u64> {
        // Seeking moves the file's own position, which no read uses: all reads name their offset.
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(at) => Ok(at.max(offset)),
            // Only a hole is left. If the file has become shorter, the next read fails instead.
            Err(rustix::io::Errno::NXIO) if self.file.metadata()?.len() >= self.length => Ok(self.length.max(offset)),
            // The file system does not support this: there may be data at any offset.
            Err(_) => Ok(offset),
        }
    }
}

/// A length without bytes: enough for framings whose boundaries follow from numbers.
#[derive(Clone, Copy, Debug)]
pub struct LengthOnly(pub u64);

impl ReadAt for LengthOnly {
    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "boundaries of this framing need the file's bytes"))
    }
    fn length(&self) -> u64 {
        self.0
    }
}

/// The smallest record start that is not before `at`: 0 is always one, and after the last record it is the length.
///
/// Reads a little from `at - 1` on, until the end of that record. For many calls on one file use [`Boundaries`].
///
/// ```
/// use windrow_format::boundary::next_record_start;
/// use windrow_model::Framing;
/// let lines = &b"ab\ncd\nef"[..];
/// let starts: Vec<u64> = (0..=8).map(|at| next_record_start(Framing::Delimiter(b'\n'), lines, at).unwrap()).collect();
/// assert_eq!(starts, [0, 3, 3, 3, 6, 6, 6, 8, 8]);
/// ```
pub fn next_record_start<F: ReadAt + ?Sized>(framing: Framing, file: &F, at: u64) -> io::Result<u64> {
    Boundaries::new(framing, file).next(at)
}
