//! The states of jobs as calls and watchers see them.
//!
//! A state is shown when it is in the journal. Only the journal's thread makes a [`Durable`], and no state advances without one, so no
//! call can report a state that a crash would undo. The scheduler adds numbers (tasks, bytes, counters) to a durable state; a state of
//! its own that is not durable yet is shown as the one before.

use crate::journal::{Durable, JobRecord};
use std::collections::BTreeMap;
use windrow_model::{Code, Digest, Failure, JobFilter, JobId, JobState, JobStatus, KeptBytes, StageStatus, TaskTotals};
use windrow_web::{JobsPart, JobsQuery};

/// Most ended jobs that are listed.
pub(crate) const PAST_MAX: usize = 10_000;
/// Most bytes of memory for the statuses of ended jobs. Users write the messages in them.
const PAST_BYTES_MAX: usize = 256 << 20;
/// Most bytes of one job in a list; a larger one is listed without its stages, outputs and counters.
const LISTED_BYTES_MAX: usize = 4 << 20;
/// Most bytes of a list of jobs, which must fit into a message.
const LIST_BYTES_MAX: usize = 32 << 20;

/// A job whose end is durable.
pub(crate) struct Past {
    pub status: JobStatus,
    /// Of its spec; unknown for jobs of earlier releases.
    pub spec: Option<Digest>,
    /// Whether it collects anything; unknown for jobs of earlier releases.
    pub collects: Option<bool>,
}

impl From<JobRecord> for Past {
    fn from(record: JobRecord) -> Past {
        Past { status: record.status, spec: record.spec, collects: record.collects }
    }
}

#[derive(Default)]
pub(crate) struct JobStates {
    /// The last durable state of each job that has not ended.
    active: BTreeMap<JobId, JobState>,
    past: BTreeMap<JobId, Past>,
    past_bytes: usize,
}

/// The bounds on ended jobs: once, or twice for those whose results no client has read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Once,
    Twice,
}

impl JobStates {
    /// The states in the journal when this epoch began.
    pub(crate) fn new(past: BTreeMap<JobId, Past>, active: BTreeMap<JobId, JobState>) -> Self {
        let past_bytes = past.values().map(|past| past.status.kept_bytes()).sum();
        JobStates { active, past, past_bytes }
    }

