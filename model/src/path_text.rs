//! Converts paths to text without loss.
//!
//! Paths are bytes; keys, JSON and messages are text. A path that is valid UTF-8 is its own text. A byte that is not
//! UTF-8 becomes `\xNN`, and a backslash that is followed by `xNN` becomes `\x5c`: so different paths have different
//! texts, and [`text_path`] restores the path.

use std::borrow::Cow;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The text of a path; different paths have different texts. Borrowed if the path is its own text.
///
/// ```
/// use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};
/// use windrow_model::{path_text, text_path};
/// let path = Path::new(OsStr::from_bytes(b"in/bad\xff"));
/// assert_eq!(path_text(path), r"in/bad\xff");
/// assert_eq!(text_path(r"in/bad\xff"), path);
/// ```
pub fn path_text(path: &Path) -> Cow<'_, str> {
    let bytes = path.as_os_str().as_bytes();
    match str::from_utf8(bytes) {
        Ok(text) if !text.contains("\\x") => Cow::Borrowed(text),
        _ => Cow::Owned(encoded(bytes)),
    }
}

fn encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find('\\') {
            let (before, from) = rest.split_at(at);
            text.push_str(before);
            text.push_str(if escape(from.as_bytes()).is_some() { "\\x5c" } else { "\\" });
            rest = &from[1..];
        }
        text.push_str(rest);
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// The path of a text: the inverse of [`path_text`].
pub fn text_path(text: &str) -> PathBuf {
    let mut rest = text.as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some(first) = rest.first() {
        let (byte, length) = escape(rest).map_or((*first, 1), |byte| (byte, 4));
        bytes.push(byte);
        rest = &rest[length..];
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// The byte of an escape `\xNN` (two lower-case digits) at the start of `bytes`.
fn escape(bytes: &[u8]) -> Option<u8> {
    let [b'\\', b'x', high, low, ..] = bytes else { return None };
    let digit = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f').then(|| (*b as char).to_digit(16)).flatten();
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

/// Serde support: a path as its text.
pub mod as_text {
    use super::{path_text, text_path};
    use serde::{Deserialize, Deserializer, Serializer};
    use std::path::{Path, PathBuf};

    /// Serializes a path as its text.
    ///
    /// # Errors
    /// The serializer fails.
    pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&path_text(path))
    }
    /// Deserializes a path from its text.
    ///
    /// # Errors
    /// The input is not a string.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        String::deserialize(deserializer).map(|text| text_path(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::ffi::OsStr;

    /// Every string over an alphabet with escapes, halves of escapes and bytes that are not UTF-8.
    #[test]
    fn different_paths_have_different_texts() {
        let alphabet = [&b"\\"[..], b"x", b"5c", b"ff", b"\xff", b"\\xff", b"/", "ä".as_bytes(), b"\xc3"];
        let mut all: Vec<Vec<u8>> = vec![Vec::new()];
        for _ in 0..4 {
            let longer = all.iter().flat_map(|a| alphabet.iter().map(|b| [&a[..], *b].concat()));
            all = longer.chain(all.clone()).collect();
            all.sort_unstable();
            all.dedup();
        }
        let mut texts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for bytes in all {
            let path = Path::new(OsStr::from_bytes(&bytes));
            let text = path_text(path).into_owned();
            assert_eq!(text_path(&text), path, "{text}");
            let other = texts.insert(text.clone(), bytes.clone());
            assert_eq!(other, None, "{text}");
        }
    }

    #[test]
    fn text_is_its_own_path_unless_it_looks_escaped() {
        for text in ["/in/ä b", r"C:\dir\file", r"a\xzz", r"\x", r"\xF", "tab\there"] {
            assert_eq!(path_text(Path::new(text)), text);
        }
        assert_eq!(path_text(Path::new(r"bad\xff")), r"bad\x5cxff");
    }
}
