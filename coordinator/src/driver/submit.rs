//! Handles a submit: compares it with the job known under its id, gives a new job to the scheduler, and records it.

use crate::driver::Driver;
use crate::jobs::Awaited;
use crate::journal::{Durable, JobRecord, Record, spec_digest};
use crate::mailbox::{Answer, Message};
use crate::wall_clock::unix_ms;
use windrow_failpoint::crashpoint;
use windrow_model::{ByteSize, Code, Digest, Failure, JobId, JobSpec, JobState, KeptBytes};
use windrow_scheduler::Event;

/// Most memory for the plans and parameters of all jobs that have not ended: a coordinator that could not hold them could not start
/// again either.
const SPECS_BYTES_MAX: usize = 1 << 30;

impl Driver {
    pub(crate) fn handle_submit(&mut self, spec: Box<JobSpec>, answer: Answer<Result<(), Failure>>) {
        let job = spec.id;
        let digest = spec_digest(&spec);
        if self.spec_digest_of(job).is_some_and(|known| known != digest) {
            let what = format!("{job} was submitted with another plan, other parameters or other options");
            return drop(answer.send(Err(Failure::new(Code::JobExists, what))));
        }
        let is_new = self.job_states.past(job).is_none() && !self.jobs.contains(job);
        let (program, binary) = (spec.program.clone(), spec.binary);
        let status = match is_new {
            true => match self.admit_job(spec) {
                Ok(()) => self.scheduler.status(job, self.clock.now()).filter(|s| !s.state.is_final()),
                Err(failure) => return drop(answer.send(Err(failure))),
            },
            false => None,
        };
        // Planning continues meanwhile: a job that cannot be recorded is cancelled before its submit is answered.
        let mailbox = self.mailbox.clone();
        let done = Box::new(move |recorded: Result<Durable, Failure>| match recorded {
            Ok(durable) => drop(mailbox.blocking_send(Message::SubmitRecorded { job, answer, durable })),
            Err(failure) => {
                mailbox.blocking_send(Message::SubmitNotRecorded { job });
                let _ = answer.send(Err(failure));
            }
        });
        match status.filter(|_| self.jobs.is_active(job)) {
            Some(status) => {
                let record = JobRecord { status, program, binary, spec: Some(digest), collects: None };
                self.journal.record(record.into(), done);
            }
            // Its record is in the journal or on the way there: also the end of a job that the step has ended at once.
            None => self.journal.after_all(done),
        }
    }

    /// Gives a new job to the scheduler, if there is memory for its spec.
    fn admit_job(&mut self, spec: Box<JobSpec>) -> Result<(), Failure> {
        let job = spec.id;
        let spec_bytes = spec.kept_bytes();
        if self.jobs.spec_bytes() + spec_bytes > SPECS_BYTES_MAX {
            let what = format!(
                "the plans and parameters of {} jobs that have not ended take {}, and this one's {} would be too much: wait \
                 until some have ended",
                self.jobs.active_count(),
                ByteSize(self.jobs.spec_bytes() as u64),
                ByteSize(spec_bytes as u64)
            );
            return Err(Failure::new(Code::BadRequest, what));
        }
        let tries = u32::from(self.unrecorded.remove(&job));
        self.jobs.submit(job, tries, spec_bytes);
        tracing::info!(%job, name = ?spec.name, program = ?spec.program, "job submitted");
        self.journal.note(Record::Spec(spec.clone()));
        self.step(Event::Submitted { spec, unix_ms: unix_ms() });
        Ok(())
    }

    /// The digest of the spec with which a known job was submitted.
    fn spec_digest_of(&self, job: JobId) -> Option<Digest> {
        match self.job_states.past(job) {
            Some(past) => past.spec,
            None => self.scheduler.spec(job).map(spec_digest),
        }
    }

    /// A submit is on record, this one or an earlier one of the same job.
    pub(crate) fn submit_recorded(&mut self, job: JobId, answer: Answer<Result<(), Failure>>, durable: Durable) {
        if self.jobs.is_active(job) || self.jobs.is_ending(job) {
            self.job_states.advance(job, JobState::Planning, durable);
            self.watchers.touch();
        }
        crashpoint!("submit.before-reply");
        let _ = answer.send(Ok(()));
        crashpoint!("submit.replied");
        self.split(job, Awaited::Submit);
    }
}
