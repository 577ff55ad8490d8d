//! The end of a job: it is recorded, then reported, and what the job had goes.

use crate::driver::Driver;
use crate::job_view::{PAST_MAX, Past};
use crate::journal::Durable;
use crate::mailbox::{Answer, Message};
use crate::split::{StagedSink, abandon};
use std::collections::BTreeSet;
use windrow_failpoint::crashpoint;
use windrow_model::{Code, Failure, JobId, JobStatus, WorkerId};
use windrow_proto::v1::{self, to_worker::Message as Tell};
use windrow_scheduler::Event;

impl Driver {
    /// Answered when it is on record, if there is anything to record: a commit that has begun wins.
    pub fn handle_cancel(&mut self, job: JobId, answer: Answer<Result<(), Failure>>) {
        crashpoint!("cancel.begun");
        let now = self.clock.now();
        if self.view.past(job).is_none() && self.scheduler.status(job, now).is_none() {
            return drop(answer.send(Err(Failure::new(Code::JobNotFound, format!("there is no {job}")))));
        }
        self.step(Event::Cancelled { job });
        match self.ending.contains(&job) {
            true => self.cancels.entry(job).or_default().push(answer),
            false => drop(answer.send(Ok(()))),
        }
    }

    /// The end of a job is durable: it is told, and what the job had is free again.
    pub fn end_recorded(&mut self, job: JobId, past: Past, durable: Durable) {
        crashpoint!("job.end-recorded");
        // Only what is on record orders the deletion of chunks.
        self.datasets.unpin(job);
        if !self.given_up.contains(&job) {
            self.claims.release(job);
        }
        let status = past.status.clone();
        self.ending.remove(&job);
        self.view.end(job, past, durable);
        self.cancels.remove(&job).into_iter().flatten().for_each(|answer| drop(answer.send(Ok(()))));
        let staging = self.leftovers.remove(&job).unwrap_or_default();
        self.remove(job, staging);
        if self.results.get(job).is_none() {
            self.files.remove(job);
        }
        self.watchers.finish(job, status);
        self.forget_old_jobs();
    }

    pub fn end(&mut self, job: JobId, status: JobStatus, workers: &[WorkerId]) {
        self.checks.forget(job);
        self.forget_publishing(job);
        self.unsplit.retain(|unsplit| *unsplit != job);
        let told: BTreeSet<WorkerId> =
            self.sessions.forget_job(job).into_iter().chain(workers.iter().copied()).collect();
        for worker in told {
            self.sessions.send(worker, Tell::DropJob(v1::DropJob { job: Some(job.into()) }));
        }
        self.committing.remove(&job);
        self.commits.remove(&job);
        let active = self.active.remove(&job).unwrap_or_default();
        self.spec_bytes -= active.spec_bytes;
        active.steps.cancel();
        let now = self.clock.now();
        active.outputs.values().for_each(|output| self.datasets.end_put(output.put, now));
        // They go, and their outputs are free again, when the end is recorded: until then a restart goes on with the job.
        self.leftovers.insert(job, active.staging);

        let Some(record) = self.record_of(job, status.clone()) else {
            return tracing::error!(%job, "a job ended that the scheduler does not know");
        };
        let JobStatus { name, state, tasks, attempts, elapsed_ms, error, .. } = &status;
        let code = error.as_ref().map_or("", |e| e.code.as_str());
        let (state, done, total) = (state.as_str(), tasks.done, tasks.total);
        tracing::info!(%job, ?name, state, code, tasks = done, of = total, attempts, elapsed_ms, "job ended");
        self.ending.insert(job);
        let past = Box::new(Past { status, spec: record.spec, collects: record.collects });
        let mailbox = self.mailbox.clone();
        let done = Box::new(move |recorded: Result<Durable, Failure>| match recorded {
            Ok(durable) => drop(mailbox.blocking_send(Message::EndRecorded { job, past, durable })),
            // This life ends with its journal; the next one goes on with the job.
            Err(failure) => tracing::error!(%job, "the end of a job is not recorded: {failure}"),
        });
        self.journal.record(record.into(), done);
        self.forget_old_runs();
    }

    /// Removes what a job has staged, and the note of it, unless more may be staged for it at this moment: then that stays until
    /// whoever does so is done, or the next start of a coordinator.
    pub fn remove(&mut self, job: JobId, staging: Vec<StagedSink>) {
        let notes = Some(self.notes.clone()).filter(|_| !self.splitting.contains(&job));
        self.work.spawn_blocking(move || {
            abandon(staging.iter().map(|s| &s.staging));
            notes.into_iter().for_each(|notes| notes.forget(job));
        });
    }

    /// Who ran what is kept for as many jobs as lists show, and for all that have not ended.
    pub fn forget_old_runs(&mut self) {
        while self.ran.len() > PAST_MAX + self.active.len()
            && let Some(oldest) = self.ran.keys().find(|job| !self.active.contains_key(job)).copied()
        {
            self.ran.remove(&oldest);
        }
    }
}
