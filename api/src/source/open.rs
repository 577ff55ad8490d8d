//! Opens the content of a whole file outside of a job, for `data put`.

use super::decoder::{Decoder, Grant};
use super::format::BYTE_ORDER_MARK;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use windrow_format::compression::{self, HEAD_BYTES, Unsupported, of_content, of_text};
use windrow_format::regular_file;
use windrow_model::{ByteSize, Code, Compression, Failure};

/// The memory limit of a process that decompresses one file at a time, in bytes.
struct Limit(u64);

impl Grant for Limit {
    fn hold(&mut self, bytes: u64) -> Result<(), Failure> {
        if bytes <= self.0 {
            return Ok(());
        }
        let message = format!("decompression needs {}, more than half of this machine's memory", ByteSize(bytes));
        Err(Failure::new(Code::DecompressionLimit, message))
    }
}

/// Opens a file for reading its bytes as stored.
pub(crate) fn open_as_stored(path: &Path) -> io::Result<Box<dyn Read>> {
    Ok(Box::new(io::BufReader::with_capacity(256 << 10, regular_file::open(path)?)))
}

/// Opens a text file: decompressed, without a byte order mark. The decoder holds at most `memory_bytes` of memory.
///
/// # Errors
/// Those of [`failure_of`](super::decoder::failure_of).
pub(crate) fn open_text(path: &Path, memory_bytes: u64) -> io::Result<Box<dyn Read>> {
    let file = regular_file::open(path)?;
    let head = compression::head(|at, buf| file.read_at(buf, at))?;
    let carried = |e: Unsupported| io::Error::other(Failure::new(Code::InputUnsupported, e.to_string()));
    match of_text(path, &head).map_err(carried)? {
        Compression::None => Ok(Box::new(without_mark(io::BufReader::with_capacity(256 << 10, file))?.1)),
        compression => {
            let (head, content) = without_mark(Decoder::new(file, compression, Limit(memory_bytes)))?;
            of_content(&head).map_err(carried)?;
            Ok(Box::new(content))
        }
    }
}

/// Returns the first bytes of a text, and a reader of all of it without a byte order mark.
fn without_mark<R: Read>(mut text: R) -> io::Result<(Vec<u8>, impl Read)> {
    let mut head = Vec::new();
    text.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    let rest = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&head).to_vec();
    Ok((head, io::Cursor::new(rest).chain(text)))
}
