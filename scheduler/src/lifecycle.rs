//! Lifecycle of a job: `planning → running → committing → done`, or `failed` or `cancelled` from there.
//!
//! This file decides when a job changes its state and how it ends; stages and tasks have their own state. It does not
//! interpret failures.

use crate::action::{Action, Collected};
use crate::event::StageChunks;
use crate::job::Job;
use crate::note::{Note, Notes};
use crate::planned_bytes;
use crate::planted::{self, Planted};
use crate::state::{Ended, State};
use crate::timers::Timer;
use windrow_model::{Code, Failure, JobId, JobSpec, JobState, Partitions};

impl State {
    pub(crate) fn handle_submitted(&mut self, spec: Box<JobSpec>, unix_ms: u64) {
        let id = spec.id;
        if self.jobs.contains_key(&id) || self.history.contains_key(&id) {
            return;
        }
        self.submitted += 1;
        let wrong = match (spec.plan.check(), spec.options.partitions) {
            (Err(e), _) => Some(e.to_string()),
            (Ok(()), Some(n)) if n == 0 || n > Partitions::MAX => {
                Some(format!("the number of partitions must be from 1 to {}, not {n}", Partitions::MAX))
            }
            (Ok(()), _) => None,
        };
        if let Some(ms) = spec.options.timeout_ms {
            self.timers.set(Timer::Timeout(id), self.now.plus_ms(ms));
        }
        let mut job = Job::new(spec, self.submitted, self.epoch, self.now, unix_ms);
        job.notes = Notes::new(self.config.notes);
        job.notes.add(|| Note::Submitted);
        self.jobs.insert(id, job);
        self.collect_notes(id);
        match wrong {
            Some(what) => self.end_job(id, JobState::Failed, Some(Failure::new(Code::PlanInvalid, what))),
            None => self.out.push(Action::PlanJob { job: id }),
        }
    }

    /// Whether the tasks that these inputs make fit beside those of all other jobs. The largest possible job fits alone.
    ///
    /// # Errors
    /// `PLAN_INVALID` if the job has too many tasks for any scheduler, `BAD_REQUEST` with both sizes.
    pub(crate) fn check_planned(&self, id: JobId, input_bytes: u64, found: &[StageChunks]) -> Result<(), Failure> {
        let Some(job) = self.jobs.get(&id) else { return Ok(()) };
        let tasks = job.planned_tasks(input_bytes, found);
        planned_bytes::check_tasks(tasks)?;
        let own = planned_bytes::planned_bytes(tasks, found);
        let others = self.jobs.iter().filter(|(other, job)| **other != id && job.planned_bytes > 0);
        planned_bytes::check(own, others.map(|(_, job)| job.planned_bytes), self.config.planned_bytes_max)
    }

    pub(crate) fn handle_planned(&mut self, id: JobId, input_bytes: u64, found: Vec<StageChunks>) {
        let epoch = self.epoch;
        let fits = self.check_planned(id, input_bytes, &found);
        let Some(job) = self.jobs.get_mut(&id).filter(|j| j.state == JobState::Planning) else { return };
        match fits.and_then(|()| job.start(epoch, input_bytes, found)) {
            Ok(()) => self.advance(id),
            Err(failure) => self.end_job(id, JobState::Failed, Some(failure)),
        }
    }

    pub(crate) fn handle_plan_failed(&mut self, id: JobId, failure: Failure) {
        if self.jobs.get(&id).is_some_and(|j| j.state == JobState::Planning) {
            self.end_job(id, JobState::Failed, Some(failure));
        }
    }

    /// Fails a job with an input that is lost for good, unless its commit has begun.
    pub(crate) fn handle_input_lost(&mut self, id: JobId, failure: Failure) {
        if self.jobs.get(&id).is_some_and(|j| !j.sealed) {
            self.end_job(id, JobState::Failed, Some(failure));
        }
    }

    /// Cancels a job. A commit that has begun is not cancelled: outputs may be visible already.
    pub(crate) fn handle_cancelled(&mut self, id: JobId) {
        if self.jobs.get(&id).is_some_and(|j| !j.sealed || planted::has(Planted::CancelledCommit)) {
            self.note(id, || Note::Cancelled);
            self.end_job(id, JobState::Cancelled, Some(Failure::new(Code::Cancelled, "the job was cancelled")));
        }
    }

    pub(crate) fn job_timed_out(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id).filter(|j| !j.sealed) else { return };
        let limit = job.spec.options.timeout_ms.unwrap_or(0);
        let failure = Failure::new(Code::DeadlineExceeded, format!("the job was not done after {limit} ms"));
        self.end_job(id, JobState::Failed, Some(failure));
    }

    /// Stops the job's attempts, drops its state and reports how it ended.
    pub(crate) fn end_job(&mut self, id: JobId, end: JobState, error: Option<Failure>) {
        assert!(end.is_final(), "a job ends in a final state");
        self.revoke_recalled(id);
        let Some(mut job) = self.jobs.remove(&id) else { return };
        for stage in &job.stages {
            for run in stage.tasks.touched().flat_map(|t| t.runs()) {
                self.workers.release(run.worker, run.attempt.task);
                self.out.push(Action::Revoke { worker: run.worker, attempt: run.attempt });
            }
        }
        let delays: Vec<Timer> = self.timers.delays(id).collect();
        delays.into_iter().for_each(|t| self.timers.clear(t));
        self.timers.clear(Timer::Timeout(id));
        self.timers.clear(Timer::Starved(id));
        self.timers.clear(Timer::Backups(id));
        self.queue.set(id, None);
        self.ahead.set(id, None);
        self.suspicious.remove(&id);
        self.partial.remove(&id);

        job.stages.iter_mut().for_each(|s| s.running = 0);
        job.state = end;
        let mut status = job.status(self.now);
        status.left_out = self.list_left_out(&job);
        status.error = error;
        let collected: Collected = match end {
            JobState::Done => job.collected(),
            _ => Vec::new(),
        };
        let workers = job.workers.iter().copied().collect();
        job.notes.add(|| Note::Ended { status: Box::new(status.clone()) });
        self.notes.extend(job.notes.take().into_iter().map(|note| (id, note)));
        let spec = job.spec;
        self.discarded.add(job.stages);
        self.out.push(Action::JobEnded { job: id, status: Box::new(status.clone()), collected, workers });
        self.remember(id, Ended { spec, status });
    }
}
