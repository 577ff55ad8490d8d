//! How jobs stand for everyone outside: what calls and watchers are answered comes from here and from nowhere else.
//!
//! A state is shown when it is in the journal. Only the journal's thread makes a [`Durable`], and nothing here advances without
//! one, so no call can report what a crash would take back. The scheduler adds numbers (tasks, bytes, counters) to a state that is
//! durable; a state of its own that is not durable yet is shown as the one before.

use crate::journal::Durable;
use std::collections::BTreeMap;
use windrow_model::{Code, Digest, Failure, JobFilter, JobId, JobState, JobStatus, StageStatus, TaskTotals};

/// A job whose end is durable.
pub(crate) struct Past {
    pub status: JobStatus,
    /// Of its spec; unknown for jobs of earlier releases.
    pub spec: Option<Digest>,
    /// Whether it collects anything; unknown for jobs of earlier releases.
    pub collects: Option<bool>,
}

#[derive(Default)]
pub(crate) struct JobView {
    /// The last durable state of each job that has not ended.
    active: BTreeMap<JobId, JobState>,
    past: BTreeMap<JobId, Past>,
}

impl JobView {
    /// What the journal had when this life began.
    pub fn new(past: BTreeMap<JobId, Past>, active: BTreeMap<JobId, JobState>) -> Self {
        JobView { active, past }
    }

    /// The journal has this state of a job that goes on, which is shown from now on. States do not go back.
    pub fn advance(&mut self, job: JobId, state: JobState, _: Durable) {
        assert!(!state.is_final(), "an end comes with its status");
        if self.past.contains_key(&job) {
            return;
        }
        let shown = self.active.entry(job).or_insert(state);
        if rank(state) > rank(*shown) {
            *shown = state;
        }
    }

    /// The journal has the end of a job.
    pub fn end(&mut self, job: JobId, past: Past, _: Durable) {
        self.active.remove(&job);
        self.past.insert(job, past);
    }

    /// A job whose end is durable.
    pub fn past(&self, job: JobId) -> Option<&Past> {
        self.past.get(&job)
    }

    /// How many there are of them.
    pub fn past_count(&self) -> usize {
        self.past.len()
    }

    /// The oldest of them that `may_go`.
    pub fn forget_oldest(&mut self, may_go: impl Fn(JobId) -> bool) -> Option<JobId> {
        let oldest = self.past.keys().copied().find(|job| may_go(*job))?;
        self.past.remove(&oldest);
        Some(oldest)
    }

    /// How a job stands, if the journal has it. `live`: what the scheduler knows of it.
    pub fn status(&self, job: JobId, live: impl FnOnce() -> Option<JobStatus>) -> Option<JobStatus> {
        if let Some(past) = self.past.get(&job) {
            return Some(past.status.clone());
        }
        let durable = *self.active.get(&job)?;
        live().map(|status| at_most(status, durable))
    }

    /// The same for a call that names the job.
    pub fn find(&self, job: JobId, live: impl FnOnce() -> Option<JobStatus>) -> Result<JobStatus, Failure> {
        self.status(job, live).ok_or_else(|| Failure::new(Code::JobNotFound, format!("there is no {job}")))
    }

    /// The jobs that the filter admits, by id, and how many there are beyond its limit, too. `live`: of all jobs that the scheduler
    /// knows.
    pub fn list(&self, filter: &JobFilter, live: Vec<JobStatus>) -> (Vec<JobStatus>, u64) {
        let mut active = BTreeMap::new();
        for status in live {
            if let Some(durable) = self.active.get(&status.id) {
                active.insert(status.id, at_most(status, *durable));
            }
        }
        let past = self.past.iter().map(|(id, past)| (*id, &past.status));
        let mut all: BTreeMap<JobId, &JobStatus> = past.collect();
        all.extend(active.iter().map(|(id, status)| (*id, status)));
        all.retain(|_, status| filter.admits(status));
        let admitted = all.len();
        let skipped = filter.limit.map_or(0, |limit| admitted.saturating_sub(limit as usize));
        // Failed attempts are told of one job at a time: a list of thousands would not fit into a message.
        let shown = all.into_values().skip(skipped).map(|s| JobStatus { failures: Vec::new(), ..s.clone() });
        (shown.collect(), admitted as u64)
    }
}

fn rank(state: JobState) -> u8 {
    match state {
        JobState::Planning => 0,
        JobState::Running => 1,
        JobState::Committing => 2,
        JobState::Done | JobState::Failed | JobState::Cancelled => 3,
    }
}

/// A status whose state is not beyond one that is durable.
fn at_most(mut status: JobStatus, durable: JobState) -> JobStatus {
    if rank(status.state) <= rank(durable) {
        return status;
    }
    if status.state.is_final() {
        status.error = None;
        status.waiting = None;
    }
    status.state = durable;
    if durable == JobState::Planning {
        // Tasks are there when it is durable how the inputs were cut.
        status.tasks = TaskTotals::default();
        let named = |s: StageStatus| StageStatus { label: s.label, ..StageStatus::default() };
        status.stages = status.stages.into_iter().map(named).collect();
    }
    status
}
