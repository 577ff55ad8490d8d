//! What a worker is told when it starts.

use std::path::PathBuf;
use std::time::Duration;
use windrow_net::{Access, ServerTls};

/// Settings of one worker.
#[derive(Clone, Debug)]
pub struct Config {
    /// `http://HOST:PORT` or `https://…`. Need not answer yet.
    pub coordinator_url: String,
    /// Everything that the worker writes goes here. Made if it does not exist; used by one worker at a time.
    pub data_dir: PathBuf,
    /// Tasks that run at a time, and computing threads.
    pub slots: u32,
    /// Memory that executors may use for data.
    pub memory_bytes: u64,
    /// Memory of its own, mapped files aside, that one executor may have; beyond that it gets none.
    pub memory_limit_bytes: Option<u64>,
    /// Processes and threads that one executor may have, all that it starts included. Where no control groups can be made for
    /// that, a worker that was told a number does not start, and one that was not goes on without a limit.
    pub processes_max: Option<u32>,
    /// Disk that one attempt may use for its runs and results.
    pub scratch_quota_bytes: Option<u64>,
    /// A worker that is asked to end does so after this time, whatever still needs it.
    pub stop_timeout: Duration,
    /// A file system that holds inputs or outputs and does not answer for so long costs the attempt an error.
    pub storage_timeout: Duration,
    /// A peer that sends nothing for so long while segments or chunks are fetched is taken to be gone.
    pub fetch_timeout: Duration,
    /// Fetch also from workers on the same machine, instead of using their files in place, and let them do the same.
    pub fetch_from_neighbours: bool,
    /// Every chunk of a dataset that this worker holds is read and compared with its digest once in this time.
    pub scrub_period: Duration,
    /// Bytes in a second that are read for that, at most.
    pub scrub_bytes_per_s: u64,
    /// Chunks that nothing refers to stay in the trash for so long before they are deleted.
    pub trash_kept: Duration,
    /// URL under which other workers and the coordinator reach this one; made from the listener's address if absent.
    pub advertised: Option<String>,
    /// What is proven to the coordinator and to peers. Its token is also what callers of this worker must have.
    pub access: Access,
    /// Serve with TLS.
    pub tls: Option<ServerTls>,
    /// Takes tokens that are sent in the clear, too.
    pub insecure: bool,
}

impl Config {
    /// How long a peer may be silent, unless told otherwise.
    pub const FETCH_TIMEOUT: Duration = Duration::from_secs(20);
    /// How long a worker that is asked to end stays for what needs it, unless told otherwise.
    pub const STOP_TIMEOUT: Duration = Duration::from_secs(60);
    /// In which time everything is read once, unless told otherwise.
    pub const SCRUB_PERIOD: Duration = Duration::from_secs(7 * 24 * 3600);
    /// How fast, unless told otherwise.
    pub const SCRUB_BYTES_PER_S: u64 = 32 << 20;
    /// How long chunks stay in the trash, unless told otherwise.
    pub const TRASH_KEPT: Duration = Duration::from_secs(24 * 3600);
    /// How many processes an executor may have, unless told otherwise.
    pub const PROCESSES_MAX: u32 = 4096;
}
