//! Settings of a coordinator.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use windrow_datasets::OrphanRule;
use windrow_history::Retention;
use windrow_net::{ServerTls, Token};
use windrow_store::Outputs;
use windrow_web::Page;

/// The settings of a coordinator.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its folder: lock, journal, artifacts. Made if absent; two coordinators never share one.
    pub data_dir: PathBuf,
    /// Milliseconds without a message after which a worker is lost.
    pub lease_ms: u64,
    /// Milliseconds after which a job fails that no worker takes.
    pub unschedulable_after_ms: u64,
    /// The token that callers must have, except for `Hello` and health. Without one, every caller is answered.
    pub token: Option<Token>,
    /// The data folder is removed when this coordinator stops, so running jobs end and their stagings are removed.
    /// Otherwise running jobs continue with the next coordinator on the folder.
    pub temporary: bool,
    /// Time after which binaries and side values are deleted that no running job uses and no call asks for.
    pub artifacts_kept: Duration,
    /// Retention of unreferenced chunks whose deletion no recorded change has ordered.
    pub orphans: OrphanRule,
    /// Time for which collected results are kept after the end of their job.
    pub results_kept: Duration,
    /// Bytes of the collected results of all jobs together.
    pub results_bytes_max: u64,
    /// How long the histories of jobs are kept.
    pub history: Retention,
    /// How long a start or a stop waits for storage of outputs that does not answer.
    pub storage_timeout: Duration,
    /// The kinds of storage that outputs may go to.
    pub outputs: Outputs,
    /// Certificates; without them, both ends of a connection prove that they have the token.
    pub tls: Option<ServerTls>,
    /// Takes tokens that are sent in the clear, too.
    pub insecure: bool,
    /// The page that it serves.
    pub page: Option<Arc<Page>>,
}

impl Config {
    /// Default of `lease_ms`.
    pub const LEASE_MS: u64 = 10_000;
    /// Default of `unschedulable_after_ms`.
    pub const UNSCHEDULABLE_AFTER_MS: u64 = 3_600_000;
    /// Default of `artifacts_kept`: a user who changes and submits a job all day uploads little.
    pub const ARTIFACTS_KEPT: Duration = Duration::from_secs(24 * 3600);

    /// Default of `results_kept`.
    pub const RESULTS_KEPT: Duration = Duration::from_secs(24 * 3600);
    /// Default of `results_bytes_max`.
    pub const RESULTS_BYTES_MAX: u64 = 16 << 30;

    /// Default of `storage_timeout`.
    pub const STORAGE_TIMEOUT: Duration = Duration::from_secs(10);

    /// The defaults on this data folder: no token, no TLS.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Config {
            data_dir: data_dir.into(),
            lease_ms: Self::LEASE_MS,
            unschedulable_after_ms: Self::UNSCHEDULABLE_AFTER_MS,
            artifacts_kept: Self::ARTIFACTS_KEPT,
            results_kept: Self::RESULTS_KEPT,
            results_bytes_max: Self::RESULTS_BYTES_MAX,
            history: Retention::default(),
            temporary: false,
            storage_timeout: Self::STORAGE_TIMEOUT,
            outputs: Outputs::default(),
            orphans: OrphanRule::default(),
            token: None,
            tls: None,
            insecure: false,
            page: None,
        }
    }
}
