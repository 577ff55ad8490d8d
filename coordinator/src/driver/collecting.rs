//! What the driver does for collected results: it has large ones stored before their task counts as done, and keeps what the
//! jobs that are done have collected (`results.rs`).

use crate::driver::Driver;
use crate::job_view::Bound;
use crate::journal::{KeptResult, Record};
use crate::mailbox::Message;
use crate::storing::{Storing, Then};
use crate::wall_clock::unix_ms;
use std::collections::BTreeSet;
use windrow_model::{
    AttemptId, Failure, Input, JobId, JobState, JobStatus, OutputReport, Plan, Port, StoredBlob, TaskReport, WorkerId,
};
use windrow_scheduler::{Collected, CollectedBlob, Event};

/// A blob of so many bytes stays in memory and in the journal.
const INLINE_BYTES_MAX: usize = 4 << 10;
/// As long as its job has no more of them in all.
const INLINE_JOB_BYTES_MAX: usize = 64 << 10;

/// Outputs that only the client reads.
fn collected_ports(plan: &Plan) -> BTreeSet<Port> {
    let mut ports: BTreeSet<Port> = plan.collects.iter().map(|collect| collect.from).collect();
    for input in plan.stages.iter().flat_map(|stage| &stage.inputs) {
        if let Input::Broadcast { from } = input {
            ports.remove(from);
        }
    }
    ports
}

impl Driver {
    /// An attempt is done. If it has collected much, the scheduler hears of it when that is stored.
    pub fn attempt_done(&mut self, worker: WorkerId, attempt: AttemptId, mut report: TaskReport) {
        let job = attempt.task.job;
        // What an attempt says that is not current costs no place among the results.
        let blobs = match self.scheduler.is_running(worker, attempt) {
            true => self.take_large(attempt, &mut report),
            false => Vec::new(),
        };
        if blobs.is_empty() {
            return self.step(Event::AttemptDone { worker, attempt, report });
        }
        if let Err(failure) = self.reserve_result(job, blobs.iter().map(|blob| blob.len() as u64).sum()) {
            return self.step(Event::AttemptFailed { worker, attempt, failure });
        }
        // It lives: the scheduler hears nothing else of it meanwhile.
        self.step(Event::WorkerBeat { worker, progress: Vec::new(), lists_all: false, full: None });
        let mailbox = self.mailbox.clone();
        let done = Box::new(move |result| {
            let report = Box::new(report);
            mailbox.blocking_send(Message::ResultStored { worker, attempt, report, result });
        });
        self.files.append(job, blobs, done);
    }

    /// Takes out of a report what is to be stored: an empty broadcast is left in its place.
    fn take_large(&mut self, attempt: AttemptId, report: &mut TaskReport) -> Vec<Vec<u8>> {
        let id = attempt.task;
        let (Some(spec), Some(active)) = (self.scheduler.spec(id.job), self.active.get_mut(&id.job)) else {
            return Vec::new();
        };
        let mut large = Vec::new();
        for port in collected_ports(&spec.plan).into_iter().filter(|port| port.stage == id.stage) {
            if let Some(OutputReport::Broadcast(bytes)) = report.outputs.get_mut(port.output as usize) {
                let inline = active.inline_bytes + bytes.len();
                if bytes.len() > INLINE_BYTES_MAX || inline > INLINE_JOB_BYTES_MAX {
                    let taken = std::mem::take(bytes);
                    report.outputs[port.output as usize] =
                        OutputReport::Stored(StoredBlob { offset: 0, length: taken.len() as u64, digest: PENDING });
                    large.push(taken);
                } else {
                    active.inline_bytes = inline;
                }
            }
        }
        large
    }

    fn reserve_result(&mut self, job: JobId, bytes: u64) -> Result<(), Failure> {
        for gone in self.results.reserve(job, bytes)? {
            self.journal.note(Record::ResultForgotten(gone));
            self.files.remove(gone);
        }
        Ok(())
    }

    /// The large blobs of an attempt are durable.
    pub fn result_stored(
        &mut self,
        worker: WorkerId,
        attempt: AttemptId,
        mut report: TaskReport,
        result: Result<Vec<StoredBlob>, Failure>,
    ) {
        let job = attempt.task.job;
        if !self.active.contains_key(&job) {
            // It has ended meanwhile: nothing refers to them.
            if self.results.get(job).is_none() && !self.ending.contains(&job) {
                self.results.release(job);
                self.files.remove(job);
            }
            return;
        }
        match result {
            Ok(stored) => {
                let mut stored = stored.into_iter();
                for output in &mut report.outputs {
                    if matches!(output, OutputReport::Stored(blob) if blob.digest == PENDING)
                        && let Some(blob) = stored.next()
                    {
                        *output = OutputReport::Stored(blob);
                    }
                }
                self.step(Event::AttemptDone { worker, attempt, report });
            }
            Err(failure) => self.step(Event::AttemptFailed { worker, attempt, failure }),
        }
    }

    /// The job is over. A job with outputs has stored its result before its commit began.
    pub fn job_ended(&mut self, job: JobId, status: JobStatus, collected: Collected, workers: Vec<WorkerId>) {
        match self.active.get_mut(&job).and_then(|active| active.result.take()) {
            Some(collected) => self.end_with(job, status, collected, &workers),
            None => self.store_collected(job, collected, Then::End { status: Box::new(status), workers }),
        }
    }

