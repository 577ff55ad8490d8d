//! A job comes in: it is compared with what is known under its id, given to the scheduler, and recorded.

use crate::driver::Driver;
use crate::jobs::ActiveJob;
use crate::journal::{Durable, JobRecord, Record, spec_digest};
use crate::mailbox::{Answer, Message};
use crate::wall_clock::unix_ms;
use windrow_failpoint::crashpoint;
use windrow_model::{ByteSize, Code, Digest, Failure, JobId, JobSpec, JobState, KeptBytes};
use windrow_scheduler::Event;

/// Plans and parameters of all jobs that have not ended may take so much memory: a coordinator that could not hold them could not
/// start again either.
const SPECS_BYTES_MAX: usize = 1 << 30;

impl Driver {
    pub fn handle_submit(&mut self, spec: Box<JobSpec>, answer: Answer<Result<(), Failure>>) {
        let job = spec.id;
        let digest = spec_digest(&spec);
        if self.spec_digest_of(job).is_some_and(|known| known != digest) {
            let what = format!("{job} was submitted with another plan, other parameters or other options");
            return drop(answer.send(Err(Failure::new(Code::JobExists, what))));
        }
        let (program, binary) = (spec.program.clone(), spec.binary);
        let spec_bytes = spec.kept_bytes();
        let is_known = self.view.past(job).is_some() || self.ending.contains(&job) || self.active.contains_key(&job);
        if !is_known && self.spec_bytes + spec_bytes > SPECS_BYTES_MAX {
            let what = format!(
                "the plans and parameters of {} jobs that have not ended take {}, and this one's {} would be too much: wait \
                 until some have ended",
                self.active.len(),
                ByteSize(self.spec_bytes as u64),
                ByteSize(spec_bytes as u64)
            );
            return drop(answer.send(Err(Failure::new(Code::BadRequest, what))));
        }
        if !is_known {
            self.spec_bytes += spec_bytes;
            let tries = u32::from(self.unrecorded.remove(&job));
            self.active.insert(job, ActiveJob { tries, spec_bytes, ..ActiveJob::default() });
            tracing::info!(%job, name = ?spec.name, program = ?spec.program, "job submitted");
            self.journal.note(Record::Spec(spec.clone()));
            self.step(Event::Submitted { spec, unix_ms: unix_ms() });
        }
        // Splitting goes on meanwhile: a job that cannot be recorded is cancelled before anybody was told of it.
        let mailbox = self.mailbox.clone();
        let done = Box::new(move |recorded: Result<Durable, Failure>| match recorded {
            Ok(durable) => drop(mailbox.blocking_send(Message::SubmitRecorded { job, answer, durable })),
            Err(failure) => {
                mailbox.blocking_send(Message::SubmitNotRecorded { job });
                let _ = answer.send(Err(failure));
            }
        });
        let status = self.scheduler.status(job, self.clock.now()).filter(|s| !s.state.is_final());
        match (self.active.get_mut(&job), status) {
            (Some(active), Some(status)) if !is_known => {
                active.is_queued = true;
                self.journal
                    .record(JobRecord { status, program, binary, spec: Some(digest), collects: None }.into(), done);
            }
            // What is recorded of it is on the way to the journal, or there: also the end of one that the step has ended at once.
            _ => self.journal.after_all(done),
        }
    }

    /// What a known job was submitted with.
    pub fn spec_digest_of(&self, job: JobId) -> Option<Digest> {
        match self.view.past(job) {
            Some(past) => past.spec,
            None => self.scheduler.spec(job).map(spec_digest),
        }
    }

    /// A submit is on record, this one or an earlier one of the same job.
    pub fn submit_recorded(&mut self, job: JobId, answer: Answer<Result<(), Failure>>, durable: Durable) {
        if self.active.contains_key(&job) || self.ending.contains(&job) {
            self.view.advance(job, JobState::Planning, durable);
            self.watchers.touch();
        }
        crashpoint!("submit.before-reply");
        let _ = answer.send(Ok(()));
        crashpoint!("submit.replied");
        let waits = |active: &mut ActiveJob| std::mem::take(&mut active.splits_when_durable);
        if self.active.get_mut(&job).is_some_and(waits) {
            self.split(job);
        }
    }
}
