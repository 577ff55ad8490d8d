//! The roles of a job binary: its `main`, a run in one process, an executor of a cluster, and a driver.

pub(crate) mod end;
pub(crate) mod executor;
pub(crate) mod finished;
pub(crate) mod flags;
#[cfg(not(feature = "client"))]
mod handover;
pub(crate) mod job_id;
mod leftovers;
pub(crate) mod local;
pub(crate) mod panics;
pub(crate) mod program;
mod registry;
pub(crate) mod session;
mod show_plan;
mod supervise;
pub(crate) mod task_run;
mod threads;
pub(crate) mod under_test;
pub(crate) mod windrow_program;
