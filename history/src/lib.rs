//! The history of jobs: what has happened, in an order that outlives the coordinator.
//!
//! Each job has a *log* of events as JSON lines (`event.rs`), and at its end a *summary* of bounded size, from which lists are
//! made without reading logs. `docs/history.md` describes both files.
//!
//! Pure, without clocks and files: `event`, `derive` (events from what the scheduler notes), `attempts`, `query`, `fold` (events
//! to a summary), `distribution`, `describe`. With files: `files`, `read`, `writer`, `summary`, `retention`, and the threads in
//! `log`. The crate decides nothing about jobs.

#![warn(unreachable_pub)]

mod attempts;
pub mod derive;
mod describe;
mod distribution;
pub mod event;
mod failure;
mod files;
mod fold;
mod log;
mod query;
mod read;
mod retention;
mod summary;
mod writer;

pub use attempts::{AttemptRow, AttemptState, Attempts};
pub use describe::describe;
pub use distribution::Distribution;
pub use event::{Event, Line, VERSION};
pub use failure::LoggedFailure;
pub use files::{Folder, JobFiles};
pub use fold::{FAILED_MAX, Fold, SLOWEST_MAX};
pub use log::{Health, HistoryThreads, QUEUED_BYTES_MAX, Reading, Recorder, Settings, start};
pub use query::{AttemptPage, AttemptQuery, Listing, Sort};
pub use read::{Cursor, Logged, Take};
pub use retention::Retention;
pub use summary::{
    BYTES_MAX, Body, CauseTotal, Head, Listed, PastJobs, Percentiles, StageSummary, Summary, WorkerSummary,
};
