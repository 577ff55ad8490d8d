//! The mixing function of digests that are made of numbers.

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) fn mixed(hash: u64, next: u64) -> u64 {
    let z = (hash ^ next).wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
