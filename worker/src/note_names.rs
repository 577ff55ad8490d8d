//! Names of the notes in a worker's data folder, which say whose folder it is.

/// The worker's id.
pub(crate) const WORKER: &str = "worker";
/// The number of the last incarnation.
pub(crate) const INCARNATION: &str = "incarnation";
/// What distinguishes the folder from a copy of it.
pub(crate) const ORIGIN: &str = "origin";
/// The cluster, and the newest journal that the worker has seen.
pub(crate) const CLUSTER: &str = "cluster";
