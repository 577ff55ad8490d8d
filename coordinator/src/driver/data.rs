//! Answers calls of clients about datasets from the table (crate `datasets`), and records the changes.

use crate::driver::Driver;
use crate::journal::{DatasetChange, Durable, Record};
use crate::mailbox::{Answer, DataMessage, Message, OrphanList, Places, PutStart};
use crate::waiting_calls::CommitPut;
use windrow_datasets::Placed;
use windrow_model::{Code, Digest, Failure, Time, WorkerId};
use windrow_proto::v1::{self, to_worker::Message as Tell};

/// Milliseconds for which a commit waits for reports of its chunks. A worker reports a chunk before it answers the client that stored
/// it, but on another connection, which may have to be made anew.
const PLACED_WAIT_MS: u64 = 30_000;

impl Driver {
    pub(crate) fn handle_data(&mut self, message: DataMessage) {
        if let Some(message) = self.hold_early(message) {
            self.answer_data(message);
        }
    }

    pub(crate) fn answer_data(&mut self, message: DataMessage) {
        match message {
            DataMessage::BeginPut(begin) => self.waiting_calls.waiting_puts.push(begin),
            DataMessage::CommitPut { put, dataset, placed, answer } => {
                let until = self.clock.now().plus_ms(PLACED_WAIT_MS);
                let placed = Placed::new(placed);
                self.waiting_calls.placing_puts.push(CommitPut { put, dataset, placed, answer, until });
            }
            DataMessage::EndPut { put } => self.datasets.end_put(put, self.clock.now()),
            DataMessage::Recorded { change, result, answer } => self.dataset_recorded(change, result, answer),
            DataMessage::OutputsRecorded { job, datasets, result } => self.outputs_recorded(job, datasets, result),
            DataMessage::OrphansReserved { reservation } => self.datasets.reservation_recorded(reservation),
            DataMessage::List { answer } => drop(answer.send((self.datasets.list(), self.membership.notices()))),
            DataMessage::Orphans { answer } => {
                let unjoined = self.membership.unjoined().map(|(w, host, n)| (w, host.to_string(), n)).collect();
                let chunks = self.datasets.orphans(self.clock.now());
                let _ = answer.send(OrphanList { chunks, unjoined });
            }
            DataMessage::AdoptChunks { name, framing, digests, answer } => {
                match self.datasets.adopt(&name, framing, &digests) {
                    Ok(dataset) => {
                        tracing::info!(dataset = %name, chunks = digests.len(), "orphans are adopted as a dataset");
                        self.record_dataset(DatasetChange::Put(dataset), answer);
                    }
                    Err(failure) => drop(answer.send(Err(failure))),
                }
            }
            DataMessage::AdoptWorker { worker, answer } => {
                let adopted = self.membership.adopt(worker);
                if adopted.is_ok() {
                    tracing::info!(%worker, "an operator lets the worker's data folder join this cluster");
                }
                let _ = answer.send(adopted.map(|()| 0));
            }
            DataMessage::Scrubs { answer } => {
                let _ = answer.send(self.scrubs.iter().map(|(worker, progress)| (*worker, *progress)).collect());
            }
            DataMessage::Get { name, answer } => drop(answer.send(self.places(&name))),
            DataMessage::Remove { name, answer } => match self.datasets.get(&name) {
                Ok(_) => self.record_dataset(DatasetChange::Removed(name), answer),
                Err(failure) => drop(answer.send(Err(failure))),
            },
        }
    }

    fn record_dataset(&mut self, change: DatasetChange, answer: Answer<Result<u64, Failure>>) {
        let mailbox = self.mailbox.clone();
        let own = change.clone();
        let done = Box::new(move |result: Result<Durable, Failure>| {
            let result = result.map(|_| ());
            mailbox.blocking_send(Message::Data(DataMessage::Recorded { change: own, result, answer }));
        });
        self.journal.record(Record::Dataset(change), done);
    }

    /// The table follows the journal, in the journal's order; then the client gets its answer.
    fn dataset_recorded(
        &mut self,
        change: DatasetChange,
        result: Result<(), Failure>,
        answer: Answer<Result<u64, Failure>>,
    ) {
        if result.is_ok() {
            self.count_changes(1);
        }
        let applied = match change {
            DatasetChange::Put(dataset) => {
                let version = dataset.version;
                tracing::info!(dataset = %dataset.name, version, chunks = dataset.chunks.len(), "a dataset is recorded");
                self.datasets.recorded(dataset, result.is_ok());
                result.map(|()| version)
            }
            DatasetChange::Removed(name) => {
                tracing::info!(dataset = %name, "a dataset is removed; its chunks go when no job reads them");
                result.and_then(|()| self.datasets.remove(&name)).map(|()| 0)
            }
        };
        let _ = answer.send(applied);
    }

    /// The journal has recorded more changes. Every worker gets their number, so that it recognises an older journal.
    pub(crate) fn count_changes(&mut self, changes: u64) {
        self.revision += changes;
        let message = v1::Revision { revision: self.revision };
        for worker in self.sessions.workers() {
            self.sessions.send(worker, Tell::Revision(message));
        }
    }

    /// Commits puts whose copies workers have reported, and refuses those that have waited for too long.
    pub(crate) fn commit_placed_puts(&mut self) {
        let now = self.clock.now();
        for commit in std::mem::take(&mut self.waiting_calls.placing_puts) {
            let CommitPut { put, dataset, mut placed, answer, until } = commit;
            let committed = match self.datasets.check_placed(put, &mut placed) {
                Some(Ok(())) => {
                    let checked = self.datasets.check_lengths(&dataset.chunks);
                    checked.and_then(|()| self.datasets.commit_put(put, dataset))
                }
                Some(Err(failure)) => Err(failure),
                None if until > now => {
                    self.waiting_calls.placing_puts.push(CommitPut { put, dataset, placed, answer, until });
                    continue;
                }
                None => {
                    let what = match self.datasets.not_there(&placed) {
                        Some((digest, worker)) => {
                            format!("{worker} does not have chunk {digest}, which is said to be there")
                        }
                        None => "a chunk is not where it is said to be".to_string(),
                    };
                    Err(Failure::new(Code::BadRequest, what))
                }
            };
            match committed {
                Ok(dataset) => self.record_dataset(DatasetChange::Put(dataset), answer),
                Err(failure) => drop(answer.send(Err(failure))),
            }
        }
    }

    /// The time at which the next put that waits for its copies is refused.
    pub(crate) fn placing_deadline(&self) -> Option<Time> {
        self.waiting_calls.placing_puts.iter().map(|commit| commit.until).min()
    }

    fn places(&self, name: &str) -> Result<Places, Failure> {
        let dataset = self.datasets.get(name)?;
        let places = dataset.chunks.iter().map(|c| (*c, self.chunk_addresses(c.digest)));
        Ok((self.datasets.status(dataset), places.collect()))
    }

    pub(crate) fn chunk_addresses(&self, digest: Digest) -> Vec<String> {
        let address = |w| self.scheduler.worker_address(w).map(str::to_string);
        self.datasets.holders(digest).filter_map(address).collect()
    }

    pub(crate) fn begin_put(&mut self, name: &str, overwrite: bool, replicas: u32) -> Result<PutStart, Failure> {
        let (id, workers, replicas) = self.datasets.begin_put(name, overwrite, replicas)?;
        let address = |w: WorkerId| Some((w, self.scheduler.worker_address(w)?.to_string()));
        let workers = workers.into_iter().filter_map(address).collect();
        Ok(PutStart { id, workers, replicas, cluster: self.membership.cluster })
    }
}
