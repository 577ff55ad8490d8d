//! The end of a job: it is recorded, then reported; then the job's files, claims and references are removed.

use crate::driver::Driver;
use crate::job_states::{PAST_MAX, Past};
use crate::jobs::{End, LateThread};
use crate::journal::{Durable, JobRecord, Record, spec_digest};
use crate::mailbox::{Answer, Message};
use crate::staged_outputs::StagedOutputs;
use std::collections::BTreeSet;
use windrow_failpoint::crashpoint;
use windrow_model::{Code, Failure, JobId, JobState, JobStatus, WorkerId};
use windrow_proto::v1::{self, to_worker::Message as Tell};
use windrow_scheduler::Event;

impl Driver {
    /// Cancels a job. Answers when its end is durable; at once if the job has ended or its commit has begun, which is not cancelled.
    pub(crate) fn handle_cancel(&mut self, job: JobId, answer: Answer<Result<(), Failure>>) {
        crashpoint!("cancel.begun");
        let now = self.clock.now();
        if self.job_states.past(job).is_none() && self.scheduler.status(job, now).is_none() {
            return drop(answer.send(Err(Failure::new(Code::JobNotFound, format!("there is no {job}")))));
        }
        self.step(Event::Cancelled { job });
        self.answer_at_end(job, answer);
    }

    /// Answers now, or when the end of a job that ends is durable.
    pub(crate) fn answer_at_end(&mut self, job: JobId, answer: Answer<Result<(), Failure>>) {
        if let Some(answer) = self.jobs.await_end(job, answer) {
            let _ = answer.send(Ok(()));
        }
    }

    /// The scheduler has ended the job. Its result is stored first, unless that was done before its commit began.
    pub(crate) fn job_ended(&mut self, job: JobId, end: End) {
        let Some(left) = self.jobs.end(job, end) else {
            return tracing::error!(%job, "a job has ended that is not in the table of jobs");
        };
        let now = self.clock.now();
        left.outputs.values().for_each(|output| self.datasets.end_put(output.put, now));
        match left.is_stored {
            true => self.end_job(job),
            false => self.store_collected(job),
        }
    }

    /// Records the end of a job, and its result if it is done. Workers drop what they have of it.
    pub(crate) fn end_job(&mut self, job: JobId) {
        let Some(End { status, workers, collected }) = self.jobs.record_end(job) else { return };
        if status.state == JobState::Done && !collected.is_empty() {
            let result = self.record_result(job, collected);
            self.results.keep(job, result, self.clock.now());
        } else {
            self.results.release(job);
            if !collected.is_empty() {
                self.journal.note(Record::ResultForgotten(job));
            }
        }
        self.checks.forget(job);
        self.encoded_tables.forget(job);
        let holders: BTreeSet<WorkerId> = self.sessions.forget_job(job).into_iter().chain(workers).collect();
        for worker in holders {
            self.sessions.send(worker, Tell::DropJob(v1::DropJob { job: Some(job.into()) }));
        }
        self.record_end(job, *status);
        let max = PAST_MAX + self.jobs.active_count();
        self.ran_on.forget_beyond(max, |job| !self.jobs.is_active(job));
    }

    fn record_end(&mut self, job: JobId, status: JobStatus) {
        let Some(record) = self.record_of(job, status.clone()) else {
            return tracing::error!(%job, "a job ended that the scheduler does not know");
        };
        let JobStatus { name, state, tasks, attempts, elapsed_ms, error, .. } = &status;
        let code = error.as_ref().map_or("", |e| e.code.as_str());
        let (state, done, total) = (state.as_str(), tasks.done, tasks.total);
        tracing::info!(%job, ?name, state, code, tasks = done, of = total, attempts, elapsed_ms, "job ended");
        let past = Box::new(Past { status, spec: record.spec, collects: record.collects });
        let mailbox = self.mailbox.clone();
        let done = Box::new(move |recorded: Result<Durable, Failure>| match recorded {
            Ok(durable) => drop(mailbox.blocking_send(Message::EndRecorded { job, past, durable })),
            // This epoch ends with its journal; the next one continues the job.
            Err(failure) => tracing::error!(%job, "the end of a job is not recorded: {failure}"),
        });
        self.journal.record(record.into(), done);
    }

    /// What the journal keeps of a job that the scheduler knows.
    pub(crate) fn record_of(&self, job: JobId, status: JobStatus) -> Option<JobRecord> {
        let spec = self.scheduler.spec(job)?;
        Some(JobRecord {
            status,
            program: spec.program.clone(),
            binary: spec.binary,
            spec: Some(spec_digest(spec)),
            collects: Some(!spec.plan.collects.is_empty()),
        })
    }

    /// The end of a job is durable: it is reported, and the job's names and files are released.
    pub(crate) fn end_recorded(&mut self, job: JobId, past: Past, durable: Durable) {
        crashpoint!("job.end-recorded");
        // Only what is on record orders the deletion of chunks.
        self.datasets.unpin(job);
        let status = past.status.clone();
        self.history.ended(&status, self.clock.now());
        self.job_states.end(job, past, durable);
        if let Some(recorded) = self.jobs.end_recorded(job) {
            if recorded.late_thread != Some(LateThread::Commit) {
                self.claims.release(job);
            }
            recorded.waiting.into_iter().for_each(|answer| drop(answer.send(Ok(()))));
            self.remove(job, recorded.staging, recorded.late_thread);
        }
        if self.results.get(job).is_none() {
            self.files.remove(job);
        }
        self.watchers.finish(job, status);
        self.forget_old_jobs();
    }

    /// Removes what a job has staged, and the note of it, unless a thread may be staging more: then the note stays until that
    /// thread has returned, or the next start of a coordinator.
    pub(crate) fn remove(&mut self, job: JobId, staging: StagedOutputs, late_thread: Option<LateThread>) {
        let notes = Some(self.notes.clone()).filter(|_| late_thread != Some(LateThread::Plan));
        let outputs = self.storage.outputs().clone();
        self.work.spawn_blocking(move || {
            staging.abandon(&outputs);
            notes.into_iter().for_each(|notes| notes.forget(job));
        });
    }
}
