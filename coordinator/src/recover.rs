//! What a coordinator knows when it starts: the jobs of its earlier lives, and the datasets.
//!
//! Jobs that had not ended are over: they are listed as failed with `INTERRUPTED`, and what they had staged is removed.

use crate::driver::PAST_MAX;
use crate::error::Error;
use crate::journal::{JobStore, Record};
use crate::split::abandon;
use std::collections::BTreeMap;
use std::path::Path;
use windrow_model::dataset::dataset_name;
use windrow_model::{Code, Dataset, Epoch, Failure, JobId, JobState, JobStatus};
use windrow_store::Staging;

/// What is left of earlier lives.
pub(crate) struct Recovered {
    pub epoch: Epoch,
    pub past: BTreeMap<JobId, JobStatus>,
    pub datasets: Vec<Dataset>,
}

/// Begins a new life on this store.
pub(crate) fn recover(store: &mut dyn JobStore) -> Result<Recovered, Error> {
    let epoch = store.begin_epoch()?;
    let mut records = store.load()?;
    // Ids sort by the time of submission.
    let old = records.len().saturating_sub(PAST_MAX);
    if old > 0 {
        let forgotten: Vec<JobId> = records.drain(..old).map(|r| r.status.id).collect();
        store.forget(&forgotten)?;
    }
    let mut interrupted: Vec<Record> = Vec::new();
    for record in records.iter_mut().filter(|r| !r.status.state.is_final()) {
        interrupt(&mut record.status);
        interrupted.push(record.clone().into());
    }
    if !interrupted.is_empty() {
        tracing::warn!("{} jobs were running when the coordinator stopped", interrupted.len());
        store.write(&interrupted)?;
    }
    let datasets = store.load_datasets()?;
    Ok(Recovered { epoch, datasets, past: records.into_iter().map(|r| (r.status.id, r.status)).collect() })
}

fn interrupt(status: &mut JobStatus) {
    for output in status.outputs.iter().filter(|o| dataset_name(o).is_none()) {
        match Staging::at(Path::new(output), status.id) {
            Ok(staging) => abandon([&staging]),
            Err(e) => tracing::warn!(job = %status.id, "{e}"),
        }
    }
    status.state = JobState::Failed;
    status.waiting = None;
    status.tasks.running = 0;
    let what = "the coordinator stopped while the job ran; look at its outputs, and submit it again";
    status.error = Some(Failure::new(Code::Interrupted, what));
}
