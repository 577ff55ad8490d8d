//! The durable state of a coordinator: every submitted job, what a restart needs to continue the running ones, the end of each
//! ended one, every dataset, the workers, and the epoch.
//!
//! A record is on disk for good before a call is answered with it. One thread takes records from a queue (`journal/queue.rs`) and
//! writes those of the same moment in one transaction, so that only this thread blocks. A record that is not waited for, because
//! workers could report it again or its loss would only cost work, is written with the next one that is. The trait `JobStore`
//! (`journal/store.rs`) has two implementations: a file (`journal/disk.rs`) and memory (`journal/memory.rs`).

mod disk;
mod file;
mod memory;
mod queue;
mod record;
mod rows;
mod store;

pub use disk::DiskStore;
pub use memory::MemoryStore;
pub use record::{DatasetChange, Identity, JobRecord, KeptResult, PublishedTask, Record, RunningJob};
pub use rows::check_row;
pub(crate) use rows::spec_digest;
pub use store::{JobStore, Snapshot, TakeRow};

pub(crate) use queue::{Durable, Journal};
