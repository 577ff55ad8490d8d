//! What is left of a job that is done.

use crate::arena::Arena;
use crate::datum::{Datum, Reader};
use crate::error::{Error, Result};
use windrow_model::{Code, JobStatus};

/// The end of a job: its status and what it collected.
#[derive(Clone, Debug)]
pub struct Finished {
    pub status: JobStatus,
    /// By name, in plan order; one blob for each task.
    pub(crate) collected: Vec<(String, Vec<Vec<u8>>)>,
}

impl Finished {
    /// Every record that `collect(name)` brought, in order. The type must be the one that was collected.
    pub fn collected<R: Datum>(&self, name: &str) -> Result<Vec<R>> {
        let mut found = false;
        let mut records = Vec::new();
        let mut arena = Arena::new();
        for (_, blobs) in self.collected.iter().filter(|(n, _)| n == name) {
            found = true;
            for bytes in blobs.iter().flat_map(|b| crate::op::records_of(b)) {
                let record = R::decode::<true>(&mut Reader::new(bytes, &arena))
                    .map_err(|e| Error::new(Code::BadRequest, format!("`{name}` collected something else: {e}")))?;
                records.push(R::to_owned(record));
                arena.reset();
            }
        }
        if found {
            Ok(records)
        } else {
            Err(Error::new(Code::BadRequest, format!("the job collects nothing under the name `{name}`")))
        }
    }

    /// A counter of the job, or of the engine.
    pub fn counter(&self, name: &str) -> u64 {
        self.status.counters.get(name)
    }
}
