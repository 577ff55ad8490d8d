//! Fuzz targets: one function for each parser of untrusted bytes. It accepts any bytes, and panics if the parser breaks
//! a promise.
//!
//! Fuzzers call them (`fuzz/`, a workspace of its own), and so does a test, with the inputs kept in `fuzz/corpus`.

#![warn(unreachable_pub)]

mod frames;
mod keys;
mod records;
mod rpc;
mod shuffle;
mod sources;
mod splits;

pub use frames::frames;
pub use keys::keys;
pub use records::records;
pub use rpc::rpc;
pub use shuffle::shuffle;
pub use sources::{csv, jsonl};
pub use splits::splits;

/// A row of a coordinator's journal, of any kind.
pub fn journal(data: &[u8]) {
    if let Some((kind, row)) = data.split_first() {
        windrow_coordinator::check_row(*kind, row);
    }
}

/// A function that takes an input.
pub type Target = fn(&[u8]);

/// All targets by the names of their corpora.
pub const TARGETS: [(&str, Target); 9] = [
    ("rpc", rpc),
    ("frames", frames),
    ("shuffle", shuffle),
    ("journal", journal),
    ("splits", splits),
    ("csv", csv),
    ("jsonl", jsonl),
    ("keys", keys),
    ("records", records),
];
