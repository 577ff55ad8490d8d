//! The start of a coordinator: it reads the jobs of earlier epochs, the datasets and the workers.
//!
//! Jobs that had not ended continue. Their outputs are claimed again before a client can submit another job to them, and their
//! stagings are looked for: a job whose staging is gone ends with `INTERRUPTED`. A job whose commit has begun does not:
//! its outputs may be whole, so it stays `committing` until they can be read, or an operator decides.
//!
//! Work on the paths of a job may end the process (a bug, a file system that makes it hang until it is killed). So each try is
//! recorded before it begins and again when it has ended; a job with [`TRIES_MAX`] tries without an end is over, with
//! `PLANNING_CRASHED`, and its paths are not touched again. A commit with [`COMMIT_TRIES_MAX`] of them waits for an operator.

use crate::claims::Claims;
use crate::earlier_staging::{find_staging, remove_staging, staged};
use crate::error::Error;
use crate::job_states::{PAST_MAX, Past};
use crate::journal::{Identity, JobRecord, JobStore, KeptResult, PublishedTask, Record, RunningJob};
use crate::staged_outputs::{StagedOutputs, StagedSink};
use crate::wall_clock::unix_ms;
use std::collections::{BTreeMap, BTreeSet};
use windrow_failpoint::crashpoint;
use windrow_model::{Code, Dataset, Epoch, Failure, JobId, JobState, JobStatus, WorkerId};
use windrow_scheduler::RestoredJob;
use windrow_store::{Receipts, StorageCalls};

/// Tries of planning or restoring a job that may end with the coordinator.
const TRIES_MAX: u32 = 2;
/// Tries of its commit that may end with the coordinator. More than for planning: an unrelated crash should not hold back outputs that
/// are nearly complete.
const COMMIT_TRIES_MAX: u32 = 5;

/// The state of earlier epochs.
pub(crate) struct Recovered {
    pub epoch: Epoch,
    pub identity: Identity,
    pub past: BTreeMap<JobId, Past>,
    /// In the order of submission.
    pub running: Vec<RecoveredJob>,
    pub datasets: Vec<Dataset>,
    pub workers: Vec<WorkerId>,
    /// By job id.
    pub collected: Vec<(JobId, KeptResult)>,
}

/// A job that continues.
pub(crate) struct RecoveredJob {
    pub job: RestoredJob,
    pub staging: StagedOutputs,
    /// The chunks that its finished tasks left for datasets.
    pub published: Vec<PublishedTask>,
    pub datasets_done: bool,
    /// Tries of planning or committing that have begun without an end.
    pub tries: u32,
    /// Its commit has ended the coordinator too often: an operator decides whether it is tried again.
    pub commit_held: Option<String>,
}

impl RecoveredJob {
    /// The last state that the journal has.
    pub(crate) fn state(&self) -> JobState {
        match (&self.job.split, self.job.sealed) {
            (_, true) => JobState::Committing,
            (Some(_), false) => JobState::Running,
            (None, false) => JobState::Planning,
        }
    }
}

