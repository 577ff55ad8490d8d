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
mod rows;

pub use disk::DiskStore;
pub use memory::MemoryStore;
pub use rows::check_row;

use crate::error::Error;
use crate::lineage::Lineage;
use crate::orphans::{OrphanChanges, OrphanWaits};
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use windrow_failpoint::crashpoint;
use windrow_model::{
    BadRecord, ClusterId, Dataset, DatasetChunk, Digest, Epoch, Failure, JobId, JobSpec, JobStatus, TaskId, WorkerId,
};
use windrow_scheduler::{Collected, RestoredSplit, RestoredTask, Tally};

/// A job, as lists show it after the coordinator has started again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Its last known status: final, `committing` for one whose commit has begun, or `planning`.
    pub status: JobStatus,
    /// Which of the binary's jobs it was.
    pub program: String,
    /// The binary.
    pub binary: Digest,
    /// Of the spec as it was submitted, by [`spec_digest`]: tells a repeated submit from another job with the same id.
    /// Absent in records of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Digest>,
    /// Whether it collects anything. Absent in records of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collects: Option<bool>,
}

/// The digest of a spec in its form on the wire.
pub fn spec_digest(spec: &JobSpec) -> Digest {
    Digest::of(&rows::encode_spec(spec))
}

/// The result of a job that is done.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptResult {
    /// Small blobs themselves; of others, where their bytes are stored.
    pub collected: Collected,
    /// When the job ended, by the wall clock: results are kept for a time that goes on while no coordinator runs.
    pub ended_unix_ms: u64,
    /// A client has read all of it.
    pub fetched: bool,
}

/// What happened to a dataset.
#[derive(Clone, Debug, PartialEq)]
pub enum DatasetChange {
    /// A version appeared, perhaps in place of an earlier one.
    Put(Dataset),
    /// The name is gone.
    Removed(String),
}

/// A finished task whose parts are staged, and those that are chunks of datasets, by sink.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishedTask {
    pub task: RestoredTask,
    pub chunks: Vec<(u32, DatasetChunk)>,
}

/// What is needed to go on with a job.
#[derive(Clone, Debug, PartialEq)]
pub struct RunningJob {
    pub spec: Box<JobSpec>,
    pub split: Option<RestoredSplit>,
    pub published: Vec<PublishedTask>,
    pub bad_records: Vec<BadRecord>,
    /// By task, for those that have failed.
    pub failures: Vec<(TaskId, u32)>,
    /// By task, how often attempts ended without a charge.
    pub uncharged: Vec<(TaskId, Tally)>,
    /// Its outputs that are datasets are recorded.
    pub datasets_done: bool,
    /// How often work on the paths that the job names has begun and not come to an end: each of them is a life of the
    /// coordinator that ended in the middle.
    pub tries: u32,
}

/// Which journal it is, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Made when the journal began its first life.
    pub cluster: ClusterId,
    /// The present life is the last one.
    pub lineage: Lineage,
    /// How many changes of datasets are recorded.
    pub revision: u64,
    /// Chunks that recorded changes have ordered to be deleted.
    pub dropped: Vec<Digest>,
    /// How long chunks to which nothing refers have waited.
    pub orphans: OrphanWaits,
}

/// One thing to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A job's status. With a final one, everything that was needed to go on with it is forgotten.
    Job(Box<JobRecord>),
    Spec(Box<JobSpec>),
    Split(JobId, Box<RestoredSplit>),
    Published(Box<PublishedTask>),
    BadRecord(Box<BadRecord>),
    /// How many failures count against a task.
    Failures(TaskId, u32),
    /// How often attempts of a task have ended without a charge; none: it is forgotten.
    Uncharged(TaskId, Tally),
    Dataset(DatasetChange),
    /// Every output of a job that is a dataset.
    Outputs(JobId, Vec<Dataset>),
    /// So many tries of planning, restoring or committing the job have begun without an end. 0: the last one has ended.
    Tries(JobId, u32),
    /// What the collects of a job gave.
    Collected(JobId, Box<KeptResult>),
    /// It is not kept any more.
    ResultForgotten(JobId),
    /// A job that ended so long ago that it is not listed any more.
    Forgotten(JobId),
    /// A worker has a session, or is lost.
    Worker(WorkerId, bool),
    /// Nothing refers to these chunks since recorded changes: they may be deleted wherever they turn up.
    Dropped(Vec<Digest>),
    /// How long chunks to which nothing refers have waited, as far as that has changed.
    Orphans(Box<OrphanChanges>),
    /// The next life is above this epoch, and stands in for all lives below it: a worker has seen it, and the journal was
    /// restored.
    RestoreAbove(Epoch),
}

