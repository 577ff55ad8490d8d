//! Blobs of collected results: large ones are stored in files (`result_files.rs`) before their task, or their job, counts as done.

use crate::driver::Driver;
use crate::journal::Record;
use crate::mailbox::Message;
use std::collections::BTreeSet;
use windrow_model::{
    AttemptId, Digest, Failure, Input, JobId, OutputReport, Plan, Port, StoredBlob, TaskReport, WorkerId,
};
use windrow_scheduler::{Collected, CollectedBlob, Event};

/// Most bytes of a blob that stays in memory and in the journal.
const INLINE_BYTES_MAX: usize = 4 << 10;
/// Most bytes of all such blobs of a job.
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

/// Stands for the digest of a blob that is being stored.
const PENDING: Digest = Digest([0; 32]);

/// Takes out the bytes of a blob that is to be stored, and returns its placeholder.
fn take_blob(bytes: &mut Vec<u8>, taken: &mut Vec<Vec<u8>>) -> StoredBlob {
    let length = bytes.len() as u64;
    taken.push(std::mem::take(bytes));
    StoredBlob { offset: 0, length, digest: PENDING }
}

/// Puts stored blobs in the places of those that were pending, in their order.
fn set_stored<'b>(blobs: impl Iterator<Item = &'b mut StoredBlob>, stored: Vec<StoredBlob>) {
    for (blob, stored) in blobs.filter(|blob| blob.digest == PENDING).zip(stored) {
        *blob = stored;
    }
}

fn lengths(blobs: &[Vec<u8>]) -> u64 {
    blobs.iter().map(|blob| blob.len() as u64).sum()
}

impl Driver {
    /// An attempt is done. The scheduler gets its report when its large blobs are stored.
    pub(crate) fn attempt_done(&mut self, worker: WorkerId, attempt: AttemptId, mut report: TaskReport) {
        let job = attempt.task.job;
        // The report of an attempt that is not current takes no room among the results.
        let blobs = match self.scheduler.is_running(worker, attempt) {
            true => self.take_large(attempt, &mut report),
            false => Vec::new(),
        };
        if blobs.is_empty() {
            return self.step(Event::AttemptDone { worker, attempt, report });
        }
        if let Err(failure) = self.reserve_result(job, lengths(&blobs)) {
            return self.step(Event::AttemptFailed { worker, attempt, failure });
        }
        // The scheduler gets no other sign of the worker meanwhile.
        self.note_alive(worker);
        let mailbox = self.mailbox.clone();
        let done = Box::new(move |result| {
            let report = Box::new(report);
            mailbox.blocking_send(Message::ResultStored { worker, attempt, report, result });
        });
        self.files.append(job, blobs, done);
    }

    /// Takes out of a report what is to be stored.
    fn take_large(&mut self, attempt: AttemptId, report: &mut TaskReport) -> Vec<Vec<u8>> {
        let id = attempt.task;
        let mut large = Vec::new();
        let (Some(spec), Some(inline)) = (self.scheduler.spec(id.job), self.jobs.inline_bytes(id.job)) else {
            return large;
        };
        for port in collected_ports(&spec.plan).into_iter().filter(|port| port.stage == id.stage) {
            let Some(output) = report.outputs.get_mut(port.output as usize) else { continue };
            let OutputReport::Broadcast(bytes) = output else { continue };
            match bytes.len() > INLINE_BYTES_MAX || *inline + bytes.len() > INLINE_JOB_BYTES_MAX {
                true => *output = OutputReport::Stored(take_blob(bytes, &mut large)),
                false => *inline += bytes.len(),
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
    pub(crate) fn result_stored(
        &mut self,
        worker: WorkerId,
        attempt: AttemptId,
        mut report: TaskReport,
        result: Result<Vec<StoredBlob>, Failure>,
    ) {
        let job = attempt.task.job;
        if !self.jobs.is_active(job) {
            // It has ended meanwhile: nothing refers to them.
            if self.results.get(job).is_none() && !self.jobs.is_ending(job) {
                self.results.release(job);
                self.files.remove(job);
            }
            return;
        }
        match result {
            Ok(stored) => {
                let blobs = report.outputs.iter_mut().filter_map(|output| match output {
                    OutputReport::Stored(blob) => Some(blob),
                    _ => None,
                });
                set_stored(blobs, stored);
                self.step(Event::AttemptDone { worker, attempt, report });
            }
            Err(failure) => self.step(Event::AttemptFailed { worker, attempt, failure }),
        }
    }

    /// Stores the blobs of a job that seals or ends and that are not stored yet. Those that a returning worker has reported are not.
    pub(crate) fn store_collected(&mut self, job: JobId) {
        let Some(collected) = self.jobs.storing(job) else { return };
        let large = take_inline(collected);
        if large.is_empty() {
            return self.collected_stored(job, Ok(Vec::new()));
        }
        if let Err(failure) = self.reserve_result(job, lengths(&large)) {
            return self.collected_stored(job, Err(failure));
        }
        let mailbox = self.mailbox.clone();
        let done = Box::new(move |result| {
            mailbox.blocking_send(Message::CollectedStored { job, result });
        });
        self.files.append(job, large, done);
    }

    /// The job's result is stored, or cannot be: then the job fails.
    pub(crate) fn collected_stored(&mut self, job: JobId, result: Result<Vec<StoredBlob>, Failure>) {
        let Some(collected) = self.jobs.storing(job) else { return };
        match result {
            Ok(stored) => {
                let blobs = collected.iter_mut().flat_map(|(_, blobs)| blobs).filter_map(|blob| match blob {
                    CollectedBlob::Stored(blob) => Some(blob),
                    CollectedBlob::Inline(_) => None,
                });
                set_stored(blobs, stored);
                match self.jobs.is_ending(job) {
                    true => self.end_job(job),
                    false => self.seal(job),
                }
            }
            Err(failure) if self.jobs.fail_end(job, &failure) => self.end_job(job),
            Err(failure) => self.step(Event::CommitFailed { job, failure }),
        }
    }
}

/// Takes the bytes out of a result that is too large for memory and the journal.
fn take_inline(collected: &mut Collected) -> Vec<Vec<u8>> {
    let inline = |blob: &CollectedBlob| match blob {
        CollectedBlob::Inline(bytes) => bytes.len(),
        CollectedBlob::Stored(_) => 0,
    };
    let all: usize = collected.iter().flat_map(|(_, blobs)| blobs).map(inline).sum();
    let mut large = Vec::new();
    if all > INLINE_JOB_BYTES_MAX {
        for blob in collected.iter_mut().flat_map(|(_, blobs)| blobs) {
            if let CollectedBlob::Inline(bytes) = blob {
                *blob = CollectedBlob::Stored(take_blob(bytes, &mut large));
            }
        }
    }
    large
}
