//! Executors: the child processes that run tasks of one job each.
//!
//! `spawn` forks, `process` owns the child and its pipes (`pidfd` tells of its end), `descendants` finds what it has started,
//! `group` bounds and ends that where it may make control groups (`hierarchy`), `channel` the frames, `exit` tells ends apart, `overdue` finds tasks that do not get on, `place` shows the record that they are at,
//! `handover` executors that do nothing with their tasks, `crumb_file` is where an executor says what it is at, `supervise` is the life that they
//! make up.

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
