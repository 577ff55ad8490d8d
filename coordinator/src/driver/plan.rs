//! A job before its first task: a thread cuts its inputs and stages its outputs, and the workers are asked whether they see both.

use crate::driver::Driver;
use crate::jobs::{Awaited, SplitStart};
use crate::journal::{Durable, Record};
use crate::mailbox::Message;
use crate::split::{SplitJob, split_job};
use crate::staged_outputs::{StagedOutputs, StagedSink};
use crate::staging_check::Checked;
use windrow_failpoint::crashpoint;
use windrow_model::{Failure, JobId, PartitionCounts, Partitions, WorkerId, WorkerState};
use windrow_proto::v1::to_worker::Message as Tell;
use windrow_scheduler::{Event, RestoredSplit};

impl Driver {
    /// Begins to plan a job, or lets it wait for its datasets.
    ///
    /// A try is on record before it begins, so that a job which ends the coordinator is not tried without end. The first try of a
    /// new job is noted in a file, which survives the process, and begins while its submit is on the way to the journal. If that
    /// ended the coordinator too early, the next submit of the job waits until it is durable.
    pub(crate) fn start_split(&mut self, job: JobId) {
        if !self.jobs.is_waiting(job) {
            return;
        }
        if self.waits_for_datasets(job) {
            return self.jobs.wait_for_datasets(job);
        }
        let pinned = self.pin_datasets(job);
        let begun = pinned.and_then(|datasets| Ok((datasets, self.begin_outputs(job)?)));
        let (datasets, outputs) = match begun {
            Ok(begun) => begun,
            Err(failure) => return self.follow.push_back(Event::PlanFailed { job, failure }),
        };
        let Some((tries, start)) = self.jobs.begin_try(job, datasets, outputs) else { return };
        let record = Record::Tries(job, tries);
        match start {
            SplitStart::Now => {
                self.journal.note(record);
                self.split(job, Awaited::Submit);
            }
            SplitStart::WithSubmit => self.journal.note(record),
            SplitStart::WithTry => {
                let mailbox = self.mailbox.clone();
                let done = Box::new(move |result| {
                    mailbox.blocking_send(Message::MaySplit { job, result });
                });
                self.journal.record(record, done);
            }
        }
    }

    /// Starts the thread of a plan that waited for this record.
    pub(crate) fn split(&mut self, job: JobId, durable: Awaited) {
        let Some(spec) = self.scheduler.spec(job) else { return };
        let Some((datasets, steps)) = self.jobs.begin_split(job, durable) else { return };
        let spec = spec.clone();
        let live = self.scheduler.workers();
        let slots = live.iter().filter(|w| w.state == WorkerState::Live).map(|w| w.slots).fold(0, u32::saturating_add);
        let (claims, notes, mailbox) = (self.claims.clone(), self.notes.clone(), self.mailbox.clone());
        let (planners, outputs) = (self.planners.clone(), self.storage.outputs().clone());
        self.work.spawn(async move {
            let (own, late_claims, late_outputs) = (steps.clone(), claims.clone(), outputs.clone());
            let plan = move || {
                notes.note(&spec);
                crashpoint!("plan.begun");
                split_job(&spec, slots, &claims, &datasets, &outputs, &own)
            };
            // The thread returns after its job has ended: its claims and folders are removed.
            let late = move |result: Result<SplitJob, Failure>| {
                late_claims.release(job);
                if let Ok(split) = result {
                    StagedOutputs::from(split.staging).abandon(&late_outputs);
                }
            };
            let result = planners.run(&steps, plan, late).await.flatten();
            mailbox.send(Message::Split { job, result }).await;
        });
    }

    /// The thread has returned: every worker is asked whether it sees the files.
    pub(crate) fn handle_split(&mut self, job: JobId, result: Result<SplitJob, Failure>) {
        let split = match result {
            Ok(split) => split,
            Err(failure) => {
                if self.jobs.is_splitting(job) {
                    self.step(Event::PlanFailed { job, failure });
                }
                return self.thread_returned(job, Vec::new());
            }
        };
        if !self.jobs.is_splitting(job) {
            return self.thread_returned(job, split.staging);
        }
        self.journal.note(Record::Tries(job, 0));
        let now = self.clock.now();
        // A lost worker that still has a session is not asked: it gets no tasks before it registers again.
        for worker in self.sessions.workers().filter(|w| self.scheduler.worker_address(*w).is_some()) {
            for question in self.checks.ask(now, job, worker, &split) {
                self.sessions.send(worker, Tell::CheckStaging(question));
            }
        }
        self.jobs.check(job, split);
        self.plan_if_checked(job);
    }

    /// Starts the job when every asked worker has answered or its deadline has passed.
    pub(crate) fn plan_if_checked(&mut self, job: JobId) {
        let left_out = match self.checks.take_checked(job) {
            Some(Checked::Passed(left_out)) => left_out,
            Some(Checked::Failed(failure)) => return self.step(Event::PlanFailed { job, failure }),
            None => return,
        };
        left_out.into_iter().for_each(|(worker, failure)| self.leave_out(job, worker, failure));
        let Some((input_bytes, mut stages)) = self.jobs.run(job) else { return };
        // A job that is refused is not recorded as one that runs.
        if let Err(failure) = self.scheduler.check_planned(job, input_bytes, &stages) {
            return self.step(Event::PlanFailed { job, failure });
        }
        stages.iter_mut().flat_map(|s| &mut s.chunks).for_each(|chunk| self.locate(chunk));
        let auto_partitions = self.scheduler.spec(job).map_or(1, |spec| {
            PartitionCounts::new(&spec.plan, spec.options.partitions, input_bytes).of(Partitions::Auto)
        });
        let restorable = RestoredSplit { epoch: self.epoch, input_bytes, auto_partitions, stages: stages.clone() };
        // If it is lost, the inputs are cut again, and attempts on these chunks are not used.
        let mailbox = self.mailbox.clone();
        let done = Box::new(move |result: Result<Durable, Failure>| {
            if let Ok(durable) = result {
                mailbox.blocking_send(Message::SplitRecorded { job, durable });
            }
        });
        self.journal.note_then(Record::Split(job, Box::new(restorable)), done);
        self.step(Event::Planned { job, input_bytes, stages });
    }

    /// The job gives no tasks to a worker that does not see its files.
    pub(crate) fn leave_out(&mut self, job: JobId, worker: WorkerId, failure: Failure) {
        tracing::warn!(%job, %worker, "the worker is left out of the job: {failure}");
        self.step(Event::LeftOut { job, worker, failure });
    }

    /// The thread of a job that has ended has returned. What it has staged is removed when the end is durable.
    pub(crate) fn thread_returned(&mut self, job: JobId, staging: Vec<StagedSink>) {
        if let Some(staging) = self.jobs.returned(job, staging) {
            self.claims.release(job);
            self.remove(job, staging, None);
        }
    }
}