/// Begins an epoch on this store. A job whose stagings lie on a file system that does not answer ends, too.
pub(crate) async fn recover(
    store: &mut dyn JobStore,
    claims: &Claims,
    storage: &StorageCalls,
) -> Result<Recovered, Error> {
    let epoch = store.begin_epoch()?;
    let identity = store.identity()?;
    let (cluster, revision) = (identity.cluster, identity.revision);
    tracing::info!(%cluster, %epoch, revision, "an epoch of the journal begins");
    let mut records = store.load()?;
    let mut rows: BTreeMap<JobId, RunningJob> = store.load_running()?.into_iter().map(|j| (j.spec.id, j)).collect();
    // Ids sort by the time of submission.
    let mut collected = store.load_collected()?;
    let waits: BTreeSet<JobId> = collected.iter().filter(|(_, r)| !r.fetched).map(|(job, _)| *job).collect();
    let old = records.len().saturating_sub(PAST_MAX);
    let mut forgotten: Vec<JobId> = Vec::new();
    for _ in 0..old {
        // Those whose result waits for its client go last.
        let may_go = |r: &JobRecord| r.status.state.is_final() && !waits.contains(&r.status.id);
        let oldest = records.iter().position(may_go);
        forgotten.extend(oldest.map(|at| records.remove(at).status.id));
    }
    let mut running = Vec::new();
    let mut past = BTreeMap::new();
    let mut over: Vec<Record> = Vec::new();
    let mut going_on: Vec<(JobRecord, RunningJob)> = Vec::new();
    for mut record in records {
        let id = record.status.id;
        if record.status.state.is_final() {
            past.insert(id, record.into());
            continue;
        }
        match rows.remove(&id) {
            Some(row) => going_on.push((record, row)),
            None => {
                let failure = Failure::new(Code::Internal, "the journal has only its name");
                interrupt(&mut record.status, Code::Interrupted, &failure);
                over.push(record.clone().into());
                past.insert(id, record.into());
            }
        }
    }
    // All tries at once if none has ended a coordinator before; else one after the other, so that the job which does is known.
    let fresh = |row: &RunningJob| row.tries == 0 && touches_paths(row);
    let begun: Vec<Record> =
        going_on.iter().filter(|(_, row)| fresh(row)).map(|(_, row)| Record::Tries(row.spec.id, 1)).collect();
    if !begun.is_empty() {
        store.write(&begun)?;
    }
    let mut ended: Vec<Record> = Vec::new();
    for (mut record, row) in going_on {
        let (id, tries) = (record.status.id, row.tries);
        let max = match record.status.state {
            JobState::Committing => COMMIT_TRIES_MAX,
            _ => TRIES_MAX,
        };
        let at = collected.iter().position(|(job, _)| *job == id);
        let commits_alone = commits_alone(&record, &row, at.map(|at| &collected[at].1));
        if tries >= max && commits_alone {
            // Its outputs may be whole: it is not over. Its paths are not touched.
            tracing::warn!(job = %id, tries, "the commit of a job has ended the coordinator: it waits for an operator");
            let result = at.map(|at| collected.swap_remove(at).1.collected).unwrap_or_default();
            running.push(held(&record, row, claims, result));
            continue;
        }
        if tries >= max {
            let what = format!("the coordinator ended {tries} times while it worked on the paths of the job");
            interrupt(&mut record.status, Code::PlanningCrashed, &Failure::new(Code::PlanningCrashed, what));
            over.push(record.clone().into());
            past.insert(id, record.into());
            continue;
        }
        let alone = tries > 0 && touches_paths(&row);
        if alone {
            store.write(&[Record::Tries(id, tries + 1)])?;
        }
        let was_fresh = fresh(&row);
        crashpoint!("recover.job");
        let result = at.map(|at| collected.swap_remove(at).1.collected);
        let outputs = staged(&row.spec.plan.sinks).map(|(index, sink)| (index, sink.path.clone().into())).collect();
        let receipts = receipts_of(&row.published);
        match go_on(&record, row, claims, storage, commits_alone).await {
            Ok(mut job) => {
                // If the commit has not begun, the tasks of the job report it once more.
                job.job.collected = result.filter(|_| job.job.sealed).unwrap_or_default();
                running.push(job);
            }
            Err(failure) => {
                claims.release(id);
                remove_staging(id, outputs, receipts, storage).await;
                interrupt(&mut record.status, Code::Interrupted, &failure);
                over.push(record.clone().into());
                past.insert(id, record.into());
            }
        }
        // The tries of a commit stay counted, since the commit is the next step.
        if alone {
            store.write(&[Record::Tries(id, tries)])?;
        } else if was_fresh {
            ended.push(Record::Tries(id, 0));
        }
    }
    over.extend(ended);
    // Rows without a record: the submits of those jobs were not answered.
    forgotten.extend(rows.into_keys());
    crashpoint!("recover.before-forget");
    if !forgotten.is_empty() {
        store.forget(&forgotten)?;
    }
    if !over.is_empty() {
        store.write(&over)?;
    }
    crashpoint!("recover.done");
    if !running.is_empty() {
        tracing::info!("{} jobs continue", running.len());
    }
    let (datasets, workers) = (store.load_datasets()?, store.load_workers()?);
    // Rows of earlier releases do not say when their job ended.
    let now = unix_ms();
    collected.iter_mut().filter(|(_, r)| r.ended_unix_ms == 0).for_each(|(_, r)| r.ended_unix_ms = now);
    collected.retain(|(job, _)| past.contains_key(job));
    Ok(Recovered { epoch, identity, past, running, datasets, workers, collected })
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
        // Another output of the same job has it, or the look has claimed it before it failed.
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
