//! The digest of a segment: whether two attempts of a task have made the same records.
//!
//! Where the order of records follows from the records before them, it is their checksum, one after the other. Where it does not
//! (a stage folds or joins with tables, and its readers take any order), it is the sum of a hash of each record. Either is the
//! same however the records are cut into blocks.

use crate::block;
use crate::checksum::Crc32c;
use rapidhash::v3::rapidhash_v3;

/// Of the records of one segment so far.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // A box would be one more step for every block.
pub enum RecordDigest {
    /// Of records that always come in the same order.
    InOrder(Crc32c),
    /// Of records that come in any order.
    AnyOrder(u64),
}

impl RecordDigest {
    /// Of no records.
    pub fn new(any_order: bool) -> Self {
        if any_order { RecordDigest::AnyOrder(0) } else { RecordDigest::InOrder(Crc32c::new()) }
    }

    /// Adds the records of a block, as they lie there before compression.
    pub fn add_block(&mut self, records: &[u8]) {
        match self {
            RecordDigest::InOrder(crc) => crc.update(records),
            RecordDigest::AnyOrder(sum) => {
                let mut at = 0;
                // A block that does not read back is refused by its readers.
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

    /// The digest of everything so far; more may follow.
    pub fn value(&self) -> u32 {
        match self {
            RecordDigest::InOrder(crc) => crc.value(),
            RecordDigest::AnyOrder(sum) => folded(*sum),
        }
    }

    /// Begins anew, for another segment.
    pub fn restart(&mut self) {
        *self = RecordDigest::new(matches!(self, RecordDigest::AnyOrder(_)));
    }
}

/// The digest that a sum of hashes is.
pub fn folded(sum: u64) -> u32 {
    (sum >> 32) as u32 ^ sum as u32
}

impl Default for RecordDigest {
    fn default() -> Self {
        RecordDigest::new(false)
    }
}