    /// Stores what a job has collected, as far as it is not stored yet: what a worker tells when it comes back is not.
    pub fn store_collected(&mut self, job: JobId, mut collected: Collected, then: Then) {
        let inline = |blob: &CollectedBlob| match blob {
            CollectedBlob::Inline(bytes) => bytes.len(),
            CollectedBlob::Stored(_) => 0,
        };
        let all: usize = collected.iter().flat_map(|(_, blobs)| blobs).map(inline).sum();
        let mut large = Vec::new();
        if all > INLINE_JOB_BYTES_MAX {
            for blob in collected.iter_mut().flat_map(|(_, blobs)| blobs) {
                if let CollectedBlob::Inline(bytes) = blob {
                    let (length, taken) = (bytes.len() as u64, std::mem::take(bytes));
                    *blob = CollectedBlob::Stored(StoredBlob { offset: 0, length, digest: PENDING });
                    large.push(taken);
                }
            }
        }
        let storing = Box::new(Storing { job, collected, then });
        if large.is_empty() {
            return self.collected_stored(*storing, Ok(Vec::new()));
        }
        if let Err(failure) = self.reserve_result(job, large.iter().map(|blob| blob.len() as u64).sum()) {
            return self.collected_stored(*storing, Err(failure));
        }
        let mailbox = self.mailbox.clone();
        let done = Box::new(move |result| {
            mailbox.blocking_send(Message::CollectedStored { storing, result });
        });
        self.files.append(job, large, done);
    }

    /// All that the job has collected is stored, or cannot be. Without a result that is promised the job is not done.
    pub fn collected_stored(&mut self, storing: Storing, result: Result<Vec<StoredBlob>, Failure>) {
        let Storing { job, mut collected, then } = storing;
        let failure = match result {
            Ok(stored) => {
                let mut stored = stored.into_iter();
                for blob in collected.iter_mut().flat_map(|(_, blobs)| blobs) {
                    if matches!(blob, CollectedBlob::Stored(blob) if blob.digest == PENDING)
                        && let Some(found) = stored.next()
                    {
                        *blob = CollectedBlob::Stored(found);
                    }
                }
                None
            }
            Err(failure) => Some(failure),
        };
        match (then, failure) {
            (Then::Seal(commit), None) => {
                if !collected.is_empty() {
                    self.record_result(job, collected.clone());
                }
                self.active.get_mut(&job).into_iter().for_each(|active| active.result = Some(collected.clone()));
                self.seal(job, commit);
            }
            (Then::Seal(_), Some(failure)) => self.step(Event::CommitFailed { job, failure }),
            (Then::End { status, workers }, None) => self.end_with(job, *status, collected, &workers),
            (Then::End { mut status, workers }, Some(failure)) => {
                (status.state, status.error) = (JobState::Failed, Some(failure));
                self.end_with(job, *status, collected, &workers);
            }
        }
    }

    /// Records the end of a job, and its result if it is done.
    fn end_with(&mut self, job: JobId, status: JobStatus, collected: Collected, workers: &[WorkerId]) {
        if status.state == JobState::Done && !collected.is_empty() {
            let result = self.record_result(job, collected);
            self.results.keep(job, result);
        } else {
            self.results.release(job);
            if !collected.is_empty() {
                self.journal.note(Record::ResultForgotten(job));
            }
        }
        self.end(job, status, workers);
    }

    /// Has the journal keep a result from now on.
    fn record_result(&self, job: JobId, collected: Collected) -> KeptResult {
        let result = KeptResult { collected, ended_unix_ms: unix_ms(), fetched: false };
        self.journal.note(Record::Collected(job, Box::new(result.clone())));
        result
    }

    /// A client has read the result of a job: it may give way to others now.
    pub fn fetched(&mut self, job: JobId) {
        if let Some(result) = self.results.fetched(job) {
            self.journal.note(Record::Collected(job, Box::new(result)));
        }
    }

    /// Results whose time is over go.
    pub fn expire_results(&mut self) {
        for job in self.results.expire(unix_ms()) {
            tracing::info!(%job, "collected result expired");
            self.journal.note(Record::ResultForgotten(job));
            self.files.remove(job);
        }
    }

    /// Jobs beyond the number that lists show are forgotten, the oldest first: those whose result waits for its client last.
    pub fn forget_old_jobs(&mut self) {
        while self.view.is_beyond(Bound::Once) {
            let waits = |job| self.results.get(job).is_some_and(|result| !result.fetched);
            let oldest = match self.view.forget_oldest(|job| !waits(job)) {
                None if self.view.is_beyond(Bound::Twice) => self.view.forget_oldest(|_| true),
                oldest => oldest,
            };
            let Some(job) = oldest else { return };
            self.results.remove(job);
            self.files.remove(job);
            self.journal.note(Record::Forgotten(job));
        }
    }
}

/// Stands for the digest of a blob that is being stored.
const PENDING: windrow_model::Digest = windrow_model::Digest([0; 32]);
