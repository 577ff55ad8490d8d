//! Runs jobs in the process of a test, in a private folder: without a process of their own, signals or reports.

use crate::error::Result;
use crate::plan::build::build_under_test;
use crate::plan::captured::Captured;
use crate::plan::flow::Built;
use crate::plan::job::AnyJob;
use crate::run::finished::Finished;
use crate::run::local::{self, LocalOptions};
use crate::run::task_run::StageTable;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use windrow_model::JobOptions;

/// What a job under test may use.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub threads: usize,
    pub memory_bytes: u64,
    pub job: JobOptions,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { threads: 2, memory_bytes: 64 << 20, job: JobOptions::default() }
    }
}

/// The folder of jobs under test, and what their sinks have written.
#[derive(Clone)]
pub(crate) struct UnderTest {
    /// Relative paths of the jobs begin here.
    pub base: PathBuf,
    /// Folder of temporary files.
    pub scratch: PathBuf,
    pub limits: Limits,
    pub captured: Arc<Captured>,
}

impl UnderTest {
    /// Runs a job. It replaces earlier outputs.
    pub(crate) fn run(&self, job: &dyn AnyJob) -> Result<Finished> {
        run_built(build_under_test(job, &self.base, &self.captured)?, &self.scratch, &self.limits)
    }
}

/// Runs a plan with temporary files in this folder.
pub(crate) fn run_built(built: Built, scratch: &Path, limits: &Limits) -> Result<Finished> {
    let program = StageTable { plan: built.plan, functions: built.functions, counters: built.counters };
    let options = LocalOptions {
        name: "test".to_string(),
        threads: limits.threads,
        memory_bytes: limits.memory_bytes,
        scratch: Some(scratch.to_path_buf()),
        durable: false,
        job: limits.job.clone(),
    };
    local::run(program, options, &mut |_| {})
}
