//! Executors: the child processes that run tasks of one job each.
//!
//! `spawn` forks; `process` owns the child and its pipes (`pidfd` signals its end); `descendants` finds what the child
//! has started, and `group` bounds and kills those where control groups can be made (`hierarchy`). `channel` carries
//! the frames, `exit` classifies ends, `overdue` finds tasks without progress, `handover` finds executors that ignore
//! their tasks, `place` looks up the record that a task is at, `crumb_file` is the memory in which executors note it.
//! `supervise` drives one executor from start to end.

pub mod channel;
pub mod crumb_file;
pub mod descendants;
pub mod exit;
pub mod group;
mod handover;
mod hierarchy;
pub mod overdue;
pub mod pidfd;
pub mod place;
pub mod process;
pub mod spawn;
pub mod supervise;
#[cfg(test)]
mod tests;

pub(crate) use crumb_file::Left;
pub use crumb_file::{CrumbFolder, with_excerpts};
pub use descendants::Marks;
pub use group::Groups;
pub use place::LOOK_MAX;
pub use spawn::{Owner, Spawner};
pub use supervise::{Command, Handle, Plan};
