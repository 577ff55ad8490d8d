//! A block cut into its lines.

use crate::data::places::Places;

/// Calls `f` with the offset and the bytes of every line, without its `\n`, until it returns `false`.
#[inline]
pub(super) fn each_line(bytes: &[u8], mut f: impl FnMut(usize, &[u8]) -> bool) {
    let mut from = 0;
    for end in Places::of([b'\n'], bytes) {
        if !f(from, &bytes[from..end]) {
            return;
        }
        from = end + 1;
    }
    if from < bytes.len() {
        f(from, &bytes[from..]);
    }
}
