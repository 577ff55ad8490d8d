//! The first bytes of a record, for messages about it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use windrow_model::RecordPlace;

const EXCERPT_BYTES: u64 = 120;
/// Files of which a byte offset is not one of their content.
const COMPRESSED: [&[u8]; 3] = [b"gz", b"zst", b"bz2"];

/// Where a record lies, with its first bytes if they can be read: no more than its first line, printable.
pub fn record_place(file: PathBuf, offset: u64) -> RecordPlace {
    let compressed = file.extension().is_some_and(|e| COMPRESSED.contains(&e.as_bytes()));
    // A message without an excerpt is better than none.
    let bytes = if compressed { Vec::new() } else { first_bytes(&file, offset).unwrap_or_default() };
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    RecordPlace { excerpt: line.escape_ascii().to_string(), file, offset }
}

fn first_bytes(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(EXCERPT_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_printable_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        std::fs::write(&path, b"first\nsecond\xff\tline\nthird\n").unwrap();
        assert_eq!(record_place(path.clone(), 6).excerpt, "second\\xff\\tline");
        assert_eq!(record_place(path, 600).excerpt, "");
        assert_eq!(record_place(folder.path().join("none"), 0).excerpt, "");
        let packed = folder.path().join("in.gz");
        std::fs::write(&packed, b"bytes of no record").unwrap();
        assert_eq!(record_place(packed, 0).excerpt, "");
    }
}
