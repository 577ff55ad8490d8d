//! The plan of a job: the trait that users implement, the operations on records, and how they become stages.

pub(crate) mod broadcast;
pub(crate) mod build;
pub(crate) mod captured;
pub(crate) mod chain;
pub(crate) mod counter;
pub(crate) mod demand;
pub(crate) mod describe;
pub(crate) mod edge_in;
pub(crate) mod edge_out;
pub(crate) mod explain;
pub(crate) mod flow;
pub(crate) mod job;
pub(crate) mod op;
mod read;
pub(crate) mod records;
pub(crate) mod side;
pub(crate) mod stored;
