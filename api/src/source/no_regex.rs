//! A build without the feature `regex` has no pattern for lines.

/// The type of a pattern that cannot be made.
pub(super) enum LineRegex {}

impl LineRegex {
    pub(crate) fn as_str(&self) -> &str {
        match *self {}
    }

    pub(crate) fn each_match(&self, _: &[u8], _: impl FnMut(usize, &[u8]) -> bool) {
        match *self {}
    }
}
