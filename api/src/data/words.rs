//! Finds the words of a text, 64 bytes at a time.

use crate::data::places::Places;

/// The bytes for which `is_ascii_whitespace` is true.
const WHITESPACE: [u8; 5] = *b" \t\n\x0C\r";

/// Text in which words are found: `str`, or `[u8]` in any encoding that contains ASCII.
pub trait Text {
    /// The bytes of the text.
    fn bytes(&self) -> &[u8];
    /// A part that begins and ends at ASCII white space or at the ends of the text.
    fn part(&self, from: usize, to: usize) -> &Self;
}

impl Text for [u8] {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self
    }
    #[inline]
    fn part(&self, from: usize, to: usize) -> &Self {
        &self[from..to]
    }
}

impl Text for str {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }
    #[inline]
    fn part(&self, from: usize, to: usize) -> &Self {
        &self[from..to]
    }
}

/// The words of a text, separated by ASCII white space. Equal to `split_ascii_whitespace` of `str`, but also for bytes,
/// and much faster: a loop over bytes mispredicts the end of nearly every word.
///
/// ```
/// use windrow::words;
/// assert_eq!(words("  to be,\tor not ").collect::<Vec<_>>(), ["to", "be,", "or", "not"]);
/// assert_eq!(words(&b"caf\xE9 au lait"[..]).count(), 3);
/// ```
#[inline]
pub fn words<T: Text + ?Sized>(text: &T) -> Words<'_, T> {
    Words { text, whitespace: Places::of(WHITESPACE, text.bytes()), start: 0 }
}

/// Iterator over the words of a text; made by [`words`].
pub struct Words<'t, T: Text + ?Sized> {
    text: &'t T,
    whitespace: Places<'t, { WHITESPACE.len() }>,
    /// Position after the last found white space.
    start: usize,
}

impl<'t, T: Text + ?Sized> Iterator for Words<'t, T> {
    type Item = &'t T;
    #[inline]
    fn next(&mut self) -> Option<&'t T> {
        loop {
            let length = self.text.bytes().len();
            let end = self.whitespace.next().unwrap_or(length);
            let start = std::mem::replace(&mut self.start, end + 1);
            if start < end {
                return Some(self.text.part(start, end));
            }
            if end == length {
                // Every call after the end returns none.
                self.start = length;
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_are_those_of_the_standard_library(text in "[a-cé☃ \\t\\n\\x0B\\x0C\\r]{0,300}", long in "[a ]{150}") {
            for text in [text.as_str(), long.as_str()] {
                for from in (0..text.len().min(70)).filter(|at| text.is_char_boundary(*at)) {
                    let text = &text[from..];
                    prop_assert!(words(text).eq(text.split_ascii_whitespace()));
                    let plain = text.as_bytes().split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
                    prop_assert!(words(text.as_bytes()).eq(plain));
                }
            }
        }
    }

    #[test]
    fn iterator_is_fused_at_the_end() {
        for text in ["", " ", "a", "a ", " a"] {
            let mut words = words(text);
            let count = words.by_ref().count();
            assert_eq!(count, usize::from(text.contains('a')));
            assert!(words.next().is_none() && words.next().is_none());
        }
    }
}
