//! CRC-32C (Castagnoli), the checksum of blocks and part files, computed by the processor's vector instructions.

use crc_fast::{CrcAlgorithm, Digest};
use std::io::{self, Read, Write};

/// The CRC-32C of some bytes.
///
/// ```
/// assert_eq!(windrow_format::checksum::crc32c(b"123456789"), 0xe306_9283);
/// ```
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// Computes a checksum piece by piece.
#[derive(Clone, Debug)]
pub struct Crc32c(Digest);

impl Crc32c {
    /// Creates the checksum of no bytes.
    pub fn new() -> Self {
        Crc32c(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    /// The checksum of everything so far; more may follow.
    pub fn value(&self) -> u32 {
        self.0.finalize() as u32
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Crc32c::new()
    }
}

/// Passes bytes on and tracks their number and checksum. Place it *under* a buffer: each write has a cost.
#[derive(Debug)]
pub struct Crc32cWriter<W> {
    inner: W,
    crc: Crc32c,
    bytes: u64,
}

impl<W: Write> Crc32cWriter<W> {
    /// Creates a writer that passes bytes on to `inner`.
    pub fn new(inner: W) -> Self {
        Crc32cWriter { inner, crc: Crc32c::new(), bytes: 0 }
    }
    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
    /// Checksum of the bytes written so far.
    pub fn crc32c(&self) -> u32 {
        self.crc.value()
    }
    /// Returns the inner writer.
    pub fn get_ref(&self) -> &W {
        &self.inner
    }
    /// Returns the inner writer. Bytes that are written to it directly are not counted.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.inner
    }
    /// Unwraps the inner writer.
    pub fn into_inner(self) -> W {
        self.inner
    }
}

impl<W: Write> Write for Crc32cWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.crc.update(&buf[..n]);
        self.bytes += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Passes bytes on and tracks the checksum of what was read.
#[derive(Debug)]
pub struct Crc32cReader<R> {
    inner: R,
    crc: Crc32c,
}

impl<R: Read> Crc32cReader<R> {
    /// Creates a reader that takes bytes from `inner`.
    pub fn new(inner: R) -> Self {
        Crc32cReader { inner, crc: Crc32c::new() }
    }
    /// Checksum of the bytes read so far.
    pub fn crc32c(&self) -> u32 {
        self.crc.value()
    }
}

impl<R: Read> Read for Crc32cReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.crc.update(&into[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_give_the_checksum_of_the_whole() {
        let bytes: Vec<u8> = (0..10_000u32).map(|i| (i * 7 + i / 251) as u8).collect();
        for cut in [0, 1, 7, 255, 256, 4096, 9_999, 10_000] {
            let mut crc = Crc32c::new();
            crc.update(&bytes[..cut]);
            crc.update(&bytes[cut..]);
            assert_eq!(crc.value(), crc32c(&bytes));
        }
        assert_eq!(Crc32c::new().value(), crc32c(b""));
    }

    #[test]
    fn writer_counts_only_accepted_bytes() {
        struct Three(Vec<u8>);
        impl Write for Three {
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                let n = buf.len().min(3);
                self.0.extend(&buf[..n]);
                Ok(n)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut w = Crc32cWriter::new(Three(Vec::new()));
        w.write_all(b"123456789").unwrap();
        assert_eq!((w.bytes(), w.crc32c()), (9, crc32c(&w.get_ref().0)));
    }
}
