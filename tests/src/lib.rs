//! Support for tests of whole processes: the real binaries, clusters of them on loopback, inputs from a seed, and
//! simple models of the jobs' results.
//!
//! Nothing here depends on internals: it sees processes, files, exit codes and JSON.

#![warn(unreachable_pub)]

pub mod cluster;
pub mod corpus;
pub mod gated;
pub mod group_memory;
pub mod histories;
pub mod namespaces;
pub mod oracle;
pub mod output;
pub mod program;
pub mod proxy;

/// The folder of this repository.
pub fn repository() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository")
}
