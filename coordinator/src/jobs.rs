//! The table of jobs: every job that has not ended, and those whose end is being recorded. Pure.
//!
//! `phase.rs` says what a phase is, `transitions.rs` which follows which. A phase changes only there, and the sets of jobs that the
//! driver looks at on every turn change with it.

mod commit;
mod phase;
mod prepared;
mod transitions;

pub(crate) use commit::{CommitWork, TryState};
pub(crate) use phase::{Awaited, End, LateThread};
pub(crate) use prepared::{DatasetOutput, EarlierCommit, Outputs};
pub(crate) use transitions::{Restoring, SplitStart};

use commit::CommitStep;
use phase::{JobPhase, Wait};
use prepared::Prepared;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use windrow_model::{JobId, Time};
use windrow_store::ListedTotal;

/// One job.
struct Job {
    phase: JobPhase,
    /// Tries of planning or committing that the journal counts: those that have not ended.
    tries: u32,
    /// Bytes of its spec in memory.
    spec_bytes: usize,
}

/// The table.
#[derive(Default)]
pub(crate) struct Jobs {
    table: BTreeMap<JobId, Job>,
    index: Index,
    active: usize,
    spec_bytes: usize,
    /// Memory of the lists of inputs of the jobs that are planned.
    listed: Arc<ListedTotal>,
}

/// The jobs in phases that no message of their own ends: the driver examines these on each turn.
#[derive(Debug, Default, PartialEq)]
struct Index {
    /// They wait for datasets.
    for_datasets: BTreeSet<JobId>,
    /// They run, and have attempts whose chunks are being copied.
    copying: BTreeSet<JobId>,
    /// They commit, and wait for their chunks.
    for_chunks: BTreeSet<JobId>,
    /// They commit, and the next try begins at this time.
    pauses: BTreeSet<(Time, JobId)>,
}

impl Index {
    fn add(&mut self, job: JobId, phase: &JobPhase) {
        self.set(job, phase, true);
    }

    fn remove(&mut self, job: JobId, phase: &JobPhase) {
        self.set(job, phase, false);
    }

    fn set(&mut self, job: JobId, phase: &JobPhase, is_in: bool) {
        let set = match phase {
            JobPhase::Waiting(Wait::Datasets) => &mut self.for_datasets,
            JobPhase::Running(running) if !running.publishing.is_empty() => &mut self.copying,
            JobPhase::Committing(committing) => match &committing.step {
                CommitStep::Chunks { .. } => &mut self.for_chunks,
                CommitStep::Folders(folders) => {
                    if let TryState::Paused { until } = folders.state {
                        match is_in {
                            true => self.pauses.insert((until, job)),
                            false => self.pauses.remove(&(until, job)),
                        };
                    }
                    return;
                }
                CommitStep::Datasets => return,
            },
            _ => return,
        };
        match is_in {
            true => set.insert(job),
            false => set.remove(&job),
        };
    }
}

impl Jobs {
    /// An empty table, whose jobs' lists of inputs may take this many bytes together while they are planned.
    pub(crate) fn with_lists_of(bytes_max: u64) -> Jobs {
        Jobs { listed: Arc::new(ListedTotal::limited(bytes_max)), ..Jobs::default() }
    }

    fn phase(&self, id: JobId) -> Option<&JobPhase> {
        self.table.get(&id).map(|job| &job.phase)
    }

    /// Whether the job is in the table, in any phase.
    pub(crate) fn contains(&self, id: JobId) -> bool {
        self.table.contains_key(&id)
    }

    /// Whether the journal has not been given the job's end.
    pub(crate) fn is_active(&self, id: JobId) -> bool {
        self.phase(id).is_some_and(JobPhase::is_active)
    }

    /// Whether the scheduler has ended the job and the end is not durable.
    pub(crate) fn is_ending(&self, id: JobId) -> bool {
        matches!(self.phase(id), Some(JobPhase::Ending(_)))
    }

    /// Whether planning has not begun.
    pub(crate) fn is_waiting(&self, id: JobId) -> bool {
        matches!(self.phase(id), Some(JobPhase::Waiting(_)))
    }

    /// Whether a thread plans the job.
    pub(crate) fn is_splitting(&self, id: JobId) -> bool {
        matches!(self.phase(id), Some(JobPhase::Splitting { .. }))
    }

    /// Whether attempts may still leave chunks for the outputs: the beginning of the commit is not recorded.
    pub(crate) fn takes_chunks(&self, id: JobId) -> bool {
        matches!(self.phase(id), Some(JobPhase::Running(_) | JobPhase::Sealing(_)))
    }

    /// Jobs whose end the journal has not been given, by id.
    pub(crate) fn active(&self) -> impl Iterator<Item = JobId> + '_ {
        self.table.iter().filter(|(_, job)| job.phase.is_active()).map(|(id, _)| *id)
    }

    /// Number of them. O(1).
    pub(crate) fn active_count(&self) -> usize {
        self.active
    }

    /// Bytes of their specs in memory. O(1).
    pub(crate) fn spec_bytes(&self) -> usize {
        self.spec_bytes
    }

    /// The places of the job's outputs, while it has any.
    pub(crate) fn prepared(&self, id: JobId) -> Option<&Prepared> {
        self.phase(id)?.prepared()
    }

    /// The outputs that are datasets.
    pub(crate) fn outputs(&self, id: JobId) -> impl Iterator<Item = (&u32, &DatasetOutput)> {
        self.prepared(id).into_iter().flat_map(|prepared| &prepared.outputs)
    }

    /// The present try of the job's commit.
    pub(crate) fn commit_try(&self, id: JobId) -> Option<TryState> {
        match self.phase(id)? {
            JobPhase::Committing(committing) => Some(committing.folders()?.state),
            _ => None,
        }
    }

    /// Jobs that wait for datasets.
    pub(crate) fn for_datasets(&self) -> Vec<JobId> {
        self.index.for_datasets.iter().copied().collect()
    }

    /// Jobs that commit, and wait for their chunks.
    pub(crate) fn for_chunks(&self) -> Vec<JobId> {
        self.index.for_chunks.iter().copied().collect()
    }

    /// Jobs whose pause between two tries of the commit has ended at `now`.
    pub(crate) fn commits_due(&self, now: Time) -> Vec<JobId> {
        self.index.pauses.iter().take_while(|(until, _)| *until <= now).map(|(_, job)| *job).collect()
    }

    /// The time of the next try of a commit.
    pub(crate) fn next_commit(&self) -> Option<Time> {
        self.index.pauses.first().map(|(until, _)| *until)
    }

    /// Tries that are under way, each with the job's number of tries without it. An orderly stop subtracts them: they did not crash
    /// the coordinator.
    pub(crate) fn counted_tries(&self) -> Vec<(JobId, u32)> {
        let active = self.table.iter().filter(|(_, job)| job.phase.is_active());
        let counted = active.filter(|(_, job)| job.phase.counts_try());
        counted.filter_map(|(id, job)| Some((*id, job.tries.checked_sub(1)?))).collect()
    }

    /// Cancels the plans that are being made.
    pub(crate) fn cancel_plans(&self) {
        for job in self.table.values() {
            if let JobPhase::Splitting { steps, .. } = &job.phase {
                steps.cancel();
            }
        }
    }

    /// What every job has staged.
    pub(crate) fn into_staging(self) -> impl Iterator<Item = crate::staged_outputs::StagedOutputs> {
        self.table.into_values().map(|job| job.phase.into_staging()).filter(|staging| !staging.sinks.is_empty())
    }
}

#[cfg(test)]
#[path = "jobs/tests.rs"]
mod tests;
