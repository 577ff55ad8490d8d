//! The store behind the journal's queue.

use super::record::{Identity, JobRecord, KeptResult, Record, RunningJob};
use crate::error::Error;
use std::io;
use windrow_model::{Dataset, Epoch, JobId, WorkerId};

/// Tables of jobs, datasets and workers, and the epoch; durable as far as the implementation is.
pub trait JobStore: Send {
    /// Begins an epoch. Returns its number, which is larger than every one before.
    fn begin_epoch(&mut self) -> Result<Epoch, Error>;
    /// Which journal this is. Only after `begin_epoch`.
    fn identity(&mut self) -> Result<Identity, Error>;
    /// Every job, by id.
    fn load(&mut self) -> Result<Vec<JobRecord>, Error>;
    /// What a restart needs to continue jobs, by id.
    fn load_running(&mut self) -> Result<Vec<RunningJob>, Error>;
    /// Results of collects that are kept, by job id.
    fn load_collected(&mut self) -> Result<Vec<(JobId, KeptResult)>, Error>;
    /// Every dataset, by name.
    fn load_datasets(&mut self) -> Result<Vec<Dataset>, Error>;
    /// Workers that had a session.
    fn load_workers(&mut self) -> Result<Vec<WorkerId>, Error>;
    /// Stores these records in their order, new or in place of old ones, all or none of them.
    fn write(&mut self, records: &[Record]) -> Result<(), Error>;
    /// Checks that the next start will find the journal at its path. Fast.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }
    /// Forgets these jobs.
    fn forget(&mut self, jobs: &[JobId]) -> Result<(), Error>;
    /// All rows as they are now, to be read by another thread while this store is written.
    fn snapshot(&mut self) -> Result<Snapshot, Error>;
}

/// Takes rows: table, key and value.
pub type TakeRow<'a> = &'a mut dyn FnMut(&str, &[u8], &[u8]) -> io::Result<()>;
/// Passes on every row of a journal as it was at one moment. Blocks.
pub type Snapshot = Box<dyn FnOnce(TakeRow<'_>) -> io::Result<()> + Send>;