    /// The journal has this state of a job that has not ended: it is shown from now on. States do not go back.
    pub(crate) fn advance(&mut self, job: JobId, state: JobState, _: Durable) {
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
    pub(crate) fn end(&mut self, job: JobId, past: Past, _: Durable) {
        self.active.remove(&job);
        self.past_bytes += past.status.kept_bytes();
        if let Some(before) = self.past.insert(job, past) {
            self.past_bytes -= before.status.kept_bytes();
        }
    }

    /// A job whose end is durable.
    pub(crate) fn past(&self, job: JobId) -> Option<&Past> {
        self.past.get(&job)
    }

    /// Whether there are more ended jobs than are listed, or their statuses take too much memory.
    pub(crate) fn is_beyond(&self, bound: Bound) -> bool {
        let times = if bound == Bound::Once { 1 } else { 2 };
        self.past.len() > times * PAST_MAX || self.past_bytes > times * PAST_BYTES_MAX && self.past.len() > 1
    }

    /// Forgets the oldest ended job that `may_go`, and returns it.
    pub(crate) fn forget_oldest(&mut self, may_go: impl Fn(JobId) -> bool) -> Option<JobId> {
        let oldest = self.past.keys().copied().find(|job| may_go(*job))?;
        if let Some(past) = self.past.remove(&oldest) {
            self.past_bytes -= past.status.kept_bytes();
        }
        Some(oldest)
    }

    /// The status of a job, if the journal has it. `live`: its status in the scheduler.
    pub(crate) fn status(&self, job: JobId, live: impl FnOnce() -> Option<JobStatus>) -> Option<JobStatus> {
        if let Some(past) = self.past.get(&job) {
            return Some(past.status.clone());
        }
        let durable = *self.active.get(&job)?;
        live().map(|status| at_most(status, durable))
    }

    /// Like `status`; `JOB_NOT_FOUND` for a job that is not shown.
    pub(crate) fn find(&self, job: JobId, live: impl FnOnce() -> Option<JobStatus>) -> Result<JobStatus, Failure> {
        self.status(job, live).ok_or_else(|| Failure::new(Code::JobNotFound, format!("there is no {job}")))
    }

    /// The latest jobs that the filter admits, by id, as many as its limit and a message allow, and the number of all that it admits.
    /// `live`: the statuses of all jobs in the scheduler.
    pub(crate) fn list(&self, filter: &JobFilter, live: Vec<JobStatus>) -> (Vec<JobStatus>, u64) {
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
        let mut bytes = 0;
        let shown = all.into_values().skip(skipped).rev().map(listed).take_while(|status| {
            bytes += status.kept_bytes();
            bytes <= LIST_BYTES_MAX
        });
        let mut shown: Vec<JobStatus> = shown.collect();
        shown.reverse();
        (shown, admitted as u64)
    }

    /// A part of the list of all jobs, for a page. `live`: the statuses of jobs in the scheduler that have not ended. Copies only the
    /// jobs of the part.
    pub(crate) fn part(&self, query: &JobsQuery, live: impl Iterator<Item = JobStatus>) -> JobsPart {
        let durable = |status: JobStatus| self.active.get(&status.id).map(|state| at_most(status, *state));
        let active: Vec<JobStatus> = live.filter_map(durable).collect();
        let past = self.past.values().map(|past| &past.status);
        let selected = query.select(past.chain(&active));
        let jobs = selected.jobs.into_iter().map(listed).collect();
        JobsPart { jobs, admitted: selected.admitted, by_state: selected.by_state }
    }
}

/// A status as lists show it, without failed attempts and with short messages: those of thousands of jobs would not fit into a message.
fn listed(status: &JobStatus) -> JobStatus {
    let error = status.error.clone().map(|failure| failure.cut_to(Failure::LISTED_BYTES_MAX));
    let mut listed = JobStatus { failures: Vec::new(), error, ..status.clone() };
    if listed.kept_bytes() > LISTED_BYTES_MAX {
        (listed.stages, listed.outputs, listed.counters) = Default::default();
    }
    listed
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

#[cfg(test)]
mod tests {
    use super::*;

    fn job(n: u16) -> JobId {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        JobId::from_bytes(bytes)
    }

    /// Ended jobs, each with texts of these lengths.
    fn states(jobs: u16, message: usize, label: usize) -> JobStates {
        let past = |n| {
            let failure = Failure::new(Code::UserError, "m".repeat(message));
            let stage = StageStatus { label: "s".repeat(label), ..StageStatus::default() };
            let ended = JobStatus::new(job(n), JobState::Failed);
            let status = JobStatus { stages: vec![stage], error: Some(failure), ..ended };
            (job(n), Past { status, spec: None, collects: None })
        };
        JobStates::new((0..jobs).map(past).collect(), BTreeMap::new())
    }

    #[test]
    fn list_fits_into_a_message_whatever_jobs_say() {
        for (message, label, least) in [(60 << 10, 10, 1_000), (10, 400 << 10, 50), (10, 10 << 20, 100)] {
            let jobs = if message > label { 1_000 } else { 100 };
            let (shown, admitted) = states(jobs, message, label).list(&JobFilter::default(), Vec::new());
            assert_eq!(admitted, u64::from(jobs));
            let bytes: usize = shown.iter().map(KeptBytes::kept_bytes).sum();
            assert!(bytes <= LIST_BYTES_MAX, "{bytes}");
            assert!(shown.len() >= least, "{}", shown.len());
            assert_eq!(shown.last().map(|s| s.id), Some(job(jobs - 1)), "the latest ones");
        }
    }

    #[test]
    fn ended_jobs_are_kept_within_bounds_of_memory() {
        let mut states = states(5, 100 << 20, 10);
        while states.is_beyond(Bound::Once) {
            states.forget_oldest(|_| true);
        }
        assert_eq!(states.past.keys().copied().collect::<Vec<_>>(), [job(3), job(4)]);
        let kept: usize = states.past.values().map(|past| past.status.kept_bytes()).sum();
        assert_eq!(states.past_bytes, kept);
    }
}
