//! A store that forgets everything with its process: for tests.

use super::{DatasetChange, JobRecord, JobStore, Record};
use crate::error::Error;
use std::collections::BTreeMap;
use windrow_model::{Dataset, Epoch, JobId};

/// Records in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    epoch: u64,
    jobs: BTreeMap<JobId, JobRecord>,
    datasets: BTreeMap<String, Dataset>,
}

impl JobStore for MemoryStore {
    fn begin_epoch(&mut self) -> Result<Epoch, Error> {
        self.epoch += 1;
        Ok(Epoch(self.epoch))
    }
    fn load(&mut self) -> Result<Vec<JobRecord>, Error> {
        Ok(self.jobs.values().cloned().collect())
    }
    fn load_datasets(&mut self) -> Result<Vec<Dataset>, Error> {
        Ok(self.datasets.values().cloned().collect())
    }
    fn write(&mut self, records: &[Record]) -> Result<(), Error> {
        for record in records {
            match record {
                Record::Job(job) => drop(self.jobs.insert(job.status.id, (**job).clone())),
                Record::Dataset(DatasetChange::Put(d)) => drop(self.datasets.insert(d.name.clone(), d.clone())),
                Record::Dataset(DatasetChange::Removed(name)) => drop(self.datasets.remove(name)),
            }
        }
        Ok(())
    }
    fn forget(&mut self, jobs: &[JobId]) -> Result<(), Error> {
        self.jobs.retain(|id, _| !jobs.contains(id));
        Ok(())
    }
}
