//! The queue in front of the store, and the thread that empties it.

use super::record::Record;
use super::store::{JobStore, Snapshot};
use crate::error::Error;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use windrow_failpoint::crashpoint;
use windrow_model::Failure;

/// Called on the journal's thread with a snapshot.
pub(crate) type TakeSnapshot = Box<dyn FnOnce(Result<Snapshot, Failure>) + Send>;
/// Proof that a record and all before it are on disk for good. Only the journal's thread makes one, and the states that calls are
/// answered with advance only with one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Durable(());

/// Called on the journal's thread when a record is durable, or could not be written. Dropped if the thread has ended by then:
/// the coordinator ends, too.
pub(crate) type Done = Box<dyn FnOnce(Result<Durable, Failure>) + Send>;

/// An entry of the queue.
struct Waiting {
    /// Absent: the entry waits for the records before it.
    record: Option<Record>,
    done: Option<Done>,
    /// It is written at once, without a wait for more.
    urgent: bool,
}

/// Records in one transaction.
const BATCH_MAX: usize = 256;
/// A record that is not waited for is written after this time at the latest.
const LAZY: Duration = Duration::from_millis(100);

/// Interval of the checks while no record is written.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The queue in front of the store.
pub(crate) struct Journal {
    queue: mpsc::Sender<Queued>,
}

enum Queued {
    Entry(Waiting),
    /// A snapshot of everything that was queued before.
    Snapshot(TakeSnapshot),
}

/// The thread behind the queue. It ends when the `Journal` is dropped and everything is written.
pub(crate) struct JournalThread(JoinHandle<()>);

impl Journal {
    /// Starts the thread. The receiver gets the error if a write fails: the content of the disk is known only to the next process
    /// that opens it, so this one must end.
    pub(crate) fn start(store: Box<dyn JobStore>) -> Result<(Journal, JournalThread, oneshot::Receiver<Error>), Error> {
        let (queue, records) = mpsc::channel();
        let (broken, breaks) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || write_all(store, &records, broken))
            .map_err(|e| Error::Driver(format!("no thread for the journal: {e}")))?;
        Ok((Journal { queue }, JournalThread(thread), breaks))
    }

    /// Returns at once; records are written in the order of these calls.
    pub(crate) fn record(&self, record: Record, done: Done) {
        // Not called here if the thread has ended: it may block, and the driver must not.
        self.send(Some(record), Some(done), true);
    }

    /// Calls `done` when everything is durable that was given before.
    pub(crate) fn after_all(&self, done: Done) {
        self.send(None, Some(done), true);
    }

    /// Queues a record that is not urgent; `done` is called when it is durable.
    pub(crate) fn note_then(&self, record: Record, done: Done) {
        self.send(Some(record), Some(done), false);
    }

    /// Queues a record that no caller waits for.
    pub(crate) fn note(&self, record: Record) {
        // Without the thread the coordinator ends.
        self.send(Some(record), None, false);
    }

    fn send(&self, record: Option<Record>, done: Option<Done>, urgent: bool) {
        let _ = self.queue.send(Queued::Entry(Waiting { record, done, urgent }));
    }

    /// Takes a copy of all that was recorded before this call. Returns at once.
    pub(crate) fn snapshot(&self, take: TakeSnapshot) {
        let _ = self.queue.send(Queued::Snapshot(take));
    }
}

impl JournalThread {
    /// Waits until everything is written.
    pub(crate) fn join(self) {
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
        // Without records, those before are written already.
        let written = if records.is_empty() { Ok(()) } else { store.write(&records) };
        // After the write, so that no record in a deleted file is acknowledged.
        let written = written.and_then(|()| store.check());
        crashpoint!("journal.written");
        let result = match &written {
            Ok(()) => Ok(Durable(())),
            Err(e) => Err(Failure::new(e.code(), e.to_string())),
        };
        for done in done {
            done(result.clone());
        }
        crashpoint!("journal.answered");
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

/// The records of one transaction: the whole queue, and if none of them is urgent, those that arrive soon. A snapshot comes after it.
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
    use super::super::record::{Identity, JobRecord, KeptResult, RunningJob};
    use super::*;
    use windrow_model::{Dataset, Epoch, JobId, WorkerId};

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

    /// The answers block, which panics on a thread of the runtime.
    #[tokio::test]
    async fn failed_write_drops_later_answers_instead_of_blocking() {
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
