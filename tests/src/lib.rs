//! Support for tests of whole processes: the real binaries, clusters of them on loopback, inputs made from a seed, and
//! slow and obvious models of what the jobs compute.
//!
//! Nothing here knows how Windrow works inside: processes, files, exit codes and JSON are all it sees.

pub mod cluster;
pub mod corpus;
pub mod gated;
pub mod namespaces;
pub mod oracle;
pub mod output;
pub mod program;
pub mod proxy;
