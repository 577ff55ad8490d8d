//! Where the line ends are, 64 bytes at a time.
//!
//! Lines of text are short: a search that begins anew at each line spends more on beginning than on searching. Here one pass
//! compares 64 bytes and keeps the answers as the bits of a word (as simdjson does; Langdale and Lemire 2019).

/// Bytes that are compared at once.
const STEP: usize = 64;

/// The places of one byte value in some bytes, ascending.
pub(super) struct Places<'b> {
    bytes: &'b [u8],
    byte: u8,
    /// Where the bits of `found` begin.
    base: usize,
    found: u64,
    /// The next bytes to be compared.
    next: usize,
}

impl<'b> Places<'b> {
    pub fn of(byte: u8, bytes: &'b [u8]) -> Self {
        Places { bytes, byte, base: 0, found: 0, next: 0 }
    }
}

impl Iterator for Places<'_> {
    type Item = usize;
    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.found == 0 {
            if self.next >= self.bytes.len() {
                return None;
            }
            let rest = &self.bytes[self.next..];
            self.base = self.next;
            self.found = match rest.first_chunk::<STEP>() {
                Some(chunk) => compare(chunk, self.byte),
                None => rest.iter().enumerate().fold(0, |bits, (i, b)| bits | u64::from(*b == self.byte) << i),
            };
            self.next += STEP;
        }
        let at = self.base + self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
        Some(at)
    }
}

/// A bit for each byte of the chunk that equals `byte`.
#[inline]
fn compare(chunk: &[u8; STEP], byte: u8) -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8};
        let mut bits = 0;
        for (i, part) in chunk.as_chunks::<16>().0.iter().enumerate() {
            // SAFETY: SSE2 is part of x86-64, and `part` is sixteen readable bytes, which need no alignment.
            let equal = unsafe {
                let part = _mm_loadu_si128(part.as_ptr().cast::<__m128i>());
                _mm_movemask_epi8(_mm_cmpeq_epi8(part, _mm_set1_epi8(byte as i8)))
            };
            bits |= (equal as u16 as u64) << (16 * i);
        }
        bits
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    chunk.iter().enumerate().fold(0, |bits, (i, b)| bits | u64::from(*b == byte) << i)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn places_are_those_of_a_plain_search(bytes in prop::collection::vec(8u8..12, 0..400)) {
            let plain: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i] == b'\n').collect();
            prop_assert_eq!(Places::of(b'\n', &bytes).collect::<Vec<_>>(), plain);
        }
    }
}
