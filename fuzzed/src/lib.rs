//! What is fuzzed: one function for each parser of bytes that come from outside. It takes any bytes, and panics if what
//! is promised of them does not hold.
//!
//! Fuzzers call them (`fuzz/`, a workspace of its own), and so does a test, with the inputs that are kept in
//! `fuzz/corpus`.

mod frames;
mod keys;
mod rpc;
mod shuffle;
mod sources;
mod splits;

pub use frames::frames;
pub use keys::keys;
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

/// What takes an input.
pub type Target = fn(&[u8]);

/// Every target, by the name of its corpus.
pub const TARGETS: [(&str, Target); 8] = [
    ("rpc", rpc),
    ("frames", frames),
    ("shuffle", shuffle),
    ("journal", journal),
    ("splits", splits),
    ("csv", csv),
    ("jsonl", jsonl),
    ("keys", keys),
];
