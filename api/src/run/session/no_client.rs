//! A build without the feature `client` reaches no cluster.

use crate::error::{Error, Result};
use crate::plan::job::AnyJob;
use crate::run::finished::Finished;
use crate::run::flags::RunFlags;
use windrow_model::{Code, Failure, JobStatus};

/// A connection that this build cannot make.
pub(super) enum Remote {}

impl Remote {
    /// # Errors
    /// `NO_CLIENT`, always: what a driver does with results runs in its own process, so nothing else can run it.
    pub(crate) fn connect(url: &str, _: &RunFlags) -> Result<Remote> {
        let message = format!("cannot connect to {url}: this driver is built without the feature `client` of windrow");
        Err(Error::new(Code::NoClient, message))
    }

    pub(super) fn remove_dataset(&self, _: &str) -> Result<(), Failure> {
        match *self {}
    }

    pub(crate) fn run(&self, _: &dyn AnyJob, _: &str, _: &RunFlags, _: impl FnMut(&JobStatus)) -> Result<Finished> {
        match *self {}
    }
}
