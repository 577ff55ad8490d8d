//! The readable form of bytes, for errors.

use std::fmt;

/// Writes bytes as a byte string literal.
pub(super) fn show(bytes: &[u8], out: &mut dyn fmt::Write) -> fmt::Result {
    write!(out, "b\"{}\"", bytes.escape_ascii())
}
