//! Formats of stored bytes: what binaries of different releases agree on.
//!
//! Record boundaries and cuts of files, file names, durable writes, and the layout of shuffle files and output
//! manifests. Works on slices, readers and writers. It maps no files, and knows nothing of running jobs, threads,
//! networks or user types.

#![warn(unreachable_pub)]

pub mod block;
mod block_size;
pub mod boundary;
pub mod checksum;
pub mod codec;
pub mod compression;
pub mod crumbs;
pub mod cut;
pub mod digest;
pub mod durable;
mod error;
pub mod fill;
pub mod folder_lock;
pub mod framing;
pub mod gather;
pub mod in_place;
pub mod machine_memory;
pub mod manifest;
pub mod names;
pub mod prefetch;
pub mod private;
pub mod quota;
pub mod record_file;
pub mod regular_file;
pub mod resource_limit;
pub mod segment;
pub mod segment_builder;
pub mod shuffle;
pub mod space;
pub mod spool;
pub mod stage_index;
