//! The view of the state for pages and commands. It only reads.

use crate::action::{Collected, CollectedBlob};
use crate::job::Job;
use crate::state::State;
use windrow_model::{
    Failure, JobId, JobSpec, JobState, JobStatus, LeftOut, OutputReport, Port, StageStatus, TaskTotals, Time, WorkerId,
};

impl Job {
    /// The status of the job at `now`, in time linear in its stages, not its tasks.
    pub(crate) fn status(&self, now: Time) -> JobStatus {
        let stages: Vec<StageStatus> = match self.state {
            _ if self.stages.is_empty() => self.spec.plan.stages.iter().map(|s| named(&s.label)).collect(),
            _ => self.stages.iter().zip(&self.spec.plan.stages).map(|(s, plan)| s.status(&plan.label)).collect(),
        };
        let mut tasks = TaskTotals::default();
        for stage in &stages {
            tasks.total += stage.tasks.total;
            tasks.done += stage.tasks.done;
            tasks.running += stage.tasks.running;
            tasks.failed += stage.tasks.failed;
        }
        JobStatus {
            id: self.spec.id,
            name: self.spec.name.clone(),
            state: self.state,
            stages,
            tasks,
            attempts: self.attempts,
            backups: self.backups,
            counters: self.counters.clone(),
            error: None,
            waiting: None,
            outputs: self.spec.plan.sinks.iter().map(|s| s.path.clone()).collect(),
            submitted_unix_ms: self.submitted_unix_ms,
            elapsed_ms: self.elapsed_before_ms + now.since_ms(self.submitted),
            failures: self.failed.iter().cloned().collect(),
            left_out: Vec::new(),
        }
    }

    /// Collected results of the stages that are done.
    pub(crate) fn collected(&self) -> Collected {
        if !self.collected_before.is_empty() {
            return self.collected_before.clone();
        }
        let done = |port: Port| self.stages.get(port.stage.0 as usize).is_some_and(|s| s.is_done());
        let collects = self.spec.plan.collects.iter().filter(|c| done(c.from));
        collects.map(|c| (c.name.clone(), self.collected_from(c.from).collect())).collect()
    }

    fn collected_from(&self, port: Port) -> impl Iterator<Item = CollectedBlob> {
        let tasks = &self.stages[port.stage.0 as usize].tasks;
        tasks.iter().filter_map(move |t| match t.held.as_ref()?.outputs.get(port.output as usize)? {
            OutputReport::Broadcast(bytes) => Some(CollectedBlob::Inline(bytes.clone())),
            OutputReport::Stored(blob) => Some(CollectedBlob::Stored(*blob)),
            OutputReport::Edge(_) | OutputReport::Sink(_) => None,
        })
    }
}

impl crate::stage::Stage {
    fn status(&self, label: &str) -> StageStatus {
        let tasks = TaskTotals {
            total: self.tasks.len() as u64,
            done: self.done as u64,
            running: self.running as u64,
            failed: self.failed,
        };
        StageStatus {
            tasks,
            bytes_done: self.bytes_done,
            bytes_total: self.bytes_total,
            bytes_running: self.bytes_running,
            records: self.records,
            ..named(label)
        }
    }
}

fn named(label: &str) -> StageStatus {
    StageStatus { label: label.to_string(), ..StageStatus::default() }
}

impl State {
    pub(crate) fn status(&self, id: JobId, now: Time) -> Option<JobStatus> {
        match self.jobs.get(&id) {
            Some(job) => {
                Some(JobStatus { waiting: self.waits_for(job), left_out: self.list_left_out(job), ..job.status(now) })
            }
            None => self.history.get(&id).map(|ended| ended.status.clone()),
        }
    }

    pub(crate) fn statuses(&self, now: Time) -> Vec<JobStatus> {
        let ended = self.history.values().map(|e| e.status.clone());
        let live = self.jobs.values().map(|j| JobStatus { waiting: self.waits_for(j), ..j.status(now) });
        let mut all: Vec<JobStatus> = ended.chain(live).collect();
        all.sort_by_key(|s| s.id);
        all
    }

    pub(crate) fn spec(&self, id: JobId) -> Option<&JobSpec> {
        let ended = || self.history.get(&id).map(|e| &*e.spec);
        self.jobs.get(&id).map(|j| &*j.spec).or_else(ended)
    }

    /// The workers that the job leaves out, for its status.
    pub(crate) fn list_left_out(&self, job: &Job) -> Vec<LeftOut> {
        let one = |(worker, failure): (&WorkerId, &Failure)| LeftOut {
            worker: *worker,
            host: self.workers.get(*worker).map(|w| w.info.host.clone()).unwrap_or_default(),
            code: failure.code,
            message: failure.message.clone(),
        };
        job.left_out.iter().take(LeftOut::LISTED_MAX).map(one).collect()
    }

    /// Why a running job has no running task although some are ready, or why its commit waits.
    pub(crate) fn waits_for(&self, job: &Job) -> Option<String> {
        if job.state == JobState::Committing {
            return job.commit_waits.clone();
        }
        let waits = !job.runnable.is_empty() || !job.suspects.is_empty();
        let stuck = job.state == JobState::Running && job.slots == 0 && waits;
        if !stuck || self.workers.any_takes_tasks(|w| job.left_out.contains_key(w)) {
            return None;
        }
        if let Some(disks) = self.waits_for_disks(job) {
            return Some(disks);
        }
        if let Some((worker, failure)) = job.left_out.first_key_value() {
            let n = job.left_out.len();
            return Some(format!(
                "no worker takes its tasks: {n} do not see its files, one of them {worker}: {failure}"
            ));
        }
        let any = self.workers.iter().any(|(id, _)| self.workers.live(id).is_some());
        Some(match any {
            true => "no worker takes new tasks: every one drains or has no slots".to_string(),
            false => "no worker is registered: start one with `windrow worker`".to_string(),
        })
    }
}
