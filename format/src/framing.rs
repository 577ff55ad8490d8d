//! Applies framings to bytes: where records begin and end, in a file and in memory.
//!
//! This is the only file that turns a [`Framing`] into positions. The splitter, the readers of pieces, samples and
//! `data put` call it, so that every record is in exactly one piece.

use memchr::{memchr, memrchr};
use std::fmt;
use std::io;
use windrow_model::Framing;

/// Where the first record start is that is not before some offset of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// At this offset, whatever the bytes are.
    At(u64),
    /// Behind the first `byte` that is not before `from`; at the end of the file if there is none.
    Behind { byte: u8, from: u64 },
}

/// The smallest record start that is not before `at`, in a file of `length` bytes: 0 is always one, and after the last
/// record it is the length.
///
/// # Errors
/// The framing has records of zero bytes. Such framings are refused even where no boundary is searched, because the
/// reader of the piece would fail.
pub(crate) fn start_from(framing: Framing, length: u64, at: u64) -> io::Result<Start> {
    if framing.has_empty_records() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "records of zero bytes"));
    }
    if at == 0 || at >= length {
        return Ok(Start::At(at.min(length)));
    }
    Ok(match framing {
        Framing::Whole => Start::At(length),
        Framing::Fixed(n) => Start::At(at.checked_next_multiple_of(n.into()).map_or(length, |b| b.min(length))),
        Framing::Delimiter(byte) => Start::Behind { byte, from: at - 1 },
    })
}

/// Returns whether boundaries can only be found by reading bytes.
pub fn needs_bytes(framing: Framing) -> bool {
    matches!(start_from(framing, u64::MAX, 1), Ok(Start::Behind { .. }))
}

/// Returns the end of the record that contains the byte before `at`, which is not 0. The bytes begin and end with whole
/// records. It is the record start that is not before `at`, as [`next_record_start`](crate::boundary::next_record_start)
/// finds it in a file.
pub fn record_end(bytes: &[u8], framing: Framing, at: usize) -> usize {
    match start_from(framing, bytes.len() as u64, at as u64) {
        Ok(Start::At(at)) => at as usize,
        Ok(Start::Behind { byte, from }) => {
            let from = from as usize;
            memchr(byte, &bytes[from..]).map_or(bytes.len(), |i| from + i + 1)
        }
        // Plans with such a framing are refused.
        Err(_) => bytes.len(),
    }
}

/// Returns the end of the last whole record of bytes that begin with one and whose end is not known to be the end of the
/// file; 0 if there is none.
pub fn last_record_end(bytes: &[u8], framing: Framing) -> usize {
    match framing {
        Framing::Delimiter(byte) => memrchr(byte, bytes).map_or(0, |i| i + 1),
        Framing::Fixed(n) => bytes.len().checked_div(n as usize).map_or(0, |records| records * n as usize),
        Framing::Whole => 0,
    }
}

/// What must happen at the end of a file before the records of another file follow in the same chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileEnd {
    /// The next records follow at once.
    Joins,
    /// The last record lacks this byte, which is added: otherwise the first record of the next file would continue it.
    Lacks(u8),
    /// Nothing may follow: the chunk ends here.
    Closes,
}

/// A file or a piece that is not a whole number of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialRecord {
    /// The size of a record in bytes.
    pub record_bytes: u32,
}

impl fmt::Display for PartialRecord {
    /// The rule that is broken: `a whole number of 100-byte records`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number of {}-byte records", self.record_bytes)
    }
}

impl std::error::Error for PartialRecord {}

/// Returns what the end of a file does to `bytes`, which begin with a record and end with the file.
///
/// # Errors
/// The last record is cut off.
pub fn file_end(bytes: &[u8], framing: Framing) -> Result<FileEnd, PartialRecord> {
    check_length(bytes.len() as u64, framing)?;
    Ok(match framing {
        Framing::Delimiter(byte) if bytes.last().is_some_and(|last| *last != byte) => FileEnd::Lacks(byte),
        Framing::Delimiter(_) | Framing::Fixed(_) => FileEnd::Joins,
        Framing::Whole => FileEnd::Closes,
    })
}

/// Checks the length of a file as far as the framing says something about it.
///
/// # Errors
/// The last record is cut off.
pub fn check_length(length: u64, framing: Framing) -> Result<(), PartialRecord> {
    match framing {
        Framing::Fixed(n) if !length.is_multiple_of(n.into()) => Err(PartialRecord { record_bytes: n }),
        Framing::Fixed(_) | Framing::Delimiter(_) | Framing::Whole => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::next_record_start;

    const FRAMINGS: [Framing; 5] =
        [Framing::Delimiter(b'\n'), Framing::Delimiter(0), Framing::Fixed(1), Framing::Fixed(3), Framing::Whole];

    #[test]
    fn files_and_slices_have_the_same_record_ends() {
        for bytes in [&b""[..], b"\n", b"a\n\nbc\0d\n", b"a\nbc\0def\ngh"] {
            for framing in FRAMINGS {
                for at in 1..=bytes.len() + 1 {
                    let of_file = next_record_start(framing, bytes, at as u64).unwrap();
                    assert_eq!(
                        record_end(bytes, framing, at) as u64,
                        of_file.min(bytes.len() as u64),
                        "{framing} {at}"
                    );
                }
            }
        }
    }

    #[test]
    fn last_record_end_is_a_record_start_of_the_file() {
        let bytes = b"a\n\nbc\0def\ngh";
        for framing in FRAMINGS {
            let end = last_record_end(bytes, framing);
            assert_eq!(next_record_start(framing, &bytes[..], end as u64).unwrap(), end as u64, "{framing}");
            if needs_bytes(framing) {
                assert_eq!(file_end(&bytes[..end], framing), Ok(FileEnd::Joins), "{framing}");
            }
        }
    }

    #[test]
    fn records_of_zero_bytes_are_refused_without_a_panic() {
        assert!(next_record_start(Framing::Fixed(0), &b"abc"[..], 0).is_err());
        assert_eq!(record_end(b"abc", Framing::Fixed(0), 1), 3);
        assert_eq!(last_record_end(b"abc", Framing::Fixed(0)), 0);
        assert!(file_end(b"abc", Framing::Fixed(0)).is_err());
    }

    #[test]
    fn end_of_a_file_follows_from_its_framing() {
        let line = Framing::Delimiter(b'\n');
        assert_eq!(file_end(b"a\nb", line), Ok(FileEnd::Lacks(b'\n')));
        assert_eq!(file_end(b"a\n", line), Ok(FileEnd::Joins));
        assert_eq!(file_end(b"", line), Ok(FileEnd::Joins));
        assert_eq!(file_end(b"abc", Framing::Fixed(3)), Ok(FileEnd::Joins));
        assert_eq!(file_end(b"abcd", Framing::Fixed(3)).unwrap_err().to_string(), "a whole number of 3-byte records");
        assert_eq!(file_end(b"abc", Framing::Whole), Ok(FileEnd::Closes));
    }
}
