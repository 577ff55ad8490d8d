//! What a coordinator may not forget: every submitted job, how every ended job ended, every dataset, and the epoch.
//!
//! A record is on disk for good before anybody is told of it. Writes of the same moment share one transaction: they are
//! taken from a queue by one thread, which blocks so that nobody else has to. Behind the small trait `JobStore` lie
//! files (`journal/disk.rs`) or memory (`journal/memory.rs`).

mod disk;
mod memory;

pub use disk::DiskStore;
pub use memory::MemoryStore;

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::sync::mpsc;
use std::thread::JoinHandle;
use windrow_model::{Code, Dataset, Digest, Epoch, Failure, JobId, JobStatus};

/// A job, as lists show it after the coordinator has started again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Its last known status: final, or `planning` for one that was submitted and has not ended.
    pub status: JobStatus,
    /// Which of the binary's jobs it was.
    pub program: String,
    /// The binary.
    pub binary: Digest,
}

/// What happened to a dataset.
#[derive(Clone, Debug, PartialEq)]
pub enum DatasetChange {
    /// A version appeared, perhaps in place of an earlier one.
    Put(Dataset),
    /// The name is gone.
    Removed(String),
}

/// One thing to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    Job(Box<JobRecord>),
    Dataset(DatasetChange),
}

/// Tables of jobs and datasets and a counter of lives, durable as far as the implementation is.
pub trait JobStore: Send {
    /// Counts this life, and answers its number: larger than every one before.
    fn begin_epoch(&mut self) -> Result<Epoch, Error>;
    /// Every record, by job id.
    fn load(&mut self) -> Result<Vec<JobRecord>, Error>;
    /// Every dataset, by name.
    fn load_datasets(&mut self) -> Result<Vec<Dataset>, Error>;
    /// Stores these records in their order, new or in place of old ones, all or none of them.
    fn write(&mut self, records: &[Record]) -> Result<(), Error>;
    /// Forgets these jobs.
    fn forget(&mut self, jobs: &[JobId]) -> Result<(), Error>;
}

/// Called on the journal's thread when a record is durable, or will not be.
pub(crate) type Done = Box<dyn FnOnce(Result<(), Failure>) + Send>;

/// Records in one transaction.
const BATCH_MAX: usize = 256;

/// The queue in front of the store.
pub(crate) struct Journal {
    queue: mpsc::Sender<(Record, Done)>,
}

/// The thread behind the queue. It ends when the `Journal` is dropped and everything is written.
pub(crate) struct JournalThread(JoinHandle<()>);

impl Journal {
    /// Starts the thread.
    pub fn start(store: Box<dyn JobStore>) -> Result<(Journal, JournalThread), Error> {
        let (queue, records) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || write_all(store, &records))
            .map_err(|e| Error::Driver(format!("no thread for the journal: {e}")))?;
        Ok((Journal { queue }, JournalThread(thread)))
    }

    /// Returns at once; records are written in the order of these calls.
    pub fn record(&self, record: Record, done: Done) {
        if let Err(mpsc::SendError((_, done))) = self.queue.send((record, done)) {
            done(Err(Failure::new(Code::Internal, "the journal's thread has died")));
        }
    }
}

impl From<JobRecord> for Record {
    fn from(record: JobRecord) -> Self {
        Record::Job(Box::new(record))
    }
}

impl JournalThread {
    /// Waits until everything is written.
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the journal's thread panicked");
        }
    }
}

fn write_all(mut store: Box<dyn JobStore>, queue: &mpsc::Receiver<(Record, Done)>) {
    while let Ok(first) = queue.recv() {
        let more = std::iter::from_fn(|| queue.try_recv().ok()).take(BATCH_MAX - 1);
        let (records, done): (Vec<Record>, Vec<Done>) = std::iter::once(first).chain(more).unzip();
        let written = store.write(&records).map_err(Failure::from);
        for done in done {
            done(written.clone());
        }
    }
}