/// Tables of jobs, datasets and workers and a counter of lives, durable as far as the implementation is.
pub trait JobStore: Send {
    /// Tally this life, and answers its number: larger than every one before.
    fn begin_epoch(&mut self) -> Result<Epoch, Error>;
    /// Which journal this is. Only after `begin_epoch`.
    fn identity(&mut self) -> Result<Identity, Error>;
    /// Every job, by id.
    fn load(&mut self) -> Result<Vec<JobRecord>, Error>;
    /// What is needed to go on with jobs, by id.
    fn load_running(&mut self) -> Result<Vec<RunningJob>, Error>;
    /// Results of collects that are kept, by job id.
    fn load_collected(&mut self) -> Result<Vec<(JobId, KeptResult)>, Error>;
    /// Every dataset, by name.
    fn load_datasets(&mut self) -> Result<Vec<Dataset>, Error>;
    /// Workers that had a session.
    fn load_workers(&mut self) -> Result<Vec<WorkerId>, Error>;
    /// Stores these records in their order, new or in place of old ones, all or none of them.
    fn write(&mut self, records: &[Record]) -> Result<(), Error>;
    /// Checks that the next start will find the journal: its file is still at its path. Fast.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }
    /// Forgets these jobs.
    fn forget(&mut self, jobs: &[JobId]) -> Result<(), Error>;
    /// All rows as they are now, to be read by another thread while this store goes on.
    fn snapshot(&mut self) -> Result<Snapshot, Error>;
}

/// Takes rows: table, key and value.
pub type TakeRow<'a> = &'a mut dyn FnMut(&str, &[u8], &[u8]) -> io::Result<()>;
/// Gives every row of a journal as it was at one moment. Blocks.
pub type Snapshot = Box<dyn FnOnce(TakeRow<'_>) -> io::Result<()> + Send>;
/// Called on the journal's thread when it has come to a request for a snapshot.
pub(crate) type TakeSnapshot = Box<dyn FnOnce(Result<Snapshot, Failure>) + Send>;
/// Proof that a record and all before it are on disk for good. Only the journal's thread makes one: whoever needs it to change
/// what calls are answered cannot do so too early.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Durable(());

/// Called on the journal's thread when a record is durable, or could not be written. Dropped if the thread has ended by then:
/// the coordinator ends, too.
pub(crate) type Done = Box<dyn FnOnce(Result<Durable, Failure>) + Send>;

/// What waits in the queue.
struct Waiting {
    /// Absent: only what came before is waited for.
    record: Option<Record>,
    done: Option<Done>,
    /// It is written at once, and not with what comes soon.
    urgent: bool,
}

/// Records in one transaction.
const BATCH_MAX: usize = 256;
/// A record that nobody waits for is written after this time at the latest.
const LAZY: Duration = Duration::from_millis(100);

/// Interval of the checks while no record is written.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The queue in front of the store.
pub(crate) struct Journal {
    queue: mpsc::Sender<Queued>,
}

enum Queued {
    Entry(Waiting),
    /// Of everything that was queued before.
    Snapshot(TakeSnapshot),
}

/// The thread behind the queue. It ends when the `Journal` is dropped and everything is written.
pub(crate) struct JournalThread(JoinHandle<()>);

impl Journal {
    /// Starts the thread. The receiver gets the error if a write fails: what is on disk then is known only to the next
    /// life that opens it, so this one must end.
    pub fn start(store: Box<dyn JobStore>) -> Result<(Journal, JournalThread, oneshot::Receiver<Error>), Error> {
        let (queue, records) = mpsc::channel();
        let (broken, breaks) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || write_all(store, &records, broken))
            .map_err(|e| Error::Driver(format!("no thread for the journal: {e}")))?;
        Ok((Journal { queue }, JournalThread(thread), breaks))
    }

    /// Returns at once; records are written in the order of these calls.
    pub fn record(&self, record: Record, done: Done) {
        // Not called here if there is nobody: it may block, and this thread may not.
        self.send(Some(record), Some(done), true);
    }

    /// Calls `done` when everything is durable that was given before.
    pub fn after_all(&self, done: Done) {
        self.send(None, Some(done), true);
    }

    /// For a record that is not waited for, but whose writing is to be known.
    pub fn note_then(&self, record: Record, done: Done) {
        self.send(Some(record), Some(done), false);
    }

    /// The same for a record that nobody waits for.
    pub fn note(&self, record: Record) {
        // Without the thread there is nobody who could go on anyway.
        self.send(Some(record), None, false);
    }

    fn send(&self, record: Option<Record>, done: Option<Done>, urgent: bool) {
        let _ = self.queue.send(Queued::Entry(Waiting { record, done, urgent }));
    }

    /// Takes a copy of all that was recorded before this call. Returns at once.
    pub fn snapshot(&self, take: TakeSnapshot) {
        let _ = self.queue.send(Queued::Snapshot(take));
    }
}

