//! Detects how an input file is stored: uncompressed, compressed in a supported format, or in an unsupported one.
//!
//! This is the only module that knows suffixes and magic bytes. The splitter, the readers of a job, `data put` and
//! excerpts call it with the name and the first bytes of a file, so they agree about every file. It is used for text
//! only; sources of raw bytes do not call it. The readers decompress.
//!
//! Magic bytes decide. A suffix counts only where there are none, since a name is easily wrong. The suffix of a
//! supported format marks a file as compressed even without magic bytes, so that a file that is damaged at its first
//! byte is an error and not text.

mod zstd_frame;

pub use zstd_frame::{FRAME_HEADER_MAX, FrameHeader, frame_header};

use crate::fill::fill;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use windrow_model::Compression;

/// Number of first bytes that are enough for the detection: a tar archive has its mark at offset 257.
pub const HEAD_BYTES: usize = 512;

/// A format that text is not read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Common name of the format: `xz`, `a zip archive`.
    pub format: &'static str,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not supported as text", self.format)
    }
}

/// The file name suffix for output with this compression.
pub fn suffix(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "",
        Compression::Gzip => ".gz",
        Compression::Zstd => ".zst",
        Compression::Bzip2 => ".bz2",
    }
}

/// Suffixes of supported formats, in lower case.
const SUFFIXES: [(&str, Compression); 9] = [
    ("gz", Compression::Gzip),
    ("gzip", Compression::Gzip),
    ("tgz", Compression::Gzip),
    ("zst", Compression::Zstd),
    ("zstd", Compression::Zstd),
    ("bz2", Compression::Bzip2),
    ("bzip2", Compression::Bzip2),
    ("bz", Compression::Bzip2),
    ("tbz2", Compression::Bzip2),
];

/// Suffixes of unsupported formats that may have no magic bytes. They count for a file that does not begin like text.
const UNREAD_SUFFIXES: [(&str, &str); 16] = [
    ("xz", "xz"),
    ("txz", "xz"),
    ("lzma", "lzma"),
    ("lz", "lzip"),
    ("lz4", "lz4"),
    ("lzo", "lzop"),
    ("br", "brotli"),
    ("sz", "snappy"),
    ("snappy", "snappy"),
    ("z", "compress (.Z)"),
    ("zz", "zlib"),
    ("7z", "a 7z archive"),
    ("zip", "a zip archive"),
    ("rar", "a rar archive"),
    ("parquet", "parquet"),
    ("orc", "orc"),
];

/// First bytes of unsupported formats. Text does not begin with any of them: each holds a control character or a byte
/// that is invalid in UTF-8.
const UNREAD: [(&[u8], &str); 30] = [
    (b"\xfd7zXZ\0", "xz"),
    (b"\x5d\0\0\0\x01", "lzma"),
    (b"\x5d\0\0\x80\0", "lzma"),
    (b"\x5d\0\0\0\x04", "lzma"),
    (b"LZIP\x01", "lzip"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x89LZO\0\r\n\x1a\n", "lzop"),
    (b"\xff\x06\0\0sNaPpY", "snappy"),
    (b"\x82SNAPPY\0", "snappy"),
    (b"\x1f\x9d", "compress (.Z)"),
    (b"\x1f\xa0", "compress (.Z)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "a zip archive"),
    (b"PK\x07\x08", "a zip archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"PAR1\x15", "parquet"),
    (b"Obj\x01", "avro"),
    (b"ARROW1\0\0", "arrow"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"\x7fELF", "an ELF executable"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\0asm", "WebAssembly"),
    (b"\xca\xfe\xba\xbe", "compiled code"),
    (b"x\x9c", "zlib"),
    (b"\xff\xfe", "text in UTF-16 or UTF-32"),
    (b"\xfe\xff", "text in UTF-16"),
];

/// Reads the first bytes of a file for the detection: up to [`HEAD_BYTES`], or the whole file if it is shorter.
///
/// # Errors
/// Those of `read_at`, which reads some bytes at an offset, and none only at the end.
pub fn head(read_at: impl FnMut(u64, &mut [u8]) -> io::Result<usize>) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD_BYTES];
    let filled = fill(&mut head, read_at)?;
    head.truncate(filled);
    Ok(head)
}

/// Detects how a file of text is stored, from its name and its first bytes, up to [`HEAD_BYTES`] of them.
///
/// ```
/// use std::path::Path;
/// use windrow_format::compression::of_text;
/// use windrow_model::Compression;
/// assert_eq!(of_text(Path::new("log"), b"\x1f\x8b\x08\0"), Ok(Compression::Gzip));
/// assert_eq!(of_text(Path::new("log"), b"one line\n"), Ok(Compression::None));
/// assert_eq!(of_text(Path::new("log.xz"), b"\xfd7zXZ\0\0").unwrap_err().format, "xz");
/// ```
pub fn of_text(path: &Path, head: &[u8]) -> Result<Compression, Unsupported> {
    if let Some(compression) = of_magic(head) {
        return Ok(compression);
    }
    if let Some(format) = unread(head) {
        return Err(Unsupported { format });
    }
    let suffix = path.extension().map(|e| e.as_bytes().to_ascii_lowercase()).unwrap_or_default();
    if let Some((_, compression)) = SUFFIXES.iter().find(|(s, _)| s.as_bytes() == suffix) {
        return Ok(*compression);
    }
    match UNREAD_SUFFIXES.iter().find(|(s, _)| s.as_bytes() == suffix) {
        Some((_, format)) if !begins_like_text(head) => Err(Unsupported { format }),
        _ => Ok(Compression::None),
    }
}

/// Checks that decompressed bytes are not a compressed file or an archive again, such as a tar archive in a gzip file.
pub fn of_content(head: &[u8]) -> Result<(), Unsupported> {
    match (of_magic(head), unread(head)) {
        (Some(_), _) => Err(Unsupported { format: "a compressed file within a compressed file" }),
        (None, Some(format)) => Err(Unsupported { format }),
        (None, None) => Ok(()),
    }
}

/// The supported format with this magic.
fn of_magic(head: &[u8]) -> Option<Compression> {
    match head {
        // RFC 1952: the third byte is the method; 8 is the only one.
        [0x1f, 0x8b, 8, ..] => Some(Compression::Gzip),
        // A frame, or a skippable frame, which parallel compressors write first. LZ4 has skippable frames too, but only
        // zstd files are known to start with one.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Compression::Zstd),
        // The mark of a block, or of the end of an empty stream, distinguishes it from text that starts with `BZh`.
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..]
        | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..] => Some(Compression::Bzip2),
        _ => None,
    }
}

