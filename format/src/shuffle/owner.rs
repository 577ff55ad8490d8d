//! Whether an image of an older version is the one of an attempt.
//!
//! Up to version 4 an index does not name its attempt; blocks do, by their checksums. A reader of a partition that the image of
//! another attempt does not have would see no block, and so no difference. So the first block of such an image is checked with
//! its index.

use crate::block::{self, FormatError, HEADER_BYTES, Header, Identity};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use windrow_model::Segment;

/// An image whose first block is larger, which is one record by itself, is refused: its map runs again, which costs less than to
/// read gigabytes only to check them.
const CHECKED_BYTES_MAX: usize = 1 << 20;

/// Checks that the first block of an image at `base` in a file belongs to `owner`, of which the partition is filled in.
/// `first` is the first segment of the image. Reads one block.
///
/// # Errors
/// `Checksum` if the block is damaged or of another attempt or output; the block is too large to check; the file is shorter or
/// cannot be read.
pub(super) fn check_first_block(file: &File, base: u64, first: &Segment, owner: &Identity) -> Result<(), FormatError> {
    let at = base.checked_add(first.offset).ok_or(FormatError::Truncated)?;
    let mut bytes = vec![0; HEADER_BYTES];
    read(file, &mut bytes, at)?;
    bytes.resize(block_bytes(&bytes, first)?, 0);
    read(file, &mut bytes, at)?;
    open(&bytes, first, owner)
}

/// [`check_first_block`] of an image in memory.
pub(super) fn check_first_block_of(image: &[u8], first: &Segment, owner: &Identity) -> Result<(), FormatError> {
    let bytes = image.get(first.offset as usize..).ok_or(FormatError::Truncated)?;
    let length = block_bytes(bytes, first)?;
    open(bytes.get(..length).ok_or(FormatError::Truncated)?, first, owner)
}

/// Bytes of the block that begins with this header.
fn block_bytes(header: &[u8], first: &Segment) -> Result<usize, FormatError> {
    let length = HEADER_BYTES.saturating_add(Header::parse(header)?.stored_length as usize);
    if length as u64 > first.length {
        return Err(FormatError::Malformed("a block is longer than its segment"));
    }
    if length > CHECKED_BYTES_MAX {
        return Err(FormatError::Malformed(
            "the image is of an older release, and its first block is too large to check",
        ));
    }
    Ok(length)
}

fn open(block: &[u8], first: &Segment, owner: &Identity) -> Result<(), FormatError> {
    block::open(block, &Identity { partition: first.partition, ..*owner }, first.offset).map(drop)
}

fn read(file: &File, bytes: &mut [u8], at: u64) -> Result<(), FormatError> {
    let ends = |e: &io::Error| e.kind() == ErrorKind::UnexpectedEof;
    file.read_exact_at(bytes, at).map_err(|e| if ends(&e) { FormatError::Truncated } else { FormatError::Io(e) })
}
