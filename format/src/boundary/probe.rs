//! Finds several record boundaries of one file.
//!
//! Keeps the bytes of its last read, so that cuts closer to each other than a window cost one read together, and reads
//! more at a time the longer a record is.

use super::ReadAt;
use crate::framing::{Start, start_from};
use std::io;
use windrow_model::Framing;

/// Bytes of the first read around a cut: most records end within it.
const WINDOW_BYTES_MIN: usize = 16 << 10;
/// Most bytes of one read within a long record.
const WINDOW_BYTES_MAX: usize = 1 << 20;

/// Record boundaries of one file; see [`next_record_start`](super::next_record_start).
pub struct Boundaries<'f, F: ?Sized> {
    framing: Framing,
    file: &'f F,
    /// The bytes of the file from `window_at` on.
    window: Vec<u8>,
    window_at: u64,
}

impl<'f, F: ReadAt + ?Sized> Boundaries<'f, F> {
    /// Creates a search in `file`.
    pub fn new(framing: Framing, file: &'f F) -> Self {
        Boundaries { framing, file, window: Vec::new(), window_at: 0 }
    }

    /// Length of the file in bytes.
    pub fn length(&self) -> u64 {
        self.file.length()
    }

    /// The smallest record start that is not before `at`.
    ///
    /// # Errors
    /// The file cannot be read, is shorter than expected, or the framing has records of zero bytes.
    pub fn next(&mut self, at: u64) -> io::Result<u64> {
        let length = self.file.length();
        match start_from(self.framing, length, at)? {
            Start::At(at) => Ok(at),
            Start::Behind { byte, from } => Ok(self.find(byte, from)?.map_or(length, |p| p + 1)),
        }
    }

    /// The first position of `byte` that is not before `from`.
    fn find(&mut self, byte: u8, mut from: u64) -> io::Result<Option<u64>> {
        let length = self.file.length();
        let mut read_bytes = WINDOW_BYTES_MIN;
        while from < length {
            if !(self.window_at..self.window_at + self.window.len() as u64).contains(&from) {
                self.read(from, read_bytes.min(usize::try_from(length - from).unwrap_or(usize::MAX)))?;
                read_bytes = (read_bytes * 4).min(WINDOW_BYTES_MAX);
            }
            let skip = (from - self.window_at) as usize;
            if let Some(i) = memchr::memchr(byte, &self.window[skip..]) {
                return Ok(Some(from + i as u64));
            }
            from = self.window_at + self.window.len() as u64;
            if byte != 0 && from < length {
                from = self.file.skip_zeros(from)?;
            }
        }
        Ok(None)
    }

    fn read(&mut self, at: u64, bytes: usize) -> io::Result<()> {
        self.window.resize(bytes, 0);
        self.window_at = at;
        let read = self.file.read_at(at, &mut self.window);
        self.window.truncate(*read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the file ends at {at} instead of {}", self.file.length()),
            )),
            _ => Ok(()),
        }
    }
}
