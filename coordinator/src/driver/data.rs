//! What the driver does for datasets: it asks the table (`datasets.rs`), has changes recorded, and passes orders on.

use crate::commit::Commit;
use crate::datasets::Order;
use crate::driver::Driver;
use crate::jobs::DatasetOutput;
use crate::journal::{DatasetChange, Durable, Record};
use crate::mailbox::{Answer, BeginPut, ChunkReport, DataMessage, Message, OrphanList, Places, PutStart};
use crate::waiting_calls::CommitPut;
use std::collections::{BTreeMap, BTreeSet};
use windrow_model::dataset::dataset_name;
use windrow_model::{
    AttemptId, Chunk, Code, Dataset, DatasetChunk, Digest, Failure, JobId, Task, TaskInput, Time, WorkerId,
};
use windrow_proto::v1::{self, to_worker::Message as Tell};
use windrow_scheduler::Event;

/// A worker tells of a chunk before it answers whoever stored it there, but on another connection, which may have to be made anew.
const PLACED_WAIT_MS: u64 = 30_000;

impl Driver {
    pub fn handle_data(&mut self, message: DataMessage) {
        if let Some(message) = self.hold_early(message) {
            self.answer_data(message);
        }
    }

    pub fn answer_data(&mut self, message: DataMessage) {
        match message {
            DataMessage::BeginPut(begin) => self.waiting_calls.waiting_puts.push(begin),
            DataMessage::CommitPut { put, dataset, placed, answer } => {
                let until = self.clock.now().plus_ms(PLACED_WAIT_MS);
                self.waiting_calls.placing_puts.push(CommitPut { put, dataset, placed, answer, until });
            }
            DataMessage::EndPut { put } => self.datasets.end_put(put, self.clock.now()),
            DataMessage::Recorded { change, result, answer } => self.dataset_recorded(change, result, answer),
            DataMessage::OutputsRecorded { job, datasets, result } => self.outputs_recorded(job, datasets, result),
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
        let told = change.clone();
        let done = Box::new(move |result: Result<Durable, Failure>| {
            let result = result.map(|_| ());
            mailbox.blocking_send(Message::Data(DataMessage::Recorded { change: told, result, answer }));
        });
        self.journal.record(Record::Dataset(change), done);
    }

    /// The table follows the journal, in the journal's order; only then the client is told.
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

    /// The journal has recorded so many changes more; every worker is told, so that it knows an older journal from this one.
    fn count_changes(&mut self, changes: u64) {
        self.revision += changes;
        let message = v1::Revision { revision: self.revision };
        for worker in self.sessions.workers() {
            self.sessions.send(worker, Tell::Revision(message));
        }
    }

    /// Puts commit whose copies are known to be there, and those are refused that wait for too long.
    fn commit_what_is_placed(&mut self) {
        let now = self.clock.now();
        for commit in std::mem::take(&mut self.waiting_calls.placing_puts) {
            let CommitPut { put, dataset, placed, answer, until } = commit;
            let committed = match self.datasets.check_placed(put, &placed) {
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

    /// When a put that waits for its copies is refused.
    pub fn placing_deadline(&self) -> Option<Time> {
        self.waiting_calls.placing_puts.iter().map(|commit| commit.until).min()
    }

    /// Takes the names of a job's outputs that are datasets.
    pub fn begin_outputs(&mut self, job: JobId) -> Result<(), Failure> {
        let sinks = self.scheduler.spec(job).map(|spec| spec.plan.sinks.clone()).unwrap_or_default();
        for (index, sink) in (0u32..).zip(&sinks) {
            let Some(name) = dataset_name(&sink.path) else { continue };
            if !sink.suffix.is_empty() {
                let message = format!("{}: a dataset holds records as they are, not compressed parts", sink.path);
                return Err(Failure::new(Code::OutputFailed, message));
            }
            let put = self.datasets.begin_output(name, sink.overwrite)?;
            match self.active.get_mut(&job) {
                Some(active) => {
                    drop(active.outputs.insert(index, DatasetOutput { put, chunks: BTreeMap::new(), sealed: false }))
                }
                None => self.datasets.end_put(put, self.clock.now()),
            }
        }
        Ok(())
    }

    /// A granted attempt has left its parts on its worker.
    pub fn keep_outputs(&mut self, worker: WorkerId, attempt: AttemptId, chunks: &[(u32, DatasetChunk)]) {
        let job = attempt.task.job;
        for (sink, chunk) in chunks.iter().copied() {
            let output = self.active.get_mut(&job).and_then(|active| active.outputs.get_mut(&sink));
            // Told again, or too late.
            if output.is_some_and(|output| !output.sealed && output.chunks.insert(attempt, chunk).is_none()) {
                self.datasets.keep_output(job, worker, chunk);
            }
        }
    }

    /// It is on record that the commit of a job begins. Its datasets have what those attempts left that won.
    pub fn sealed(&mut self, job: JobId, commit: Commit) {
        for (sink, output) in self.active.get_mut(&job).into_iter().flat_map(|active| &mut active.outputs) {
            let own = commit.parts.iter().filter(|p| p.part.sink == *sink);
            let won: BTreeSet<AttemptId> = own.map(|p| p.attempt).collect();
            output.chunks.retain(|id, _| won.contains(id));
            output.sealed = true;
        }
        self.committing.insert(job, commit);
    }

    /// Commits jobs whose chunks are there, and fails those that have lost every copy of one: of each there were as many as
    /// could be (`publishing.rs`).
    pub fn commit_what_is_ready(&mut self) {
        if self.awaited_until.is_some() {
            // Whoever has the chunks may not be back yet.
            return;
        }
        for job in self.committing.keys().copied().collect::<Vec<_>>() {
            let outputs = self.active.get(&job).into_iter().flat_map(|active| active.outputs.values());
            let mut chunks = outputs.flat_map(|output| output.chunks.values());
            match chunks.find(|c| self.datasets.copies(c.digest) == 0).map(|lost| lost.digest) {
                Some(_) if self.datasets.inventory_pending() => {}
                Some(lost) => {
                    let message = format!("every worker that held chunk {lost} of an output is gone");
                    self.committing.remove(&job);
                    self.step(Event::CommitFailed { job, failure: Failure::new(Code::ChunkUnavailable, message) });
                }
                None => {
                    if let Some(commit) = self.committing.remove(&job) {
                        self.start_commit(job, commit);
                    }
                }
            }
        }
    }

    /// The folders of a job are visible; now its datasets are recorded, and then it is done.
    pub fn record_outputs(&mut self, job: JobId) {
        let sinks = self.scheduler.spec(job).map(|spec| spec.plan.sinks.clone()).unwrap_or_default();
        let replicas = self.datasets.usual_replicas();
        let mut recording = Vec::new();
        let mut failed = None;
        for (sink, output) in self.active.get(&job).into_iter().flat_map(|active| &active.outputs) {
            let mut tasks: Vec<_> = output.chunks.iter().map(|(id, chunk)| (id.task.index, *chunk)).collect();
            tasks.sort_by_key(|(task, _)| *task);
            let dataset = Dataset {
                name: String::new(),
                version: 0,
                framing: sinks[*sink as usize].framing,
                replicas,
                chunks: tasks.into_iter().map(|(_, chunk)| chunk).collect(),
            };
            match self.datasets.commit_put(output.put, dataset) {
                Ok(dataset) => recording.push(dataset),
                Err(failure) => failed = Some(failure),
            }
        }
        if let Some(failure) = failed {
            recording.into_iter().for_each(|dataset| self.datasets.recorded(dataset, false));
            return self.step(Event::CommitFailed { job, failure });
        }
        if recording.is_empty() {
            return self.step(Event::Committed { job });
        }
        let (mailbox, datasets) = (self.mailbox.clone(), recording.clone());
        let done = Box::new(move |result: Result<Durable, Failure>| {
            let result = result.map(|_| ());
            mailbox.blocking_send(Message::Data(DataMessage::OutputsRecorded { job, datasets, result }));
        });
        self.journal.record(Record::Outputs(job, recording), done);
    }

    fn outputs_recorded(&mut self, job: JobId, datasets: Vec<Dataset>, result: Result<(), Failure>) {
        if result.is_ok() {
            self.count_changes(1);
        }
        datasets.into_iter().for_each(|dataset| self.datasets.recorded(dataset, result.is_ok()));
        match result {
            Ok(()) => self.step(Event::Committed { job }),
            Err(failure) => self.step(Event::CommitFailed { job, failure }),
        }
    }

    fn places(&self, name: &str) -> Result<Places, Failure> {
        let dataset = self.datasets.get(name)?;
        let places = dataset.chunks.iter().map(|c| (*c, self.chunk_addresses(c.digest)));
        Ok((self.datasets.status(dataset), places.collect()))
    }

    fn chunk_addresses(&self, digest: Digest) -> Vec<String> {
        let address = |w| self.scheduler.worker_address(w).map(str::to_string);
        self.datasets.holders(digest).filter_map(address).collect()
    }

    pub fn handle_chunk_report(&mut self, worker: WorkerId, report: ChunkReport) {
        match report {
            ChunkReport::Held { digests, lengths, all, stored } => {
                if stored {
                    self.datasets.arrived(worker, &digests, self.clock.now());
                }
                let passed_over = self.datasets.held(worker, digests.iter().copied());
                self.note_lengths(worker, &digests, lengths, passed_over);
                if all {
                    self.datasets.inventory_complete(worker);
                }
            }
            ChunkReport::Trashed { digests, lengths } => {
                let passed_over = self.datasets.trashed(worker, digests.iter().copied());
                self.note_lengths(worker, &digests, lengths, passed_over);
            }
            ChunkReport::Lost(digests) => {
                for digest in self.datasets.lost(worker, &digests) {
                    let copies = self.datasets.copies(digest);
                    tracing::error!(%worker, %digest, copies, "a copy of a chunk is damaged or gone");
                }
            }
            ChunkReport::Dropped => self.datasets.dropped(worker),
            ChunkReport::NotCopied(digest, failure) => {
                tracing::warn!(%worker, %digest, "a copy was not made: {failure}");
                self.datasets.not_copied(worker, digest, failure.code, self.clock.now());
            }
        }
    }

    fn note_lengths(&mut self, worker: WorkerId, digests: &[Digest], lengths: Vec<u64>, passed_over: usize) {
        let told = digests.iter().copied().zip(lengths);
        let there: Vec<(Digest, u64)> = told.filter(|(digest, _)| self.datasets.is_there(*digest)).collect();
        self.datasets.note_lengths(there);
        if passed_over > 0 {
            tracing::warn!(
                %worker,
                passed_over,
                "the worker has told of more chunks to which nothing refers than are remembered: they stay where they are"
            );
        }
    }

    /// Puts and jobs that waited begin, missing copies are ordered, and what nothing refers to is dropped: in this order, or
    /// the next deletion would begin before whoever waits for the end of the last one.
    pub fn reconcile_datasets(&mut self) {
        let now = self.clock.now();
        // How many copies a put makes depends on how many workers there are.
        if !self.datasets.is_dropping() && self.awaited_until.is_none() {
            for BeginPut { name, overwrite, replicas, answer } in std::mem::take(&mut self.waiting_calls.waiting_puts) {
                let _ = answer.send(self.begin_put(&name, overwrite, replicas));
            }
        }
        self.datasets.give_up_silent(now);
        self.answer_held_back();
        self.commit_what_is_placed();
        self.split_what_waited();
        self.fail_what_lacks_chunks();
        let orders = self.datasets.orders(now);
        // Before anything goes: the next life must not think that less has gone in this hour.
        if let Some(changes) = self.datasets.take_orphan_changes(now, false) {
            self.journal.note(Record::Orphans(Box::new(changes)));
        }
        for order in orders {
            match order {
                Order::Copy { worker, digest, .. } => {
                    tracing::debug!(%worker, %digest, "a copy of a chunk is ordered");
                    let addresses = self.chunk_addresses(digest);
                    let chunk = v1::ChunkSource { digest: Some(digest.into()), addresses };
                    self.sessions.send(worker, Tell::CopyChunk(v1::CopyChunk { chunk: Some(chunk) }));
                }
                Order::Drop { worker, digests } => {
                    tracing::info!(%worker, chunks = digests.len(), "chunks are deleted, as recorded changes order it");
                    self.send_drop(worker, digests, true);
                }
                Order::Trash { worker, digests } => {
                    let chunks = digests.len();
                    tracing::warn!(%worker, chunks, "chunks to which nothing has referred for long go to the trash");
                    self.send_drop(worker, digests, false);
                }
            }
        }
        let unrecorded = self.datasets.take_unrecorded();
        if !unrecorded.is_empty() {
            self.journal.note(Record::Dropped(unrecorded));
        }
    }

    fn send_drop(&self, worker: WorkerId, digests: Vec<Digest>, ordered: bool) {
        let digests = digests.into_iter().map(Into::into).collect();
        let order = v1::DropChunks { digests, ordered, revision: self.revision };
        self.sessions.send(worker, Tell::DropChunks(order));
    }

    /// Jobs that read a chunk of which no copy is left cannot go on.
    fn fail_what_lacks_chunks(&mut self) {
        if self.awaited_until.is_some() {
            // Whoever has the chunks may not be back yet.
            return;
        }
        for (job, digest) in self.datasets.take_lacking() {
            let message = format!("chunk {digest}: every copy is damaged, gone, or on a worker that is gone");
            tracing::error!(%job, %digest, "no copy is left of a chunk that the job reads");
            self.step(Event::InputLost { job, failure: Failure::new(Code::ChunkUnavailable, message) });
        }
    }

    fn begin_put(&mut self, name: &str, overwrite: bool, replicas: u32) -> Result<PutStart, Failure> {
        let (id, workers, replicas) = self.datasets.begin_put(name, overwrite, replicas)?;
        let address = |w: WorkerId| Some((w, self.scheduler.worker_address(w)?.to_string()));
        let workers = workers.into_iter().filter_map(address).collect();
        Ok(PutStart { id, workers, replicas, cluster: self.membership.cluster })
    }

    /// The datasets that a job reads, kept for it until its end.
    pub fn pin_datasets(&mut self, job: JobId) -> Result<BTreeMap<String, Dataset>, Failure> {
        let names = self.read_datasets(job);
        self.datasets.pin(job, names.iter().map(String::as_str))
    }

    /// Their names.
    pub fn read_datasets(&self, job: JobId) -> BTreeSet<String> {
        let plan = self.scheduler.spec(job).map(|spec| &spec.plan);
        let sources = plan.into_iter().flat_map(|p| &p.stages).filter_map(|s| s.source());
        sources.flat_map(|s| &s.inputs).filter_map(|i| dataset_name(i)).map(str::to_string).collect()
    }

    /// Whether a job cannot be split yet: a chunk that it reads may be on a worker that has not told so, or what it is about
    /// to store may be what is being deleted.
    pub fn waits_for_datasets(&self, job: JobId) -> bool {
        let read = self.read_datasets(job);
        let mut sinks = self.scheduler.spec(job).into_iter().flat_map(|spec| &spec.plan.sinks);
        let writes = sinks.any(|sink| dataset_name(&sink.path).is_some());
        !read.is_empty() && self.awaited_until.is_some()
            || self.datasets.may_be_incomplete(read.iter().map(String::as_str))
            || writes && self.datasets.is_dropping()
    }

    /// Jobs begin that need not wait any more.
    fn split_what_waited(&mut self) {
        for job in std::mem::take(&mut self.unsplit) {
            self.start_split(job);
        }
        self.step_on();
    }

    /// Who holds all of a chunk: where its task runs without fetching anything.
    pub fn locate(&self, chunk: &mut Chunk) {
        let mut contents = chunk.ranges.iter().filter_map(|r| r.content).peekable();
        if contents.peek().is_none() {
            return;
        }
        let counted = chunk.ranges.iter().filter(|r| r.content.is_some()).count();
        let mut held: BTreeMap<WorkerId, usize> = BTreeMap::new();
        for digest in contents {
            self.datasets.holders(digest).for_each(|w| *held.entry(w).or_default() += 1);
        }
        chunk.holders = held.into_iter().filter(|(_, n)| *n == counted).map(|(w, _)| w).collect();
    }

    /// Where the task's chunks are.
    pub fn chunk_sources(&self, task: &Task) -> Vec<v1::ChunkSource> {
        let ranges = task.inputs.iter().flat_map(|input| match input {
            TaskInput::Chunk(chunk) => &chunk.ranges[..],
            TaskInput::Segments(_) | TaskInput::Inline(_) => &[],
        });
        let source =
            |digest: Digest| v1::ChunkSource { digest: Some(digest.into()), addresses: self.chunk_addresses(digest) };
        ranges.filter_map(|r| r.content).map(source).collect()
    }
}
