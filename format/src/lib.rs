//! Bytes at rest: what is agreed between binaries of different age.
//!
//! Where records begin and how a file is cut, what files are called, how they become durable, and what the manifest
//! of an output says. Works on slices, readers and writers; knows nothing of jobs in flight, threads or networks.

pub mod boundary;
pub mod checksum;
pub mod cut;
pub mod durable;
pub mod manifest;
pub mod names;
