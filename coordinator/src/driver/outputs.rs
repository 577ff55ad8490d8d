//! Outputs of jobs that are datasets: their names are taken before the job is planned, attempts leave their parts as chunks, and
//! the commit records them.

use crate::driver::Driver;
use crate::jobs::{DatasetOutput, Outputs};
use crate::journal::{Durable, Record};
use crate::mailbox::{DataMessage, Message};
use std::collections::BTreeMap;
use windrow_model::{AttemptId, Code, Dataset, DatasetChunk, Failure, JobId, WorkerId};
use windrow_scheduler::Event;

impl Driver {
    /// Takes the names of a job's outputs that are datasets: all of them, or none.
    pub(crate) fn begin_outputs(&mut self, job: JobId) -> Result<Outputs, Failure> {
        let sinks = self.scheduler.spec(job).map(|spec| spec.plan.sinks.clone()).unwrap_or_default();
        let mut outputs = Outputs::new();
        for (index, sink) in (0u32..).zip(&sinks) {
            let Some(name) = sink.location().dataset() else { continue };
            let begun = match sink.suffix.is_empty() {
                true => self.datasets.begin_output(name, sink.overwrite),
                false => {
                    let message = format!("{}: a dataset holds records as they are, not compressed parts", sink.path);
                    Err(Failure::new(Code::OutputFailed, message))
                }
            };
            match begun {
                Ok(put) => drop(outputs.insert(index, DatasetOutput { put, chunks: BTreeMap::new() })),
                Err(failure) => {
                    let now = self.clock.now();
                    outputs.into_values().for_each(|output| self.datasets.end_put(output.put, now));
                    return Err(failure);
                }
            }
        }
        Ok(outputs)
    }

    /// A granted attempt has left its parts on its worker.
    pub(crate) fn keep_outputs(&mut self, worker: WorkerId, attempt: AttemptId, chunks: &[(u32, DatasetChunk)]) {
        for (sink, chunk) in chunks.iter().copied() {
            if self.jobs.keep_chunk(sink, attempt, chunk) {
                self.datasets.keep_output(attempt.task.job, worker, chunk);
            }
        }
    }

    /// Commits jobs whose output chunks each have a holder, and fails those that have lost every copy of one. Each chunk had all
    /// possible copies before (`publishing.rs`).
    pub(crate) fn commit_ready_jobs(&mut self) {
        if self.awaited_until.is_some() {
            // Workers that have the chunks may not be back yet.
            return;
        }
        for job in self.jobs.for_chunks() {
            let mut chunks = self.jobs.outputs(job).flat_map(|(_, output)| output.chunks.values());
            let lost = chunks.find(|c| self.datasets.copies(c.digest) == 0).map(|lost| lost.digest);
            drop(chunks);
            match lost {
                Some(_) if self.datasets.inventory_pending() => {}
                Some(lost) => {
                    let message = format!("every worker that held chunk {lost} of an output is gone");
                    self.step(Event::CommitFailed { job, failure: Failure::new(Code::ChunkUnavailable, message) });
                }
                None => self.start_commit(job),
            }
        }
    }

    /// The folders of a job are visible; now its datasets are recorded, and then it is done.
    pub(crate) fn record_outputs(&mut self, job: JobId) {
        let sinks = self.scheduler.spec(job).map(|spec| spec.plan.sinks.clone()).unwrap_or_default();
        let replicas = self.datasets.usual_replicas();
        let mut recording = Vec::new();
        let mut failed = None;
        for (sink, output) in self.jobs.outputs(job) {
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

    pub(crate) fn outputs_recorded(&mut self, job: JobId, datasets: Vec<Dataset>, result: Result<(), Failure>) {
        if result.is_ok() {
            self.count_changes(1);
        }
        datasets.into_iter().for_each(|dataset| self.datasets.recorded(dataset, result.is_ok()));
        match result {
            Ok(()) => self.step(Event::Committed { job }),
            Err(failure) => self.step(Event::CommitFailed { job, failure }),
        }
    }
}
