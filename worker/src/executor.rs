//! Executors: the child processes that run tasks of one job each.
//!
//! `spawn` forks; `process` owns the child and its pipes (`pidfd` signals its end); `descendants` finds what the child
//! has started, and `group` bounds and kills those where control groups can be made (`hierarchy`). `channel` carries
//! the frames, `exit` classifies ends, `overdue` finds tasks without progress, `handover` finds executors that ignore
//! their tasks, `place` looks up the record that a task is at, `crumb_file` is the memory in which executors note it.
//! `supervise` drives one executor from start to end.

pub(crate) mod channel;
pub(crate) mod crumb_file;
pub(crate) mod descendants;
pub(crate) mod exit;
pub(crate) mod group;
mod handover;
mod hierarchy;
pub(crate) mod overdue;
pub(crate) mod pidfd;
pub(crate) mod place;
pub(crate) mod process;
pub(crate) mod spawn;
pub(crate) mod supervise;
#[cfg(test)]
mod tests;

pub(crate) use crumb_file::Left;
pub(crate) use crumb_file::{CrumbFolder, with_excerpts};
pub(crate) use descendants::Marks;
pub(crate) use group::Groups;
pub(crate) use place::LOOK_MAX;
pub(crate) use spawn::{Owner, Spawner};
pub(crate) use supervise::{Command, Handle, Notice, Plan};
