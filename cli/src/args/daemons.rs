//! Flags of what runs until it is stopped, `windrow coordinator`, `worker` and `up`, and of the verbs that manage it.

use super::{Client, Limit, Span, Ui};
use clap::Subcommand;
use clap::builder::{FalseyValueParser, NonEmptyStringValueParser};
use std::net::SocketAddr;
use std::path::PathBuf;
use windrow_model::{ByteSize, ClusterId, WorkerId};

/// Certificates of this server.
#[derive(clap::Args, Debug, Clone, Default)]
pub(crate) struct Tls {
    /// Certificate chain (PEM) to serve TLS with
    #[arg(long, value_name = "FILE", env = "WINDROW_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate
    #[arg(long, value_name = "FILE", env = "WINDROW_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Coordinator {
    #[command(subcommand)]
    pub verb: Option<CoordinatorVerb>,
    #[command(flatten)]
    pub run: CoordinatorRun,
}

#[derive(Subcommand, Debug)]
pub(crate) enum CoordinatorVerb {
    /// Copy a running coordinator's journal, the artifacts of its jobs and the token into a new folder
    Backup {
        #[command(flatten)]
        client: Client,
        /// The folder, which must not exist
        #[arg(value_name = "DIR")]
        to: PathBuf,
    },
    /// Make a data folder from a backup; or admit the older journal that is in it
    #[command(after_help = "\
The coordinator must not run. Its next epoch is above every epoch that was reached since the copy was made, and workers that have seen newer journals are admitted. Chunks that the journal does not know become orphans: `windrow data ls --orphans`.")]
    Restore {
        /// The data folder of the coordinator
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// The cluster's id, if the journal is of a release without cluster ids
        #[arg(long, value_name = "ID")]
        cluster: Option<ClusterId>,
        /// A folder that `windrow coordinator backup` made [default: the journal in the data folder]
        #[arg(value_name = "BACKUP")]
        from: Option<PathBuf>,
    },
}

#[derive(clap::Args, Debug)]
pub(crate) struct CoordinatorRun {
    /// Address to listen on; port 0 picks one [default: 127.0.0.1:8470]
    #[arg(long, value_name = "ADDR", env = "WINDROW_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Folder for its journal and artifacts
    #[arg(long, value_name = "DIR", env = "WINDROW_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Silence after which a worker counts as lost, such as 30s [default: 10s]
    #[arg(long, value_name = "TIME", env = "WINDROW_LEASE")]
    pub lease: Option<Span>,
    /// Time without an eligible worker after which a job fails, such as 10m [default: 1h]
    #[arg(long, value_name = "TIME", env = "WINDROW_WAIT_FOR_WORKERS")]
    pub wait_for_workers: Option<Span>,
    /// Bound on calls to the file system of an output at the start and the stop; a commit that takes longer reports
    /// that it waits [default: 10s]
    #[arg(long, value_name = "TIME", env = "WINDROW_STORAGE_TIMEOUT")]
    pub storage_timeout: Option<Span>,
    /// How long the history of an ended job is kept; 0: no histories are written [default: 720h]
    #[arg(long, value_name = "TIME", env = "WINDROW_HISTORY_KEEP")]
    pub history_keep: Option<Limit>,
    /// Bytes of all histories together, of which the oldest go first; 0: no histories are written [default: 10GiB]
    #[arg(long, value_name = "SIZE", env = "WINDROW_HISTORY_BYTES")]
    pub history_bytes: Option<ByteSize>,
    /// How long unreferenced chunks stay on workers, unless their deletion was ordered [default: 24h]
    #[arg(long, value_name = "TIME", env = "WINDROW_ORPHANS_KEPT")]
    pub orphans_kept: Option<Span>,
    /// Maximum number of them that move to the workers' trash in an hour [default: 1000]
    #[arg(long, value_name = "N", env = "WINDROW_ORPHANS_PER_HOUR", value_parser = clap::value_parser!(u32).range(1..))]
    pub orphans_per_hour: Option<u32>,
    /// File with the cluster's token; made if missing [default: `token` in the data folder]
    #[arg(long, value_name = "FILE", env = "WINDROW_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    #[command(flatten)]
    pub tls: Tls,
    /// Certificate (PEM) of the authority that signed this certificate, for this user's tools
    #[arg(long, value_name = "FILE", env = "WINDROW_TLS_CA")]
    pub tls_ca: Option<PathBuf>,
    #[command(flatten)]
    pub ui: Ui,
    /// Listen on an address that other machines reach, without TLS
    #[arg(long)]
    pub insecure: bool,
}

#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Worker {
    #[command(subcommand)]
    pub verb: Option<WorkerVerb>,
    #[command(flatten)]
    pub run: WorkerRun,
}

