//! Which finished attempts are here, and where their files lie: what peers may fetch from.
//!
//! The node writes it, the services read it. An attempt is in it from its end until it is revoked or its job dropped.

use crate::scratch::AttemptFolder;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use windrow_model::{AttemptId, JobId};

/// Finished attempts by their full id, so that an older incarnation's attempt is another one.
#[derive(Clone, Debug, Default)]
pub struct Outputs(Arc<RwLock<HashMap<AttemptId, AttemptFolder>>>);

impl Outputs {
    /// From now on peers get this attempt's segments.
    pub fn insert(&self, attempt: AttemptId, folder: AttemptFolder) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(attempt, folder);
    }
    /// From now on they do not.
    pub fn remove(&self, attempt: &AttemptId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(attempt);
    }
    /// Removes all attempts of a job.
    pub fn remove_job(&self, job: JobId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|id, _| id.task.job != job);
    }
    /// Where a finished attempt's files lie.
    pub fn get(&self, attempt: &AttemptId) -> Option<AttemptFolder> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(attempt).cloned()
    }
}
