//! A driver's or a job's connection to a cluster.

use crate::client::{Artifact, Cluster};
use crate::error::{Error, Result};
use crate::plan::describe::specify;
use crate::plan::job::AnyJob;
use crate::plan::stored::Datasets;
use crate::run::finished::Finished;
use crate::run::flags::RunFlags;
use crate::run::job_id::new_job_id;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use windrow_format::record_file::read_description;
use windrow_model::{Code, Digest, Failure, JobState, JobStatus};

/// A connected cluster and what is known about it.
pub(super) struct Remote {
    runtime: tokio::runtime::Runtime,
    cluster: Cluster,
    /// This program in the cluster's artifact store, once it is there.
    binary: RefCell<Option<Digest>>,
}

/// The value of a flag, else of the environment variable. As with `windrow`, the environment may select how a cluster
/// is trusted, but never where a job runs.
fn named(flag: &Option<PathBuf>, variable: &str) -> Option<PathBuf> {
    let from_environment = || std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    flag.clone().or_else(from_environment)
}

impl Remote {
    /// Connects to the coordinator at `url`, or to the latest that this user started if that is `auto`.
    pub(super) fn connect(url: &str, flags: &RunFlags) -> Result<Remote> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let url = (url != "auto").then_some(url);
        let token_file = named(&flags.token_file, "WINDROW_TOKEN_FILE");
        let ca = named(&flags.tls_ca, "WINDROW_TLS_CA");
        let cluster = runtime.block_on(Cluster::connect_with(url, token_file.as_deref(), ca.as_deref()))?;
        Ok(Remote { runtime, cluster, binary: RefCell::new(None) })
    }

    /// URL of the coordinator.
    pub(super) fn url(&self) -> &str {
        self.cluster.url()
    }

    /// Describes datasets of records for plans.
    fn datasets(&self) -> Datasets {
        let (runtime, cluster) = (self.runtime.handle().clone(), self.cluster.clone());
        Rc::new(move |name| {
            let (bytes, chunks) = runtime.block_on(cluster.beginning(name)).ok()?;
            Some((read_description(&bytes[..]).ok()?, chunks))
        })
    }

    /// The names of all datasets.
    ///
    /// # Errors
    /// `UNREACHABLE`.
    pub(super) fn dataset_names(&self) -> Result<Vec<String>, Failure> {
        let datasets = self.runtime.block_on(self.cluster.datasets())?;
        Ok(datasets.into_iter().map(|dataset| dataset.name).collect())
    }

    /// Removes a dataset, if there is one of this name.
    ///
    /// # Errors
    /// `UNREACHABLE`.
    pub(super) fn remove_dataset(&self, name: &str) -> Result<(), Failure> {
        match self.runtime.block_on(self.cluster.remove_dataset(name)) {
            Err(e) if e.code == Code::DatasetNotFound => Ok(()),
            other => other,
        }
    }

    /// Submits a job under this name, watches it with `progress`, and fetches what it collected.
    pub(super) fn run(
        &self,
        job: &dyn AnyJob,
        name: &str,
        flags: &RunFlags,
        progress: impl FnMut(&JobStatus),
    ) -> Result<Finished> {
        let (mut spec, sides) = specify(job, name, flags, Some(self.datasets()))?;
        spec.id = new_job_id()?;
        let collects = !spec.plan.collects.is_empty();
        let known = *self.binary.borrow();
        self.runtime.block_on(async {
            let cluster = &self.cluster;
            spec.binary = match known {
                Some(digest) => digest,
                None => cluster.upload_file(Path::new("/proc/self/exe")).await?,
            };
            *self.binary.borrow_mut() = Some(spec.binary);
            cluster.upload_all(sides.into_iter().map(Artifact::Bytes).collect()).await?;
            let id = cluster.submit(spec).await?;
            let status = cluster.watch(id, progress).await?;
            match (status.state, &status.error) {
                (JobState::Done, _) => {
                    let collected = if collects { cluster.collected(id).await? } else { Default::default() };
                    Ok(Finished { status, collected })
                }
                (_, Some(failure)) => Err(Error::from_failure(failure.clone())),
                (state, None) => Err(Error::new(Code::Cancelled, format!("the job is {}", state.as_str()))),
            }
        })
    }
}
