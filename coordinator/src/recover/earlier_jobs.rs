//! Decides which jobs of earlier epochs continue.
//!
//! Work on the paths of a job may end the process (a bug, a file system that makes it hang until it is killed). So each
//! try is recorded before it begins and again when it has ended; a job with [`TRIES_MAX`] tries without an end is over,
//! with `PLANNING_CRASHED`, and its paths are not touched again. A commit with [`COMMIT_TRIES_MAX`] of them waits for an
//! operator.

use super::RecoveredJob;
use crate::claims::Claims;
use crate::earlier_staging::{find_staging, remove_staging, staged};
use crate::error::Error;
use crate::job_states::Past;
use crate::journal::{JobRecord, JobStore, KeptResult, PublishedTask, Record, RunningJob};
use crate::staged_outputs::{StagedOutputs, StagedSink};
use crate::wall_clock::unix_ms;
use std::collections::BTreeMap;
use windrow_failpoint::crashpoint;
use windrow_model::{Code, Failure, JobId, JobState, JobStatus};
use windrow_scheduler::RestoredJob;
use windrow_store::{Receipts, StorageCalls};

/// Tries of planning or restoring a job that may end with the coordinator.
const TRIES_MAX: u32 = 2;
/// Tries of its commit that may end with the coordinator. More than for planning: an unrelated crash should not hold back outputs that
/// are nearly complete.
const COMMIT_TRIES_MAX: u32 = 5;

/// The jobs of earlier epochs while it is decided which of them continue.
pub(super) struct EarlierJobs<'a> {
    claims: &'a Claims,
    storage: &'a StorageCalls,
    /// Results of ended jobs, and of jobs that commit.
    pub(super) collected: Vec<(JobId, KeptResult)>,
    pub(super) past: BTreeMap<JobId, Past>,
    pub(super) running: Vec<RecoveredJob>,
    /// Changes for the journal, which are written at the end.
    pub(super) over: Vec<Record>,
}

impl<'a> EarlierJobs<'a> {
    pub(super) fn new(claims: &'a Claims, storage: &'a StorageCalls, collected: Vec<(JobId, KeptResult)>) -> Self {
        EarlierJobs { claims, storage, collected, past: BTreeMap::new(), running: Vec::new(), over: Vec::new() }
    }

    /// Takes the ended jobs out, and returns the others with their rows.
    pub(super) fn take_ended(
        &mut self,
        records: Vec<JobRecord>,
        rows: &mut BTreeMap<JobId, RunningJob>,
    ) -> Vec<(JobRecord, RunningJob)> {
        let mut unfinished = Vec::new();
        for record in records {
            let id = record.status.id;
            if record.status.state.is_final() {
                self.past.insert(id, record.into());
                continue;
            }
            match rows.remove(&id) {
                Some(row) => unfinished.push((record, row)),
                None => {
                    let failure = Failure::new(Code::Internal, "the journal has only its name");
                    self.end(record, Code::Interrupted, &failure);
                }
            }
        }
        unfinished
    }

    /// Continues jobs. The tries of those that have none are recorded at once; the others are tried one after the other,
    /// so that the job which ends the coordinator is known.
    pub(super) async fn continue_all(
        &mut self,
        store: &mut dyn JobStore,
        unfinished: Vec<(JobRecord, RunningJob)>,
    ) -> Result<(), Error> {
        let is_fresh = |row: &RunningJob| row.tries == 0 && touches_paths(row);
        let fresh: Vec<JobId> =
            unfinished.iter().filter(|(_, row)| is_fresh(row)).map(|(_, row)| row.spec.id).collect();
        let tries = |tries: u32| fresh.iter().map(move |id| Record::Tries(*id, tries)).collect::<Vec<_>>();
        if !fresh.is_empty() {
            store.write(&tries(1))?;
        }
        for (record, row) in unfinished {
            let (id, tries) = (row.spec.id, row.tries);
            let tries_max = match record.status.state {
                JobState::Committing => COMMIT_TRIES_MAX,
                _ => TRIES_MAX,
            };
            if tries >= tries_max {
                self.give_up(record, row);
                continue;
            }
            let alone = tries > 0 && touches_paths(&row);
            if alone {
                store.write(&[Record::Tries(id, tries + 1)])?;
            }
            crashpoint!("recover.job");
            self.continue_one(record, row).await;
            // The tries of a commit stay counted, since the commit is the next step.
            if alone {
                store.write(&[Record::Tries(id, tries)])?;
            }
        }
        self.over.extend(tries(0));
        Ok(())
    }

    /// A job that has ended the coordinator too often. Its paths are not touched.
    fn give_up(&mut self, record: JobRecord, row: RunningJob) {
        let (id, tries) = (row.spec.id, row.tries);
        let at = self.result_of(id);
        if commits_alone(&record, &row, at.map(|at| &self.collected[at].1)) {
            // Its outputs may be whole, so it is not over.
            tracing::warn!(job = %id, tries, "the commit of a job has ended the coordinator: it waits for an operator");
            let result = at.map(|at| self.collected.swap_remove(at).1.collected).unwrap_or_default();
            self.running.push(held(&record, row, self.claims, result));
            return;
        }
        let what = format!("the coordinator ended {tries} times while it worked on the paths of the job");
        self.end(record, Code::PlanningCrashed, &Failure::new(Code::PlanningCrashed, what));
    }

