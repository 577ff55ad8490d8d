//! A job before its first task: its inputs are cut and its outputs staged on a thread, and its workers are asked whether they see
//! both.

use crate::driver::Driver;
use crate::journal::{Durable, Record};
use crate::mailbox::Message;
use crate::split::{SplitJob, StagedSink, abandon, split_job};
use crate::staging_check::Checked;
use windrow_failpoint::crashpoint;
use windrow_model::{Failure, JobId, WorkerId, WorkerState};
use windrow_proto::v1::to_worker::Message as Tell;
use windrow_scheduler::{Event, RestoredSplit};

impl Driver {
    pub fn start_split(&mut self, job: JobId) {
        if self.waits_for_datasets(job) {
            return self.unsplit.push(job);
        }
        match self.pin_datasets(job) {
            Ok(datasets) => self.active.get_mut(&job).into_iter().for_each(|active| active.datasets = datasets.clone()),
            Err(failure) => return self.follow.push_back(Event::PlanFailed { job, failure }),
        }
        if let Err(failure) = self.begin_outputs(job) {
            return self.follow.push_back(Event::PlanFailed { job, failure });
        }
        self.try_split(job);
    }

    /// A try is on record before it begins, so that a job which ends the coordinator is not tried without end. The first try of a
    /// new job is noted in a file, which survives the process, and begins while its submit is on the way to the journal. If that
    /// ended the coordinator too early, the next submit of the job waits until it is durable.
    pub fn try_split(&mut self, job: JobId) {
        let Some(active) = self.active.get_mut(&job) else { return };
        let is_first = active.tries == 0;
        active.tries += 1;
        let record = Record::Tries(job, active.tries);
        if !active.is_queued {
            active.splits_when_durable = !is_first;
            self.journal.note(record);
            if is_first {
                self.split(job);
            }
            return;
        }
        let mailbox = self.mailbox.clone();
        let done = Box::new(move |result| {
            mailbox.blocking_send(Message::MaySplit { job, result });
        });
        self.journal.record(record, done);
    }

    /// Lists and cuts inputs, and stages outputs, on a thread.
    pub fn split(&mut self, job: JobId) {
        let Some(active) = self.active.get_mut(&job) else { return };
        let Some(spec) = self.scheduler.spec(job).cloned() else { return };
        let datasets = std::mem::take(&mut active.datasets);
        let live = self.scheduler.workers();
        let slots = live.iter().filter(|w| w.state == WorkerState::Live).map(|w| w.slots).sum();
        let (claims, notes, mailbox) = (self.claims.clone(), self.notes.clone(), self.mailbox.clone());
        let (steps, planners) = (active.steps.clone(), self.planners.clone());
        self.splitting.insert(job);
        self.work.spawn(async move {
            let (own, late_claims) = (steps.clone(), claims.clone());
            let plan = move || {
                notes.note(&spec);
                crashpoint!("plan.begun");
                split_job(&spec, slots, &claims, &datasets, &own)
            };
            // Given up meanwhile: the job has ended, and nothing of it may stay.
            let late = move |result: Result<SplitJob, Failure>| {
                late_claims.release(job);
                if let Ok(split) = result {
                    abandon(split.staging.iter().map(|s| &s.staging));
                }
            };
            let result = planners.run(&steps, plan, late).await.flatten();
            mailbox.send(Message::Split { job, result }).await;
        });
    }

    /// The job is split: every worker is asked whether it sees the files.
    pub fn handle_split(&mut self, job: JobId, result: Result<SplitJob, Failure>) {
        self.splitting.remove(&job);
        let split = match result {
            Ok(split) => split,
            Err(failure) => {
                self.end_of_unknown(job, Vec::new());
                return self.step(Event::PlanFailed { job, failure });
            }
        };
        let Some(active) = self.active.get_mut(&job) else {
            return self.end_of_unknown(job, split.staging);
        };
        active.staging = split.staging.clone();
        active.tries = 0;
        self.journal.note(Record::Tries(job, 0));
        let now = self.clock.now();
        // Whoever is lost and still has a session says nothing: its tasks are others' by now.
        for worker in self.sessions.workers().filter(|w| self.scheduler.worker_address(*w).is_some()) {
            for question in self.checks.ask(now, job, worker, &split) {
                self.sessions.send(worker, Tell::CheckStaging(question));
            }
        }
        active.split = Some(split);
        self.plan_if_checked(job);
    }

    /// The first task may run when nobody's answer is awaited any more.
    pub fn plan_if_checked(&mut self, job: JobId) {
        let left_out = match self.checks.take_checked(job) {
            Some(Checked::Passed(left_out)) => left_out,
            Some(Checked::Failed(failure)) => return self.step(Event::PlanFailed { job, failure }),
            None => return,
        };
        left_out.into_iter().for_each(|(worker, failure)| self.leave_out(job, worker, failure));
        if let Some(mut split) = self.active.get_mut(&job).and_then(|active| active.split.take()) {
            split.stages.iter_mut().flat_map(|s| &mut s.chunks).for_each(|chunk| self.locate(chunk));
            let restorable =
                RestoredSplit { epoch: self.epoch, input_bytes: split.input_bytes, stages: split.stages.clone() };
            // Should it get lost, the inputs are cut again, and attempts on these chunks are not used.
            let mailbox = self.mailbox.clone();
            let done = Box::new(move |result: Result<Durable, Failure>| {
                if let Ok(durable) = result {
                    mailbox.blocking_send(Message::SplitRecorded { job, durable });
                }
            });
            self.journal.note_then(Record::Split(job, Box::new(restorable)), done);
            self.step(Event::Planned { job, input_bytes: split.input_bytes, stages: split.stages });
        }
    }

    /// The job gives nothing to a worker that does not see its files.
    pub fn leave_out(&mut self, job: JobId, worker: WorkerId, failure: Failure) {
        tracing::warn!(%job, %worker, "the worker is left out of the job: {failure}");
        self.step(Event::LeftOut { job, worker, failure });
    }

    /// A job that ended while it was split: what came of it goes away.
    pub fn end_of_unknown(&mut self, job: JobId, staging: Vec<StagedSink>) {
        if !self.active.contains_key(&job) {
            self.claims.release(job);
            self.remove(job, staging);
        }
    }
}
