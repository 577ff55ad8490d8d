//! Files of records in the engine's encoding, which keep their type for the jobs that read them.
//!
//! ```text
//! 0   magic, 8 bytes | 8  version u32 | 12 length of the description u32 | 16 CRC-32C u32 of bytes 0..16 and it
//! 20  description, JSON | blocks, as in a shuffle file, of records without keys
//!     end: 0xE7, 7 zeros | records u64 | CRC-32C u32 of a digest of the description, of the end's offset and its bytes
//! ```
//! Numbers are little-endian. The identity of a block is a digest of the description with the block's offset, so a block
//! that was moved, or that lies in another file, is refused like a damaged one. The end shows that no block is missing.
//! The same records with the same description have the same bytes.
//!
//! This module knows nothing of the types that the bytes of a record stand for.

mod description;
mod error;
mod read;
mod write;

pub use description::{Description, read_description};
pub use error::RecordFileError;
pub use read::{RecordBlock, RecordFile};
pub use write::RecordFileWriter;

use crate::block::Identity;
use crate::checksum::Crc32c;

/// The first bytes of a file. The first one begins no UTF-8 text.
const MAGIC: [u8; 8] = *b"\xb8records";
/// The version that this release writes, and the newest that it reads.
const VERSION: u32 = 1;
/// Bytes before the description.
const HEAD_BYTES: usize = 20;
/// Most bytes of a description: what a reader takes into memory before it has checked anything.
const DESCRIPTION_BYTES_MAX: usize = 1 << 20;
/// The first byte of the end of a file. Blocks begin with another one.
const END_MARK: u8 = 0xe7;
/// Bytes of the end.
const END_BYTES: usize = 20;

/// What a file's blocks and its end are bound to: a digest of its description.
#[derive(Clone, Copy, Debug)]
struct Key([u8; 16]);

impl Key {
    fn of(description: &[u8]) -> Key {
        let mut key = [0; 16];
        key.copy_from_slice(&windrow_model::Digest::of(description).0[..16]);
        Key(key)
    }

    /// The identity of the block at this offset.
    fn block(self, offset: u64) -> Identity {
        Identity { job: self.0, epoch: offset, ..Identity::default() }
    }

    /// The end of a file with this many records that begins at this offset.
    fn end(self, offset: u64, records: u64) -> [u8; END_BYTES] {
        let mut end = [0; END_BYTES];
        end[0] = END_MARK;
        end[8..16].copy_from_slice(&records.to_le_bytes());
        let mut crc = Crc32c::new();
        crc.update(&self.0);
        crc.update(&offset.to_le_bytes());
        crc.update(&end[..16]);
        end[16..].copy_from_slice(&crc.value().to_le_bytes());
        end
    }
}

/// The bytes of a file before its first block.
fn head(description: &[u8]) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend(VERSION.to_le_bytes());
    head.extend((description.len() as u32).to_le_bytes());
    let mut crc = Crc32c::new();
    crc.update(&head);
    crc.update(description);
    head.extend(crc.value().to_le_bytes());
    head.extend(description);
    head
}

#[cfg(test)]
mod tests;
