//! The jobs of a binary, which executors make from their parameters.

use crate::error::{Error, Result};
use crate::plan::job::{AnyJob, Job};
use windrow_model::Code;

type FromParams = fn(&str) -> Result<Box<dyn AnyJob>>;

/// The jobs of a binary, by the names of their types.
#[derive(Default)]
pub(crate) struct Registry(Vec<(&'static str, FromParams)>);

impl Registry {
    pub(crate) fn make(&self, program: &str, params: &str) -> Result<Box<dyn AnyJob>> {
        let (_, make) = self
            .0
            .iter()
            .find(|(name, _)| *name == program)
            .ok_or_else(|| Error::new(Code::PlanMismatch, format!("this binary has no job `{program}`")))?;
        make(params)
    }
    pub(crate) fn add<J: Job>(&mut self) {
        fn from_params<J: Job>(params: &str) -> Result<Box<dyn AnyJob>> {
            Ok(Box::new(serde_json::from_str::<J>(params)?))
        }
        self.0.push((std::any::type_name::<J>(), from_params::<J>));
    }
}
