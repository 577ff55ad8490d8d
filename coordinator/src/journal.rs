//! What a coordinator may not forget: every submitted job, what is needed to go on with those that run, how every ended
//! job ended, every dataset, its workers, and the epoch.
//!
//! A record is on disk for good before anybody is told of it. Writes of the same moment share one transaction: they are
//! taken from a queue by one thread, which blocks so that nobody else has to. Records that nobody waits for (workers could
//! tell again, or it would only cost work) travel with the next one that somebody does wait for. Behind the small trait
//! `JobStore` lie files (`journal/disk.rs`) or memory (`journal/memory.rs`).

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
pub use rows::{check_row, spec_digest};
pub use store::{JobStore, Snapshot, TakeRow};

pub(crate) use queue::{Durable, Journal};
