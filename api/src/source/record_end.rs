//! Finds the end of a record in bytes that begin and end with whole records.

use memchr::memchr;
use windrow_model::Framing;

/// Returns the end of the record that contains the byte before `at`. The bytes begin and end with whole records.
pub(super) fn record_end(bytes: &[u8], framing: Framing, at: usize) -> usize {
    if at >= bytes.len() {
        return bytes.len();
    }
    match framing {
        Framing::Delimiter(d) => memchr(d, &bytes[at.max(1) - 1..]).map_or(bytes.len(), |i| at.max(1) + i),
        Framing::Fixed(n) => (at.div_ceil(n as usize) * n as usize).min(bytes.len()),
        Framing::Whole => bytes.len(),
    }
}
