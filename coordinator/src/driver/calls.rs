//! Answers to questions of clients and services: they change no state.

use crate::driver::Driver;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch;
use windrow_model::{
    Code, Digest, Failure, JobFilter, JobId, JobState, JobStatus, WorkerId, WorkerState, WorkerStatus,
};
use windrow_scheduler::Collected;

impl Driver {
    pub(crate) fn status(&self, job: JobId) -> Result<JobStatus, Failure> {
        self.job_states.find(job, || self.scheduler.status(job, self.clock.now()))
    }

    pub(crate) fn watch(&mut self, job: JobId) -> Result<watch::Receiver<JobStatus>, Failure> {
        let status = self.status(job)?;
        if self.job_states.past(job).is_some() {
            // The stream of an ended job has one status.
            return Ok(watch::channel(status).1);
        }
        Ok(self.watchers.watch(job, status))
    }

    pub(crate) fn list(&self, filter: &JobFilter) -> (Vec<JobStatus>, u64) {
        self.job_states.list(filter, self.scheduler.statuses(self.clock.now()))
    }

    pub(crate) fn collected(&self, job: JobId) -> Result<Collected, Failure> {
        let status = self.status(job)?;
        match (status.state, status.error) {
            (JobState::Done, _) => {}
            (_, Some(failure)) => return Err(failure),
            (state, None) => {
                return Err(Failure::new(Code::BadRequest, format!("{job} is {}, not done", state.as_str())));
            }
        }
        if self.job_states.past(job).is_some_and(|past| past.collects == Some(false)) {
            return Ok(Vec::new());
        }
        self.results
            .get(job)
            .map(|result| result.collected.clone())
            .ok_or_else(|| Failure::new(Code::JobNotFound, format!("the result of {job} is not kept any more")))
    }

    pub(crate) fn known_tasks(&self) -> BTreeMap<JobId, u64> {
        let now = self.clock.now();
        let tasks = |job: &JobId| self.scheduler.status(*job, now).map_or(0, |status| status.tasks.total);
        self.jobs.active().map(|job| (job, tasks(&job))).collect()
    }

    pub(crate) fn artifacts_in_use(&self) -> BTreeSet<Digest> {
        let specs = self.jobs.active().filter_map(|job| self.scheduler.spec(job));
        specs.flat_map(|spec| std::iter::once(spec.binary).chain(spec.plan.sides.iter().map(|s| s.digest))).collect()
    }

    pub(crate) fn log_holders(&self, job: JobId) -> Result<Vec<(WorkerId, String)>, Failure> {
        self.status(job)?;
        let workers = self.ran_on.workers(job);
        Ok(workers.filter_map(|w| Some((w, self.scheduler.worker_address(w)?.to_string()))).collect())
    }

    /// Workers as lists show them. The reason why a worker drains is in its session.
    pub(crate) fn workers(&self) -> Vec<WorkerStatus> {
        let mut workers = self.scheduler.workers();
        for worker in workers.iter_mut().filter(|w| w.state == WorkerState::Draining) {
            if let Some(waits_for) = self.sessions.waits_for(worker.id) {
                worker.reason = Some(waits_for);
            }
        }
        workers
    }
}