    async fn continue_one(&mut self, record: JobRecord, row: RunningJob) {
        let id = row.spec.id;
        let at = self.result_of(id);
        let commits_alone = commits_alone(&record, &row, at.map(|at| &self.collected[at].1));
        let result = at.map(|at| self.collected.swap_remove(at).1.collected);
        let outputs = staged(&row.spec.plan.sinks).map(|(index, sink)| (index, sink.path.clone().into())).collect();
        let receipts = receipts_of(&row.published);
        match go_on(&record, row, self.claims, self.storage, commits_alone).await {
            Ok(mut job) => {
                // If the commit has not begun, the tasks of the job report it once more.
                job.job.collected = result.filter(|_| job.job.sealed).unwrap_or_default();
                self.running.push(job);
            }
            Err(failure) => {
                self.claims.release(id);
                remove_staging(id, outputs, receipts, self.storage).await;
                self.end(record, Code::Interrupted, &failure);
            }
        }
    }

    /// Ends a job in the journal too.
    fn end(&mut self, mut record: JobRecord, code: Code, why: &Failure) {
        interrupt(&mut record.status, code, why);
        self.over.push(record.clone().into());
        self.past.insert(record.status.id, record.into());
    }

    fn result_of(&self, job: JobId) -> Option<usize> {
        self.collected.iter().position(|(of, _)| *of == job)
    }
}

/// Whether the job may have stagings, which are looked for.
fn touches_paths(row: &RunningJob) -> bool {
    row.split.is_some()
}

/// Whether the commit of a job has begun and needs none of its tasks again: all that it has collected is on record.
fn commits_alone(record: &JobRecord, row: &RunningJob, result: Option<&KeptResult>) -> bool {
    let collected = result.map_or(0, |result| result.collected.len());
    record.status.state == JobState::Committing && row.split.is_some() && collected == row.spec.plan.collects.len()
}

/// A job whose commit waits for an operator.
fn held(record: &JobRecord, row: RunningJob, claims: &Claims, collected: windrow_scheduler::Collected) -> RecoveredJob {
    let (id, tries) = (row.spec.id, row.tries);
    claim_by_name(&row, claims);
    let mut recovered = recovered(record, row, Vec::new());
    recovered.job.collected = collected;
    recovered.commit_held = Some(format!(
        "the coordinator ended {tries} times during the commit: `windrow job commit {id}` tries it again, with --give-up it ends the job"
    ));
    recovered
}

/// Claims outputs that cannot be looked at now, by the paths that were given.
fn claim_by_name(row: &RunningJob, claims: &Claims) {
    for (_, sink) in staged(&row.spec.plan.sinks) {
        // Another output of the same job has it, or the check has claimed it before it failed.
        let _ = claims.claim(sink.path.as_ref(), row.spec.id);
    }
}

async fn go_on(
    record: &JobRecord,
    row: RunningJob,
    claims: &Claims,
    storage: &StorageCalls,
    commits_alone: bool,
) -> Result<RecoveredJob, Failure> {
    let sealed = record.status.state == JobState::Committing;
    // A job that was not split yet has staged nothing that is needed.
    let staging = match &row.split {
        Some(_) => find_staging(&row.spec, claims, sealed, storage).await,
        None => Ok(Vec::new()),
    };
    let staging = match staging {
        // Its outputs may be whole. The commit looks for them again, until their file system answers.
        Err(failure) if commits_alone => {
            tracing::warn!(job = %row.spec.id, "the outputs of a job that commits cannot be looked at: {failure}");
            claim_by_name(&row, claims);
            Vec::new()
        }
        found => found?,
    };
    Ok(recovered(record, row, staging))
}

fn recovered(record: &JobRecord, row: RunningJob, staging: Vec<StagedSink>) -> RecoveredJob {
    let RunningJob { spec, split, published, bad_records, failures, uncharged, datasets_done, tries } = row;
    let sealed = record.status.state == JobState::Committing;
    let submitted = record.status.submitted_unix_ms;
    let staging = StagedOutputs { sinks: staging, receipts: receipts_of(&published) };
    let job = RestoredJob {
        spec,
        unix_ms: submitted,
        // A clock that was set back makes it zero, not negative.
        elapsed_ms: unix_ms().saturating_sub(submitted),
        split,
        published: published.iter().map(|p| p.task.clone()).collect(),
        bad_records,
        failures,
        uncharged,
        sealed,
        collected: Vec::new(),
    };
    RecoveredJob { job, staging, published, datasets_done, tries, commit_held: None }
}

/// The receipts of the parts that finished tasks have placed.
fn receipts_of(published: &[PublishedTask]) -> Receipts {
    let mut receipts = Receipts::default();
    for done in published {
        done.receipts.iter().for_each(|(sink, receipt)| receipts.keep(*sink, done.task.attempt, receipt.clone()));
    }
    receipts
}

/// Ends the job. Touches no path.
fn interrupt(status: &mut JobStatus, code: Code, why: &Failure) {
    tracing::warn!(job = %status.id, code = code.as_str(), reason = ?why.message, "job cannot go on");
    status.state = JobState::Failed;
    status.waiting = None;
    status.tasks.running = 0;
    let what = format!("the coordinator stopped while the job ran, and it cannot go on: {}", why.message);
    status.error = Some(Failure::new(code, what));
}
