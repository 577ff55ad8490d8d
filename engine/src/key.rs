//! Keys as machine words: the eight-byte prefix that sorting compares, and the two masked words that tables compare.
//!
//! The unsafe code loads sixteen bytes of a shorter slice at once, within one page.

/// The first eight bytes, big-endian, padded with zeros: prefixes order as keys do.
#[inline]
pub(crate) fn prefix(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(b) => u64::from_be_bytes(*b),
        None => short(key).0.swap_bytes(),
    }
}

/// The eight bytes from `depth` on, in the form of [`prefix`].
#[inline]
pub(crate) fn prefix_at(key: &[u8], depth: usize) -> u64 {
    key.get(depth..).map_or(0, prefix)
}

const MASKS: [[u64; 2]; 17] = {
    let mut m = [[0u64; 2]; 17];
    let mut i = 0;
    while i <= 16 {
        m[i][0] = if i >= 8 { !0 } else { (1u64 << (8 * i)) - 1 };
        m[i][1] = if i >= 16 {
            !0
        } else if i > 8 {
            (1u64 << (8 * (i - 8))) - 1
        } else {
            0
        };
        i += 1;
    }
    m
};

/// A key of up to sixteen bytes as two little-endian words, padded with zeros.
#[inline(always)]
pub(crate) fn short(key: &[u8]) -> (u64, u64) {
    let [a, b] = load16(key);
    let mask = &MASKS[key.len()];
    (a & mask[0], b & mask[1])
}

/// Sixteen bytes from the start of `key`; those after its end are arbitrary.
#[inline(always)]
fn load16(key: &[u8]) -> [u64; 2] {
    assert!(key.len() <= 16);
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if !key.is_empty() && key.as_ptr() as usize & 4095 <= 4096 - 16 {
        let (a, b): (u64, u64);
        // SAFETY: the sixteen bytes lie in one page, and the first of them belongs to a live slice (an empty slice's
        // pointer may dangle and is left to the copy below), so the machine may read them all. Assembly hides the load
        // from the compiler, which has no way to express that bytes behind the slice are read and then masked away.
        unsafe {
            std::arch::asm!(
                "mov {a}, qword ptr [{p}]",
                "mov {b}, qword ptr [{p} + 8]",
                p = in(reg) key.as_ptr(),
                a = out(reg) a,
                b = lateout(reg) b,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        return [a, b];
    }
    let mut t = [0u8; 16];
    t[..key.len()].copy_from_slice(key);
    let t = u128::from_le_bytes(t);
    [t as u64, (t >> 64) as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_keys_load_alike_at_any_address() {
        let page: Vec<u8> = (0..8192u32).map(|i| (i * 31 + 7) as u8).collect();
        for at in 0..page.len() - 16 {
            for n in 0..=16 {
                let key = &page[at..at + n];
                let mut t = [0u8; 16];
                t[..n].copy_from_slice(key);
                let t = u128::from_le_bytes(t);
                assert_eq!(short(key), (t as u64, (t >> 64) as u64));
            }
        }
    }

    #[test]
    fn prefixes_ascend_as_keys_do() {
        let keys: [&[u8]; 7] = [b"", b"\0", b"a", b"a\0", b"ab", b"abcdefgh", b"abcdefghi"];
        for w in keys.windows(2) {
            assert!(prefix(w[0]) <= prefix(w[1]));
        }
        assert_eq!(prefix_at(b"abcdefghi", 8), (b'i' as u64) << 56);
        assert_eq!(prefix_at(b"abc", 8), 0);
    }
}
