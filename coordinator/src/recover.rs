//! The start of a coordinator: it reads the jobs of earlier epochs, the datasets and the workers.
//!
//! Jobs that had not ended continue. Their outputs are claimed again before a client can submit another job to them, and their
//! stagings are looked for: a job whose staging is gone ends with `INTERRUPTED`. A job whose commit has begun does not:
//! its outputs may be whole, so it stays `committing` until they can be read, or an operator decides.

mod earlier_jobs;

use crate::claims::Claims;
use crate::error::Error;
use crate::job_states::{PAST_MAX, Past};
use crate::journal::{Identity, JobRecord, JobStore, KeptResult, PublishedTask, RunningJob};
use crate::staged_outputs::StagedOutputs;
use crate::wall_clock::unix_ms;
use earlier_jobs::EarlierJobs;
use std::collections::{BTreeMap, BTreeSet};
use windrow_failpoint::crashpoint;
use windrow_model::{Dataset, Epoch, JobId, JobState, WorkerId};
use windrow_scheduler::RestoredJob;
use windrow_store::StorageCalls;

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
    let collected = store.load_collected()?;
    let mut forgotten = take_oldest(&mut records, &collected);
    let mut jobs = EarlierJobs::new(claims, storage, collected);
    let unfinished = jobs.take_ended(records, &mut rows);
    jobs.continue_all(store, unfinished).await?;
    // Rows without a record: the submits of those jobs were not answered.
    forgotten.extend(rows.into_keys());
    crashpoint!("recover.before-forget");
    if !forgotten.is_empty() {
        store.forget(&forgotten)?;
    }
    if !jobs.over.is_empty() {
        store.write(&jobs.over)?;
    }
    crashpoint!("recover.done");
    if !jobs.running.is_empty() {
        tracing::info!("{} jobs continue", jobs.running.len());
    }
    let (datasets, workers) = (store.load_datasets()?, store.load_workers()?);
    let EarlierJobs { past, running, mut collected, .. } = jobs;
    // Rows of earlier releases do not say when their job ended.
    let now = unix_ms();
    collected.iter_mut().filter(|(_, r)| r.ended_unix_ms == 0).for_each(|(_, r)| r.ended_unix_ms = now);
    collected.retain(|(job, _)| past.contains_key(job));
    Ok(Recovered { epoch, identity, past, running, datasets, workers, collected })
}

/// Removes the oldest ended jobs beyond [`PAST_MAX`] records. Those whose result waits for its client stay longest.
fn take_oldest(records: &mut Vec<JobRecord>, collected: &[(JobId, KeptResult)]) -> Vec<JobId> {
    let waits: BTreeSet<JobId> = collected.iter().filter(|(_, r)| !r.fetched).map(|(job, _)| *job).collect();
    let may_go = |r: &JobRecord| r.status.state.is_final() && !waits.contains(&r.status.id);
    let mut taken = Vec::new();
    // Ids sort by the time of submission.
    for _ in 0..records.len().saturating_sub(PAST_MAX) {
        let oldest = records.iter().position(may_go);
        taken.extend(oldest.map(|at| records.remove(at).status.id));
    }
    taken
}
