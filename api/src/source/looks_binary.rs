//! Whether the beginning of a file that is read as text looks like something else.
//!
//! A NUL byte near the beginning is how `grep` and `git` tell binary files. UTF-16 without a mark has one in every second place, as
//! long as its letters are Latin ones. Such a file is read as it is, since text may hold NUL bytes, and named in a warning.

use memchr::memchr;

/// Bytes that are looked at.
const LOOKED_AT: usize = 8 << 10;

/// What the bytes look like, as the end of a sentence; nothing for text.
pub(super) fn looks_like(bytes: &[u8]) -> Option<&'static str> {
    let head = &bytes[..bytes.len().min(LOOKED_AT)];
    memchr(0, head)?;
    let zeros = |odd: usize| head.iter().skip(odd).step_by(2).filter(|b| **b == 0).count();
    let [even, odd] = [0, 1].map(zeros);
    let half = head.len() / 2;
    // Nearly all of one half, nearly none of the other.
    let is_wide = half >= 2 && even.max(odd) * 10 >= half * 9 && even.min(odd) * 10 <= half;
    Some(if is_wide { "text in UTF-16" } else { "binary data: it holds NUL bytes" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_distinguished_from_binary_data_and_utf16() {
        let wide = |text: &str, to: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to).collect::<Vec<u8>>();
        for text in ["", "a", "plain text\n", "grüße\tund \u{1F600}\r\n"] {
            assert_eq!(looks_like(text.as_bytes()), None, "{text:?}");
        }
        for to in [u16::to_le_bytes, u16::to_be_bytes] {
            assert_eq!(looks_like(&wide("some words\r\n of a file, größer\n", to)), Some("text in UTF-16"));
        }
        for bytes in [&b"a\0b"[..], b"\x7fnot an ELF\0\0\0\0", &[0; 100]] {
            assert!(looks_like(bytes).is_some_and(|what| what.starts_with("binary")), "{bytes:?}");
        }
        let late = [vec![b'a'; LOOKED_AT], vec![0]].concat();
        assert_eq!(looks_like(&late), None, "only the beginning is looked at");
    }
}
