//! Finds line ends and delimiters, 64 bytes at a time.
//!
//! Lines of text are short: a search that starts again at each line spends more time on starting than on searching.
//! Here one pass compares 64 bytes and keeps the results as the bits of a word (as simdjson does; Langdale and Lemire
//! 2019).

/// Bytes that are compared at once.
const STEP: usize = 64;

/// The positions of some byte values, ascending.
pub(crate) struct Places<'b, const N: usize> {
    bytes: &'b [u8],
    values: [u8; N],
    /// Position of the lowest bit of `found`.
    base: usize,
    found: u64,
    /// Position of the next bytes to compare.
    next: usize,
}

impl<'b, const N: usize> Places<'b, N> {
    /// The positions of all bytes with one of the `values`.
    pub(crate) fn of(values: [u8; N], bytes: &'b [u8]) -> Self {
        Places { bytes, values, base: 0, found: 0, next: 0 }
    }
}

impl<const N: usize> Iterator for Places<'_, N> {
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
                Some(chunk) => compare(chunk, self.values),
                None => end(self.bytes, rest.len(), self.values),
            };
            self.next += STEP;
        }
        let at = self.base + self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
        Some(at)
    }
}

/// A bit for each of the last `count` bytes, of which there are fewer than 64.
#[inline]
fn end<const N: usize>(bytes: &[u8], count: usize, values: [u8; N]) -> u64 {
    match bytes.last_chunk::<STEP>() {
        // The bytes before them are compared again.
        Some(chunk) => compare(chunk, values) >> (STEP - count),
        None => {
            let mut chunk = [0; STEP];
            chunk[..bytes.len()].copy_from_slice(bytes);
            compare(&chunk, values) & ((1 << count) - 1)
        }
    }
}

/// A bit for each of up to 64 bytes, set if it is one of the values.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline]
fn each<const N: usize>(bytes: &[u8], values: [u8; N]) -> u64 {
    bytes.iter().enumerate().fold(0, |bits, (i, b)| bits | u64::from(values.contains(b)) << i)
}

/// A bit for each byte of a whole chunk, set if it is one of the values.
#[inline]
fn compare<const N: usize>(chunk: &[u8; STEP], values: [u8; N]) -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{
            __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8, _mm_setzero_si128,
        };
        let mut bits = 0;
        for (i, part) in chunk.as_chunks::<16>().0.iter().enumerate() {
            // SAFETY: SSE2 is part of x86-64, and `part` is sixteen readable bytes, which need no alignment.
            let equal = unsafe {
                let part = _mm_loadu_si128(part.as_ptr().cast::<__m128i>());
                let any = values.iter().fold(_mm_setzero_si128(), |any, value| {
                    _mm_or_si128(any, _mm_cmpeq_epi8(part, _mm_set1_epi8(*value as i8)))
                });
                _mm_movemask_epi8(any)
            };
            bits |= (equal as u16 as u64) << (16 * i);
        }
        bits
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    each(chunk, values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn places_are_those_of_a_plain_search(bytes in prop::collection::vec(8u8..12, 0..400)) {
            let plain = |values: &[u8]| (0..bytes.len()).filter(|i| values.contains(&bytes[*i])).collect::<Vec<usize>>();
            prop_assert_eq!(Places::of([b'\n'], &bytes).collect::<Vec<_>>(), plain(b"\n"));
            prop_assert_eq!(Places::of([b'\n', 8], &bytes).collect::<Vec<_>>(), plain(b"\n\x08"));
        }
    }
}
