//! Bytes at rest, agreed between binaries of different age: what one process writes to a disk and another reads.
//!
//! Works on slices and writers only: it maps nothing, waits for nothing and knows no user type.

pub mod block;
pub mod codec;
pub mod segment;
pub mod shuffle;
