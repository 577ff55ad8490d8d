//! Bytes at rest: what is agreed between binaries of different age.
//!
//! Where records begin and how a file is cut, what files are called, how they become durable, what a shuffle file and
//! the manifest of an output look like. Works on slices, readers and writers; it maps nothing, and knows nothing of jobs
//! in flight, threads, networks or user types.

pub mod block;
pub mod boundary;
pub mod checksum;
pub mod codec;
pub mod compression;
pub mod crumbs;
pub mod cut;
pub mod digest;
pub mod durable;
pub mod folder_lock;
pub mod gather;
pub mod lane;
pub mod manifest;
pub mod names;
pub mod prefetch;
pub mod private;
pub mod quota;
pub mod segment;
pub mod shuffle;
pub mod space;
