//! A store that forgets everything with its process: for tests.

use super::{JobRecord, JobStore};
use crate::error::Error;
use std::collections::BTreeMap;
use windrow_model::{Epoch, JobId};

/// Records in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    epoch: u64,
    jobs: BTreeMap<JobId, JobRecord>,
}

impl JobStore for MemoryStore {
    fn begin_epoch(&mut self) -> Result<Epoch, Error> {
        self.epoch += 1;
        Ok(Epoch(self.epoch))
    }
    fn load(&mut self) -> Result<Vec<JobRecord>, Error> {
        Ok(self.jobs.values().cloned().collect())
    }
    fn write(&mut self, records: &[JobRecord]) -> Result<(), Error> {
        self.jobs.extend(records.iter().map(|r| (r.status.id, r.clone())));
        Ok(())
    }
    fn forget(&mut self, jobs: &[JobId]) -> Result<(), Error> {
        self.jobs.retain(|id, _| !jobs.contains(id));
        Ok(())
    }
}
