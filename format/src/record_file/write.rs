//! Writes a file of records.

use super::{Description, Key, head};
use crate::block::{HEADER_BYTES, Header, RAW_TARGET, check_record, lengths};
use crate::codec::{Codec, Compressor};
use crate::error::FormatError;

/// Appends records to the bytes of a file, block by block.
pub struct RecordFileWriter {
    key: Key,
    /// Offset in the file at which the open block begins.
    at: u64,
    /// The open block, behind room for its header.
    block: Vec<u8>,
    block_records: u32,
    records: u64,
    compressor: Compressor,
    packed: Vec<u8>,
}

impl RecordFileWriter {
    /// Begins a file: appends its description to `out`.
    pub fn begin(description: &Description, out: &mut Vec<u8>) -> Self {
        let described = description.to_bytes();
        let head = head(&described);
        out.extend_from_slice(&head);
        RecordFileWriter {
            key: Key::of(&described),
            at: head.len() as u64,
            block: vec![0; HEADER_BYTES],
            block_records: 0,
            records: 0,
            compressor: Compressor::new(if description.packed { Codec::Lz4 } else { Codec::None }),
            packed: Vec::new(),
        }
    }

    /// Adds a record. A block that is full by then is appended to `out`.
    ///
    /// # Errors
    /// [`FormatError::RecordTooLarge`].
    #[inline]
    pub fn push(&mut self, record: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        check_record(&[], record)?;
        if self.block_records > 0 && self.block.len() + record.len() + 10 > RAW_TARGET + HEADER_BYTES {
            self.seal(out);
        }
        let (lengths, n) = lengths(0, record.len());
        self.block.extend_from_slice(&lengths[..n]);
        self.block.extend_from_slice(record);
        self.block_records += 1;
        self.records += 1;
        Ok(())
    }

    fn seal(&mut self, out: &mut Vec<u8>) {
        let identity = self.key.block(self.at);
        let raw_length = (self.block.len() - HEADER_BYTES) as u32;
        let mut header = Header {
            codec: Codec::None,
            raw_length,
            stored_length: raw_length,
            records: self.block_records,
            sorted: false,
            digest: 0,
        };
        let raw = &mut self.block[..];
        let packed = self.compressor.compress_behind(0, &raw[HEADER_BYTES..], &mut self.packed);
        let stored = match packed {
            Some((codec, length)) => {
                (header.codec, header.stored_length) = (codec, length as u32);
                let payload = &self.packed[..length];
                out.extend_from_slice(&header.seal(&identity, &[payload]));
                out.extend_from_slice(payload);
                length
            }
            None => {
                let sealed = header.seal(&identity, &[&raw[HEADER_BYTES..]]);
                raw[..HEADER_BYTES].copy_from_slice(&sealed);
                out.extend_from_slice(raw);
                raw_length as usize
            }
        };
        self.at += (HEADER_BYTES + stored) as u64;
        self.block.truncate(HEADER_BYTES);
        self.block_records = 0;
        // One huge record should not keep its memory for the rest of the file.
        if self.block.capacity() > 4 * RAW_TARGET {
            self.block.shrink_to(RAW_TARGET + HEADER_BYTES);
        }
    }

    /// Appends the last block and the end of the file to `out`.
    pub fn end(mut self, out: &mut Vec<u8>) {
        if self.block_records > 0 {
            self.seal(out);
        }
        out.extend_from_slice(&self.key.end(self.at, self.records));
    }
}
