//! The finished attempts that peers may fetch from, with the location of their files.
//!
//! The node writes it, the services read it. It holds an attempt from its end until it is revoked or its job is
//! dropped.

use crate::scratch::AttemptFolder;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use windrow_model::{AttemptId, JobId};

/// Finished attempts by their full id, so that an older incarnation's attempt is another one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outputs(Arc<RwLock<HashMap<AttemptId, AttemptFolder>>>);

impl Outputs {
    /// Peers get this attempt's segments from now on.
    pub(crate) fn insert(&self, attempt: AttemptId, folder: AttemptFolder) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(attempt, folder);
    }
    /// Peers no longer get them.
    pub(crate) fn remove(&self, attempt: &AttemptId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(attempt);
    }
    /// Removes all attempts of a job.
    pub(crate) fn remove_job(&self, job: JobId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|id, _| id.task.job != job);
    }
    /// The location of a finished attempt's files.
    pub(crate) fn get(&self, attempt: &AttemptId) -> Option<AttemptFolder> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(attempt).cloned()
    }
}
