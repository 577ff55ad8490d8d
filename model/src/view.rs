//! Jobs, workers, datasets and results of commands as programs see them: the JSON of `-o json`, of job binaries, and of
//! pages.
//!
//! A view borrows a domain value and is serialized. Its field names and their types are a contract with scripts: fields
//! are added, never renamed or removed. Domain types have serde forms of their own, for the journal, which change
//! independently of these.

mod dataset;
mod failure;
mod job;
mod log;
mod orphans;
mod page_key;
mod result;
mod scrub;
mod worker;

pub use dataset::{DatasetView, dataset_state};
pub use failure::{FailureView, RecordView};
pub use job::{DriverView, FailedAttemptView, JobView, LeftOutView, StageView, TasksView};
pub use log::LogView;
pub use orphans::{OrphanView, OrphansView, UnjoinedWorkerView};
pub use page_key::{IssuedTokenView, PageTokenView, SignInView};
pub use result::{BackupView, ErrorView, ExplainedView, NewCrateView, PutView, RestoredView, SubmittedView};
pub use scrub::ScrubView;
pub use worker::WorkerView;
