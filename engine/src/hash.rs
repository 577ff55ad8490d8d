//! The hash that assigns keys to partitions, and the hash of tables.
//!
//! The partition hash is rapidhash v3 with its default seed. Attempts of different binaries and machines must agree on
//! it, so it never changes. The table hash is the same in every process of one binary, which is all that tables and the
//! digests of combining edges need. It is cheaper for short keys and not correlated with the partition hash.

use rapidhash::v3::{RapidSecrets, rapidhash_v3, rapidhash_v3_inline};

/// The partition hash of a key. Never changes.
#[inline]
pub fn hash(key: &[u8]) -> u64 {
    rapidhash_v3(key)
}

/// The partition, of `n`, of a hash: its high bits, by multiplication.
#[inline]
pub fn partition_of(hash: u64, n: u32) -> u32 {
    ((hash as u128 * n as u128) >> 64) as u32
}

/// Table hash of a key of up to sixteen bytes, given as its two masked words and its length.
#[inline(always)]
pub(crate) fn hash_short(k0: u64, k1: u64, length: usize) -> u64 {
    let m = (k0 ^ 0x9E37_79B9_7F4A_7C15) as u128 * (k1.wrapping_add(length as u64) ^ 0xD6E8_FEB8_6659_FD93) as u128;
    m as u64 ^ (m >> 64) as u64
}

const LONG: RapidSecrets = RapidSecrets::seed_cpp(0x7769_6e64_726f_7721);

/// Table hash of a longer key.
#[inline]
pub(crate) fn hash_long(key: &[u8]) -> u64 {
    rapidhash_v3_inline::<true, false, false>(key, &LONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_hash_never_changes() {
        let text = b"the quick brown fox jumps over the lazy dog, again and again, until the line is longer than 112 bytes, which it is";
        // From an independent implementation of the published algorithm.
        let golden: [(usize, u64); 8] = [
            (0, 0x0338dc4be2cecdae),
            (1, 0x6dd8705cbc33d3d3),
            (3, 0x0b5ab16de1ef557a),
            (8, 0x37d4101e62025755),
            (16, 0x042933efa637db52),
            (17, 0xe6efc6af62d3351f),
            (48, 0xb0702dbf3a765924),
            (114, 0xc2c9f29fb9b9283e),
        ];
        for (n, expected) in golden {
            assert_eq!(hash(&text[..n]), expected, "{n} bytes: {:#x}", hash(&text[..n]));
        }
    }

    #[test]
    fn partitions_are_even_and_independent_of_table_buckets() {
        let mut counts = [[0u32; 8]; 8];
        for i in 0..64_000u64 {
            let key = i.to_be_bytes();
            let bucket = hash_short(u64::from_le_bytes(key), 0, 8) & 7;
            counts[partition_of(hash(&key), 8) as usize][bucket as usize] += 1;
        }
        for c in counts.iter().flatten() {
            assert!((800..1200).contains(c), "{counts:?}");
        }
    }
}
