//! Writes many pieces with few system calls.
//!
//! A write that begins or ends within a page costs the system more per byte than a write of many pages: sixteen blocks
//! of 64 KiB in one call take half as long as in sixteen calls.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Write};

/// Most pieces of one call: no more than systems accept, and enough that all but the edges are whole pages, and that an
/// image of small blocks takes one call.
const SLICES_MAX: usize = 1024;
/// Bytes of one call beyond which more gain nothing.
pub const BYTES: usize = 1 << 20;

/// Writes all pieces in order.
///
/// ```
/// let mut out = Vec::new();
/// windrow_format::gather::write_all(&mut out, [&b"ab"[..], b"", b"c"])?;
/// assert_eq!(out, b"abc");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn write_all<'p>(to: &mut impl Write, pieces: impl IntoIterator<Item = &'p [u8]>) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'p>> = Vec::new();
    let mut bytes = 0;
    for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
        slices.push(IoSlice::new(piece));
        bytes += piece.len();
        if slices.len() == SLICES_MAX || bytes >= BYTES {
            write_slices(to, &mut slices)?;
            slices.clear();
            bytes = 0;
        }
    }
    write_slices(to, &mut slices)
}

/// Writes all pieces in order to a file from `offset` on. The position of the file does not change, so threads can write
/// to one file at the same time.
pub fn write_all_at<'p>(file: &File, offset: u64, pieces: impl IntoIterator<Item = &'p [u8]>) -> io::Result<()> {
    write_all(&mut At { file, offset }, pieces)
}

struct At<'f> {
    file: &'f File,
    offset: u64,
}

impl Write for At<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = rustix::io::pwritev(self.file, slices, self.offset)?;
        self.offset += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_slices(to: &mut impl Write, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !slices.is_empty() {
        match to.write_vectored(slices) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut slices, n),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Accepts a few bytes of the first pieces, and is interrupted at intervals.
    struct Reluctant {
        taken: Vec<u8>,
        calls: usize,
        at_once: usize,
    }

    impl Write for Reluctant {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }
        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.calls += 1;
            if self.calls.is_multiple_of(3) {
                return Err(ErrorKind::Interrupted.into());
            }
            assert!(slices.len() <= SLICES_MAX);
            let before = self.taken.len();
            let bytes = slices.iter().flat_map(|s| s.iter().copied());
            self.taken.extend(bytes.take(self.at_once));
            Ok(self.taken.len() - before)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn all_pieces_are_written_in_order(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..2400),
            at_once in 1usize..5000,
        ) {
            let mut to = Reluctant { taken: Vec::new(), calls: 0, at_once };
            write_all(&mut to, pieces.iter().map(Vec::as_slice)).unwrap();
            prop_assert_eq!(to.taken, pieces.concat());
        }
    }

    #[test]
    fn pieces_are_written_at_their_offset() {
        let file = tempfile::tempfile().unwrap();
        let pieces = [b"abc".to_vec(), Vec::new(), vec![b'x'; 3 << 20], b"d".to_vec()];
        write_all_at(&file, 5, pieces.iter().map(Vec::as_slice)).unwrap();
        write_all_at(&file, 0, [&b"01234"[..]]).unwrap();
        let mut read = vec![0; 5 + (3 << 20) + 4];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut read, 0).unwrap();
        assert!(read == [b"01234".to_vec(), pieces.concat()].concat());
    }

    #[test]
    fn writer_that_accepts_nothing_is_an_error() {
        let mut full = Reluctant { taken: Vec::new(), calls: 0, at_once: 0 };
        assert_eq!(write_all(&mut full, [&b"x"[..]]).unwrap_err().kind(), ErrorKind::WriteZero);
    }
}
