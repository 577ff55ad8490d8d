//! The digest of a segment, which shows whether two attempts of a task have made the same records.
//!
//! If the order of the records is deterministic, the digest is a checksum over them in order. If not (a stage folds or
//! joins with tables, and its readers accept any order), it is a sum of hashes of the records. Both are independent of
//! how the records are cut into blocks.

use crate::block;
use crate::checksum::Crc32c;
use rapidhash::v3::rapidhash_v3;

/// Digest of the records of one segment so far.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // A box would cost one indirection for every block.
pub enum RecordDigest {
    /// Checksum of records that always come in the same order.
    InOrder(Crc32c),
    /// Sum of hashes of records that come in any order.
    AnyOrder(u64),
}

impl RecordDigest {
    /// Digest of no records.
    pub fn new(any_order: bool) -> Self {
        if any_order { RecordDigest::AnyOrder(0) } else { RecordDigest::InOrder(Crc32c::new()) }
    }

    /// Adds the uncompressed records of a block.
    pub fn add_block(&mut self, records: &[u8]) {
        match self {
            RecordDigest::InOrder(crc) => crc.update(records),
            RecordDigest::AnyOrder(sum) => {
                let mut at = 0;
                // Readers refuse a block that cannot be parsed.
                while at < records.len()
                    && let Ok((key, key_length, value_length)) = block::read_lengths(records, at)
                {
                    let end = key + key_length + value_length;
                    *sum = sum.wrapping_add(rapidhash_v3(&records[at..end]));
                    at = end;
                }
            }
        }
    }

    /// Adds one record that is a block of its own: its lengths, key and value.
    pub fn add_alone(&mut self, pieces: [&[u8]; 3]) {
        match self {
            RecordDigest::InOrder(crc) => pieces.into_iter().for_each(|piece| crc.update(piece)),
            RecordDigest::AnyOrder(sum) => {
                let hashes = pieces.map(|piece| rapidhash_v3(piece).to_le_bytes());
                *sum = sum.wrapping_add(rapidhash_v3(hashes.as_flattened()));
            }
        }
    }

    /// The digest of all records so far; more may follow.
    pub fn value(&self) -> u32 {
        match self {
            RecordDigest::InOrder(crc) => crc.value(),
            RecordDigest::AnyOrder(sum) => folded(*sum),
        }
    }

    /// Starts again for another segment.
    pub fn restart(&mut self) {
        *self = RecordDigest::new(matches!(self, RecordDigest::AnyOrder(_)));
    }
}

/// Folds a sum of hashes into a digest.
pub fn folded(sum: u64) -> u32 {
    (sum >> 32) as u32 ^ sum as u32
}

impl Default for RecordDigest {
    fn default() -> Self {
        RecordDigest::new(false)
    }
}
