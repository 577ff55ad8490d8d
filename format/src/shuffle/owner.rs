//! Whether an image is the one of an attempt.
//!
//! An index does not name its attempt; blocks do, by their checksums. A reader of a partition that the image of another attempt
//! does not have would see no block, and so no difference. So the first block of an image is checked with its index.

use crate::block::{self, FormatError, HEADER_BYTES, Header, Identity};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use windrow_model::Segment;

/// A larger block is one record by itself. It is not read only to be checked: its reader checks it.
const CHECKED_BYTES_MAX: usize = 1 << 20;

/// Checks that the first block of an image at `base` in a file belongs to `identity`, of which the partition is filled in.
/// `first` is the first segment of the image. Reads one block.
///
/// # Errors
/// `Checksum` if the block is damaged or of another attempt or output; the file is shorter or cannot be read.
pub fn check_owner(file: &File, base: u64, first: &Segment, identity: &Identity) -> Result<(), FormatError> {
    let at = base.checked_add(first.offset).ok_or(FormatError::Truncated)?;
    let mut bytes = vec![0; HEADER_BYTES];
    read(file, &mut bytes, at)?;
    let length = HEADER_BYTES.saturating_add(Header::parse(&bytes)?.stored_length as usize);
    if length as u64 > first.length {
        return Err(FormatError::Malformed("a block is longer than its segment"));
    }
    if length > CHECKED_BYTES_MAX {
        return Ok(());
    }
    bytes.resize(length, 0);
    read(file, &mut bytes, at)?;
    block::open(&bytes, &Identity { partition: first.partition, ..*identity }, first.offset).map(drop)
}

fn read(file: &File, bytes: &mut [u8], at: u64) -> Result<(), FormatError> {
    let ends = |e: &io::Error| e.kind() == ErrorKind::UnexpectedEof;
    file.read_exact_at(bytes, at).map_err(|e| if ends(&e) { FormatError::Truncated } else { FormatError::Io(e) })
}