fn unread(head: &[u8]) -> Option<&'static str> {
    let known = UNREAD.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, format)| *format);
    known.or_else(|| is_tar(head).then_some("a tar archive"))
}

/// The name of the first member ends with NUL, and the mark is at its offset.
fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar") && head[..257].contains(&0)
}

/// Returns whether the bytes are UTF-8 without control characters that text never has. The last character may be cut
/// off.
fn begins_like_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(e) if e.error_len().is_none() => std::str::from_utf8(&head[..e.valid_up_to()]).unwrap_or_default(),
        Err(_) => return false,
    };
    !text.bytes().any(|b| matches!(b, 0..=8 | 14..=26 | 28..=31 | 127))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, head: &[u8]) -> Result<Compression, &'static str> {
        of_text(Path::new(name), head).map_err(|u| u.format)
    }

    #[test]
    fn magic_bytes_decide_for_any_name() {
        for name in ["a", "a.gz", "a.txt", "a.bz2", "a.xz"] {
            assert_eq!(of(name, b"\x1f\x8b\x08\0\0"), Ok(Compression::Gzip), "{name}");
            assert_eq!(of(name, b"\x28\xb5\x2f\xfd\x04"), Ok(Compression::Zstd), "{name}");
            assert_eq!(of(name, b"\x50\x2a\x4d\x18\x04"), Ok(Compression::Zstd), "{name}");
            assert_eq!(of(name, b"BZh91AY&SY"), Ok(Compression::Bzip2), "{name}");
            assert_eq!(of(name, b"\xfd7zXZ\0\0"), Err("xz"), "{name}");
        }
    }

    #[test]
    fn suffixes_count_in_any_case_where_there_is_no_magic() {
        for (name, compression) in [
            ("a.GZ", Compression::Gzip),
            ("a.gzip", Compression::Gzip),
            ("a.Zst", Compression::Zstd),
            ("a.zstd", Compression::Zstd),
            ("a.BZ2", Compression::Bzip2),
        ] {
            assert_eq!(of(name, b"no magic"), Ok(compression), "{name}");
        }
        assert_eq!(of("gz", b"text"), Ok(Compression::None));
        assert_eq!(of(".gz", b"text"), Ok(Compression::None), "a hidden file without a suffix");
    }

    #[test]
    fn unsupported_formats_have_a_name() {
        for (magic, format) in UNREAD {
            assert_eq!(of("a", magic), Err(format));
            assert!(!begins_like_text(magic), "{format}: text must not begin like it");
        }
        let mut tar = vec![0; 512];
        tar[..5].copy_from_slice(b"a.txt");
        tar[257..263].copy_from_slice(b"ustar\0");
        assert_eq!(of("a", &tar), Err("a tar archive"));
        assert_eq!(of_content(&tar).unwrap_err().format, "a tar archive");
        assert!(of_content(b"\x1f\x8b\x08").is_err() && of_content(b"text").is_ok());
    }

    #[test]
    fn suffixes_without_magic_count_for_binary_bytes() {
        assert_eq!(of("a.br", b"\x0b\x02\x80hello"), Err("brotli"));
        assert_eq!(of("a.Z", b"\x00\x01"), Err("compress (.Z)"));
        assert_eq!(of("notes.zip", b"codes of towns\n"), Ok(Compression::None));
        assert_eq!(of("a.br", "demat d'an holl, é".as_bytes().split_last().unwrap().1), Ok(Compression::None));
    }

    #[test]
    fn text_that_begins_like_a_magic_is_text() {
        for text in ["BZh9 is a mark", "PAR1 is one too", "PK is not", "Rar! he said", "]lzma", "ustar", "7z", "Object"]
        {
            assert_eq!(of("a", text.as_bytes()), Ok(Compression::None), "{text}");
        }
        let text = [&[b'x'; 257][..], b"ustar is in a text"].concat();
        assert_eq!(of("a", &text), Ok(Compression::None));
        assert_eq!(of("a", b""), Ok(Compression::None));
    }
}
