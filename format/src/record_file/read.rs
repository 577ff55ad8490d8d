//! Reads a file of records that lies in memory or is mapped.

use super::{Description, END_BYTES, END_MARK, Key, RecordFileError, description};
use crate::block::{self, HEADER_BYTES};
use crate::codec::{Codec, decompress};

/// Some records of a file.
#[derive(Clone, Copy, Debug)]
pub struct RecordBlock<'b> {
    /// The records, each with its lengths: see [`block::each_record`]. No record has a key.
    pub bytes: &'b [u8],
    /// How many there are.
    pub records: u32,
    /// The place of the first byte: its offset in the file, or in the decompressed blocks if the file is packed.
    pub place: u64,
}

/// A file of records, read from its beginning to its end.
pub struct RecordFile<'f> {
    bytes: &'f [u8],
    description: Description,
    key: Key,
    at: usize,
    records: u64,
    /// Bytes of the blocks so far, before compression.
    raw_bytes: u64,
    unpacked: Vec<u8>,
}

impl<'f> RecordFile<'f> {
    /// Checks the description. `bytes` are the whole file.
    ///
    /// # Errors
    /// The file is damaged, is none of records, or a newer one.
    pub fn open(bytes: &'f [u8]) -> Result<Self, RecordFileError> {
        let (described, rest) = description::split(bytes)?;
        let description = description::parse(described)?;
        let at = bytes.len() - rest.len();
        let key = Key::of(described);
        Ok(RecordFile { bytes, description, key, at, records: 0, raw_bytes: 0, unpacked: Vec::new() })
    }

    /// What the file says about its records.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The next records, whose checksum has been verified; `None` at the end, when all records have come.
    ///
    /// # Errors
    /// A block or the end of the file is damaged.
    pub fn next_block(&mut self) -> Result<Option<RecordBlock<'_>>, RecordFileError> {
        let at = self.at;
        let rest = &self.bytes[at..];
        if rest.first() == Some(&END_MARK) {
            return self.end(rest).map(|()| None);
        }
        let damaged = |e: &_| RecordFileError::of_block(at, e);
        let (header, payload, _) = block::open(rest, &self.key.block(at as u64), at as u64).map_err(|e| damaged(&e))?;
        if header.records == 0 || (header.codec != Codec::None && !self.description.packed) {
            return Err(RecordFileError::damaged(at, "a block has no records, or is compressed in a file that is not"));
        }
        self.at += HEADER_BYTES + payload.len();
        let place = if self.description.packed { self.raw_bytes } else { (at + HEADER_BYTES) as u64 };
        self.records = self.records.saturating_add(header.records.into());
        self.raw_bytes = self.raw_bytes.saturating_add(header.raw_length.into());
        let bytes = match header.codec {
            Codec::None => payload,
            codec => {
                decompress(codec, payload, header.raw_length as usize, &mut self.unpacked).map_err(|e| damaged(&e))?;
                &self.unpacked
            }
        };
        Ok(Some(RecordBlock { bytes, records: header.records, place }))
    }

    fn end(&self, rest: &[u8]) -> Result<(), RecordFileError> {
        let expected = self.key.end(self.at as u64, self.records);
        match rest.len() {
            END_BYTES if rest == expected => Ok(()),
            END_BYTES => Err(RecordFileError::damaged(self.at, "its end does not fit its blocks")),
            n if n < END_BYTES => Err(RecordFileError::damaged(self.at, "it is cut off")),
            _ => Err(RecordFileError::damaged(self.at + END_BYTES, "bytes follow its end")),
        }
    }

    /// The offset of the block that [`next_block`](Self::next_block) returns next, in bytes of the file.
    pub fn offset(&self) -> u64 {
        self.at as u64
    }
}
