//! Tests of jobs: whole ones, parts of their plans, and formats, in the process of the test; and programs on a cluster of processes.
//!
//! | What is tested | By |
//! | --- | --- |
//! | a job, or a driver with several | [`Files`], on inputs in memory; outputs as typed records, as read by a source, or as text |
//! | a part of a plan | [`run`] and [`run_with`], on a few lines |
//! | a source, a sink | [`read`], [`written`] |
//! | a program on a cluster | [`Cluster`], worker processes on this machine |

mod cluster;
mod files;
mod folder;
mod formats;
mod part_of_plan;
mod process;

pub use cluster::Cluster;
pub use files::Files;
pub use formats::{read, written};
#[cfg(test)]
pub(crate) use formats::{read_until_error, with_cx};
pub use part_of_plan::{run, run_with};
