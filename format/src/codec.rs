//! Compression of blocks: the numbers of the codecs, and both directions with limits.
//!
//! A codec's number is written into every block header and never changes its meaning. This module does not know what is
//! compressed.

use crate::block_size::{RAW_MAX, RAW_TARGET};
use crate::error::FormatError;
use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

/// The way a block's payload is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// Uncompressed; readers use the payload in place.
    #[default]
    None = 0,
    /// LZ4 block format without a length prefix.
    Lz4 = 1,
}

impl Codec {
    /// The codec with this number in a block header.
    pub fn from_number(number: u8) -> Option<Codec> {
        match number {
            0 => Some(Codec::None),
            1 => Some(Codec::Lz4),
            _ => None,
        }
    }
}

/// Most bytes that one stored byte of LZ4 can expand to: a run of 255 per length byte. A header that claims more is
/// invalid.
const LZ4_EXPANSION_MAX: usize = 256;

/// Compresses blocks, one at a time, with the same scratch table.
pub struct Compressor {
    codec: Codec,
    table: Option<CompressTable>,
}

impl Compressor {
    /// Creates a compressor. Its table is allocated for the first block that needs it.
    pub fn new(codec: Codec) -> Self {
        Compressor { codec, table: None }
    }

    /// Writes the compressed form of `raw` to `out`, after `skip` bytes, if it is shorter than `raw`; returns its codec
    /// and length in bytes. `out` is resized as needed. Returns none if `raw` should be stored uncompressed.
    pub fn compress_behind(&mut self, skip: usize, raw: &[u8], out: &mut Vec<u8>) -> Option<(Codec, usize)> {
        if self.codec == Codec::None {
            return None;
        }
        let room = skip + get_maximum_output_size(raw.len());
        if out.len() < room {
            out.resize(room, 0);
        }
        let table = self.table.get_or_insert_with(CompressTable::large);
        let stored = compress_into_with_table(raw, &mut out[skip..], table).unwrap_or(usize::MAX);
        (stored < raw.len()).then_some((Codec::Lz4, stored))
    }
}

/// Decompresses `stored` into `out`, which becomes exactly `raw_length` bytes long. Checks the lengths before it
/// allocates.
///
/// # Errors
/// [`FormatError::Malformed`] if the lengths are impossible or the bytes do not decompress.
pub fn decompress(codec: Codec, stored: &[u8], raw_length: usize, out: &mut Vec<u8>) -> Result<(), FormatError> {
    let claim_max = match codec {
        Codec::None => stored.len(),
        Codec::Lz4 => stored.len().saturating_mul(LZ4_EXPANSION_MAX),
    };
    if raw_length > claim_max || raw_length > RAW_MAX {
        return Err(FormatError::Malformed("a block claims to be longer than its bytes can be"));
    }
    match codec {
        Codec::None => {
            out.clear();
            out.extend_from_slice(stored);
        }
        Codec::Lz4 => {
            // Do not keep the buffer of a huge record for ordinary blocks.
            if out.capacity() > 4 * RAW_TARGET.max(raw_length) {
                *out = Vec::new();
            }
            out.resize(raw_length, 0);
            let length =
                decompress_into(stored, out).map_err(|_| FormatError::Malformed("a block does not decompress"))?;
            out.truncate(length);
        }
    }
    if out.len() != raw_length {
        return Err(FormatError::Malformed("a block decompresses to another length than it claims"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compressed_block_reads_back() {
        let raw: Vec<u8> = (0..100_000u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        let mut stored = Vec::new();
        let (codec, length) = Compressor::new(Codec::Lz4).compress_behind(6, &raw, &mut stored).unwrap();
        assert!(codec == Codec::Lz4 && length < raw.len());
        let stored = &stored[6..6 + length];
        let mut out = Vec::new();
        decompress(Codec::Lz4, stored, raw.len(), &mut out).unwrap();
        assert_eq!(out, raw);
        assert!(decompress(Codec::Lz4, stored, raw.len() - 1, &mut out).is_err());
        assert!(decompress(Codec::Lz4, stored, raw.len() + 1, &mut out).is_err());
    }

    #[test]
    fn incompressible_block_is_stored_uncompressed() {
        assert_eq!(Compressor::new(Codec::Lz4).compress_behind(0, b"abc", &mut Vec::new()), None);
        assert_eq!(Compressor::new(Codec::None).compress_behind(0, &[0; 999], &mut Vec::new()), None);
    }

    #[test]
    fn an_absurd_length_is_refused_before_it_is_allocated() {
        let mut out = Vec::new();
        assert!(decompress(Codec::Lz4, b"xx", 1 << 30, &mut out).is_err());
        assert_eq!(out.capacity(), 0);
    }
}
