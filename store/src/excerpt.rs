//! Reads the first bytes of a record, for messages about it.

use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use windrow_format::compression;
use windrow_format::regular_file;
use windrow_model::{Compression, RecordPlace};

const EXCERPT_BYTES: u64 = 120;

/// The place of a record, with the start of its first line in printable form if it can be read.
pub fn record_place(file: PathBuf, offset: u64) -> RecordPlace {
    // If the file cannot be read, the message has no excerpt.
    let bytes = first_bytes(&file, offset).unwrap_or_default();
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    RecordPlace { excerpt: line.escape_ascii().to_string(), file, offset }
}

fn first_bytes(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut file = regular_file::open(path)?;
    let head = compression::head(|at, buf| file.read_at(buf, at))?;
    if matches!(compression::of_text(path, &head), Ok(compression) if compression != Compression::None) {
        // In a compressed file the offset refers to the decompressed content.
        return Ok(Vec::new());
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(EXCERPT_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpt_is_one_printable_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        std::fs::write(&path, b"first\nsecond\xff\tline\nthird\n").unwrap();
        assert_eq!(record_place(path.clone(), 6).excerpt, "second\\xff\\tline");
        assert_eq!(record_place(path, 600).excerpt, "");
        assert_eq!(record_place(folder.path().join("none"), 0).excerpt, "");
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        assert_eq!(record_place(fifo, 0).excerpt, "", "opening a FIFO does not block");
        let packed = folder.path().join("in.gz");
        std::fs::write(&packed, b"bytes of no record").unwrap();
        assert_eq!(record_place(packed, 0).excerpt, "");
        let unnamed = folder.path().join("packed");
        std::fs::write(&unnamed, b"\x1f\x8b\x08 bytes of no record").unwrap();
        assert_eq!(record_place(unnamed, 4).excerpt, "");
    }
}