impl Record {
    /// Whether this counts in the journal's revision.
    pub fn changes_datasets(&self) -> bool {
        matches!(self, Record::Dataset(_) | Record::Outputs(..))
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

fn write_all(mut store: Box<dyn JobStore>, queue: &mpsc::Receiver<Queued>, broken: oneshot::Sender<Error>) {
    loop {
        let first = match queue.recv_timeout(CHECK_INTERVAL) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => match store.check() {
                Ok(()) => continue,
                Err(e) => {
                    let _ = broken.send(e);
                    return;
                }
            },
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let (batch, snapshot) = batch(first, queue);
        let (mut records, mut done) = (Vec::new(), Vec::new());
        for waiting in batch {
            records.extend(waiting.record);
            done.extend(waiting.done);
        }
        crashpoint!("journal.before-write");
        // What was given before a record that is absent is written already.
        let written = if records.is_empty() { Ok(()) } else { store.write(&records) };
        // After the write, so that no record in a deleted file is acknowledged.
        let written = written.and_then(|()| store.check());
        crashpoint!("journal.written");
        let told = match &written {
            Ok(()) => Ok(Durable(())),
            Err(e) => Err(Failure::new(e.code(), e.to_string())),
        };
        for done in done {
            done(told.clone());
        }
        crashpoint!("journal.told");
        if let Err(e) = written {
            // A failed sync is not tried again: the system may have dropped what it could not write.
            let _ = broken.send(e);
            return;
        }
        if let Some(take) = snapshot {
            take(store.snapshot().map_err(Failure::from));
        }
    }
}

/// What is written together: all that waits, and if nobody waits for any of it, what comes soon. A snapshot comes after it.
fn batch(first: Queued, queue: &mpsc::Receiver<Queued>) -> (Vec<Waiting>, Option<TakeSnapshot>) {
    let until = Instant::now() + LAZY;
    let first = match first {
        Queued::Entry(waiting) => waiting,
        Queued::Snapshot(take) => return (Vec::new(), Some(take)),
    };
    let mut urgent = first.urgent;
    let mut batch = vec![first];
    while batch.len() < BATCH_MAX {
        let next = match urgent {
            true => queue.try_recv().map_err(|_| RecvTimeoutError::Timeout),
            false => queue.recv_timeout(until.saturating_duration_since(Instant::now())),
        };
        match next {
            Ok(Queued::Entry(waiting)) => {
                urgent |= waiting.urgent;
                batch.push(waiting);
            }
            Ok(Queued::Snapshot(take)) => return (batch, Some(take)),
            Err(_) => break,
        }
    }
    (batch, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store on a disk that gives only errors.
    struct Broken;

    fn error<T>() -> Result<T, Error> {
        Err(Error::Driver("the disk is broken".to_string()))
    }

    impl JobStore for Broken {
        fn begin_epoch(&mut self) -> Result<Epoch, Error> {
            error()
        }
        fn identity(&mut self) -> Result<Identity, Error> {
            error()
        }
        fn load(&mut self) -> Result<Vec<JobRecord>, Error> {
            error()
        }
        fn load_running(&mut self) -> Result<Vec<RunningJob>, Error> {
            error()
        }
        fn load_collected(&mut self) -> Result<Vec<(JobId, KeptResult)>, Error> {
            error()
        }
        fn load_datasets(&mut self) -> Result<Vec<Dataset>, Error> {
            error()
        }
        fn load_workers(&mut self) -> Result<Vec<WorkerId>, Error> {
            error()
        }
        fn write(&mut self, _: &[Record]) -> Result<(), Error> {
            error()
        }
        fn forget(&mut self, _: &[JobId]) -> Result<(), Error> {
            error()
        }
        fn snapshot(&mut self) -> Result<Snapshot, Error> {
            error()
        }
    }

    /// The driver's answers block, which panics in its own thread.
    #[tokio::test]
    async fn after_a_failed_write_answers_are_dropped_and_not_given_where_they_must_not_block() {
        let (journal, thread, broken) = Journal::start(Box::new(Broken)).unwrap();
        let record = || Record::Forgotten(JobId::from_bytes([1; 16]));
        let answer = || {
            let (answer, answered) = tokio::sync::mpsc::channel(1);
            let done: Done = Box::new(move |result| drop(answer.blocking_send(result)));
            (done, answered)
        };
        let (done, mut answered) = answer();
        journal.record(record(), done);
        assert!(answered.recv().await.is_some_and(|result| result.is_err()));
        assert!(broken.await.is_ok());
        thread.join();
        let (done, mut answered) = answer();
        journal.record(record(), done);
        assert!(answered.recv().await.is_none());
    }
}
