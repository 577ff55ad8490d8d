//! The real scheduler on a simulated cluster with a virtual clock: one seed is one run.
//!
//! It knows the scheduler's events and actions, and nothing of sockets, threads or real clocks. The command beside it runs many
//! seeds; the scheduler's own tests take their plans and reports from [`samples`].

#![warn(unreachable_pub)]

mod cluster;
mod data;
mod dice;
pub mod samples;
mod trace;
mod workload;

pub use cluster::{Kinds, Noted, Outcome, Setup, run};
pub use data::{DataOutcome, run as run_datasets};
pub use trace::Trace;
