//! Settings of a worker.

use std::path::PathBuf;
use std::time::Duration;
use windrow_net::{Access, ServerTls};
use windrow_store::Outputs;

/// Settings of one worker.
#[derive(Clone, Debug)]
pub struct Config {
    /// `http://HOST:PORT` or `https://…`. Need not answer yet.
    pub coordinator_url: String,
    /// Everything that the worker writes goes here. Created if missing; used by one worker at a time.
    pub data_dir: PathBuf,
    /// Tasks that run at a time, and computing threads.
    pub slots: u32,
    /// Memory that executors may use for data.
    pub memory_bytes: u64,
    /// Private memory that one executor may have, mapped files aside; further allocations fail.
    pub memory_limit_bytes: Option<u64>,
    /// Processes and threads of one executor and its descendants. Where no control groups can be made for the limit, a
    /// worker with an explicit number refuses to start, and one with the default runs without a limit.
    pub processes_max: Option<u32>,
    /// Disk that one attempt may use for its runs and results.
    pub scratch_quota_bytes: Option<u64>,
    /// A stopping worker ends after this time, even if jobs still need it.
    pub stop_timeout: Duration,
    /// A call to storage of users that takes longer fails the attempt.
    pub storage_timeout: Duration,
    /// The kinds of storage that outputs may go to.
    pub outputs: Outputs,
    /// A peer that sends nothing for this long during a fetch counts as gone.
    pub fetch_timeout: Duration,
    /// Fetch from workers on the same machine instead of using their files in place, and let them do the same.
    pub fetch_from_neighbours: bool,
    /// Every chunk of a dataset that this worker holds is read and compared with its digest once in this period.
    pub scrub_period: Duration,
    /// Upper bound on the bytes per second that the scrub reads.
    pub scrub_bytes_per_s: u64,
    /// How long unreferenced chunks stay in the trash before they are deleted.
    pub trash_kept: Duration,
    /// URL under which other workers and the coordinator reach this one; made from the listener's address if absent.
    pub advertised: Option<String>,
    /// Credentials for the coordinator and for peers. Callers of this worker must have the same token.
    pub access: Access,
    /// Serve with TLS.
    pub tls: Option<ServerTls>,
    /// Also accepts tokens that are sent in the clear.
    pub insecure: bool,
}

impl Config {
    /// Default of `fetch_timeout`.
    pub const FETCH_TIMEOUT: Duration = Duration::from_secs(20);
    /// Default of `stop_timeout`.
    pub const STOP_TIMEOUT: Duration = Duration::from_secs(60);
    /// Default of `scrub_period`.
    pub const SCRUB_PERIOD: Duration = Duration::from_secs(7 * 24 * 3600);
    /// Default of `scrub_bytes_per_s`.
    pub const SCRUB_BYTES_PER_S: u64 = 32 << 20;
    /// Default of `trash_kept`.
    pub const TRASH_KEPT: Duration = Duration::from_secs(24 * 3600);
    /// Default of `processes_max`.
    pub const PROCESSES_MAX: u32 = 4096;
}
