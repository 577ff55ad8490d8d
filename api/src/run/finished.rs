//! The result of a finished job.

use crate::data::arena::Arena;
use crate::data::datum::{Datum, Reader};
use crate::error::{Error, Result};
use windrow_model::{Code, JobStatus};

/// The final status of a job and its collected results.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The final status.
    pub status: JobStatus,
    /// Results by name, in plan order; one blob for each task.
    pub(crate) collected: Vec<(String, Vec<Vec<u8>>)>,
}

impl Finished {
    /// All records of `collect(name)`, in order. The type must be the collected one.
    ///
    /// # Errors
    /// `BAD_REQUEST` if the job collects nothing under this name, or records of another type.
    pub fn collected<R: Datum>(&self, name: &str) -> Result<Vec<R>> {
        let mut found = false;
        let mut records = Vec::new();
        let mut arena = Arena::new();
        for (_, blobs) in self.collected.iter().filter(|(n, _)| n == name) {
            found = true;
            for bytes in blobs.iter().flat_map(|b| crate::plan::op::records_of(b)) {
                let record = R::decode::<true>(&mut Reader::new(bytes, &arena)).map_err(|e| {
                    Error::new(Code::BadRequest, format!("`{name}` collected records of another type: {e}"))
                })?;
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

    /// The value of a counter of the job or the engine.
    pub fn counter(&self, name: &str) -> u64 {
        self.status.counters.get(name)
    }
}