#[derive(clap::Args, Debug)]
pub(crate) struct WorkerRun {
    #[command(flatten)]
    pub client: Client,
    /// Folder for staged inputs and results; keep it on an SSD
    #[arg(long, value_name = "DIR", env = "WINDROW_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Tasks at a time, and computing threads [default: the number of cores]
    #[arg(long, value_name = "N", env = "WINDROW_SLOTS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub slots: Option<u32>,
    /// Memory for the data of tasks, such as 4GiB [default: half of this machine's]
    #[arg(long, value_name = "SIZE", env = "WINDROW_MEMORY")]
    pub memory: Option<ByteSize>,
    /// Memory that one job's process may allocate in all, user code included [default: no limit]
    #[arg(long, value_name = "SIZE", env = "WINDROW_MEMORY_LIMIT")]
    pub memory_limit: Option<ByteSize>,
    /// Processes and threads of one job's process and its descendants, where control groups can be made [default: 4096]
    #[arg(long, value_name = "N", env = "WINDROW_MAX_PROCESSES", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_processes: Option<u32>,
    /// Disk space of one attempt's spills and outputs [default: no limit]
    #[arg(long, value_name = "SIZE", env = "WINDROW_SCRATCH_QUOTA")]
    pub scratch_quota: Option<ByteSize>,
    /// When stopped, wait at most this long for running tasks and for jobs that may read its outputs [default: 60s]
    #[arg(long, value_name = "TIME", env = "WINDROW_STOP_TIMEOUT")]
    pub stop_timeout: Option<Span>,
    /// Bound on calls to the file system of an input or output, after which the attempt fails [default: 60s]
    #[arg(long, value_name = "TIME", env = "WINDROW_STORAGE_TIMEOUT")]
    pub storage_timeout: Option<Span>,
    /// Silence after which a fetch from another worker is given up [default: 20s]
    #[arg(long, value_name = "TIME", env = "WINDROW_FETCH_TIMEOUT")]
    pub fetch_timeout: Option<Span>,
    /// Period in which every chunk of a dataset is read and compared with its digest [default: 168h]
    #[arg(long, value_name = "TIME", env = "WINDROW_SCRUB_PERIOD")]
    pub scrub_period: Option<Span>,
    /// Maximum bytes per second that are read for that [default: 32MiB]
    #[arg(long, value_name = "SIZE", env = "WINDROW_SCRUB_RATE")]
    pub scrub_rate: Option<ByteSize>,
    /// How long unreferenced chunks stay in the trash before they are deleted [default: 24h]
    #[arg(long, value_name = "TIME", env = "WINDROW_TRASH_KEPT")]
    pub trash_kept: Option<Span>,
    /// Fetch from workers of the same machine, instead of using their files in place
    #[arg(long, env = "WINDROW_FETCH_FROM_NEIGHBOURS", value_parser = FalseyValueParser::new())]
    pub fetch_from_neighbours: bool,
    /// Address where other workers fetch from this one; port 0 picks one [default: 127.0.0.1:0]
    #[arg(long, value_name = "ADDR", env = "WINDROW_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// URL under which other workers reach this one [default: from the address]
    #[arg(long, value_name = "URL", env = "WINDROW_ADVERTISE", value_parser = NonEmptyStringValueParser::new())]
    pub advertise: Option<String>,
    #[command(flatten)]
    pub tls: Tls,
    /// Listen on an address that other machines reach, without TLS
    #[arg(long)]
    pub insecure: bool,
    /// Die with this process, which must be the parent
    #[arg(long, hide = true, value_name = "PID")]
    pub die_with: Option<i32>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum WorkerVerb {
    /// List all workers that the coordinator knows
    List {
        #[command(flatten)]
        client: Client,
    },
    /// Let a worker finish its running tasks, and assign it no more
    Drain {
        #[command(flatten)]
        client: Client,
        /// The worker's id: worker-…
        id: WorkerId,
    },
}

#[derive(clap::Args, Debug)]
pub(crate) struct Up {
    /// Worker processes [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub workers: Option<u32>,
    /// Tasks at a time of each worker [default: its share of the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub slots: Option<u32>,
    /// Memory of each worker, such as 4GiB [default: its share of half of this machine's]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<ByteSize>,
    /// Folder for everything; kept at the end [default: a temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address of the coordinator, on loopback; port 0 picks one [default: 127.0.0.1:0]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Stop with this process, whose thread must be the one that has started it
    #[arg(long, hide = true, value_name = "PID")]
    pub die_with: Option<i32>,
    #[command(flatten)]
    pub ui: Ui,
}
