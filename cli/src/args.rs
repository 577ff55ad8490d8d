//! Every verb and flag. Each is defined once; help, completion and the environment variables come from here.
//!
//! A flag that may also be in a settings file is an `Option`; its verb applies the default after the file was read.
//! `settings.rs` lists the same keys by section.

use crate::output::Format;
use clap::builder::{FalseyValueParser, NonEmptyStringValueParser};
use clap::{Parser, Subcommand};
use serde::Deserialize;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use windrow_model::{ByteSize, ClusterId, Framing, JobId, JobState, WorkerId};

/// Distributed map/reduce: submit jobs, watch them, and run clusters.
#[derive(Parser, Debug)]
#[command(
    name = "windrow",
    version,
    arg_required_else_help = true,
    after_help = "\
Exit codes: 0 done; 1 job failed; 2 usage; 3 unreachable or not authorised; 4 cancelled; 5 timed out; 130 interrupted.
Settings: flag, then WINDROW_* environment, then --config FILE, then $XDG_CONFIG_HOME/windrow/config.toml, then default.

  windrow up --workers 4                              a cluster on this machine, until Ctrl-C
  windrow submit ./wordcount -- books/ --output out   run a job on it"
)]
pub(crate) struct Args {
    /// Settings file (TOML: sections client, submit, coordinator, worker, up; keys named like the flags)
    #[arg(long, global = true, value_name = "FILE", env = "WINDROW_CONFIG")]
    pub config: Option<PathBuf>,
    /// Read no settings file, not even this user's
    #[arg(long, global = true, conflicts_with = "config")]
    pub no_config: bool,
    /// Format of results on stdout [default: table]
    #[arg(short = 'o', long, global = true, value_name = "FORMAT", env = "WINDROW_FORMAT", value_enum)]
    pub format: Option<Format>,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Make a crate with a job, a test and a README in a new folder
    New(New),
    /// Run a job binary on a cluster, and watch it
    Submit(Submit),
    /// List, inspect, wait for and cancel jobs
    Job(Job),
    /// Run a worker; or list and drain workers
    Worker(Worker),
    /// Put data into a cluster; list, get and remove it
    Data(Data),
    /// Run a coordinator; or back one up and restore it
    Coordinator(Coordinator),
    /// Run a cluster on this machine: a coordinator and worker processes, until Ctrl-C
    Up(Up),
    /// Make certificates for the machines of a cluster
    Tls(Certify),
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(clap::Args, Debug)]
pub(crate) struct New {
    /// The name of the crate and of its folder
    pub name: String,
    /// A checkout of Windrow that the crate depends on [default: the one that this program was built from, else a release]
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Certify {
    #[command(subcommand)]
    pub verb: TlsVerb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum TlsVerb {
    /// Make an authority (ca.pem, ca.key) and a certificate for each host (NAME.pem, NAME.key) in a folder
    ///
    /// An authority in the folder signs for the new hosts, too. Existing files are never replaced. Prints the files
    /// that were made.
    Init(TlsInit),
}

#[derive(clap::Args, Debug)]
pub(crate) struct TlsInit {
    /// The folder; made if missing
    pub dir: PathBuf,
    /// A machine: all names and addresses in the URLs under which others reach it. The first one names its files
    #[arg(long, value_name = "NAME[,NAME...]", required = true)]
    pub host: Vec<String>,
    /// How long the hosts' certificates are valid; the authority is for ten years
    #[arg(long, value_name = "N", default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
}

/// How to find and trust a coordinator.
#[derive(clap::Args, Debug, Clone, Default)]
pub(crate) struct Client {
    /// URL of the coordinator [default: the latest that this user started]
    #[arg(long, value_name = "URL", env = "WINDROW_COORDINATOR", value_parser = NonEmptyStringValueParser::new())]
    pub coordinator: Option<String>,
    /// File with the cluster's token [default: found by URL in this user's state folder]
    #[arg(long, value_name = "FILE", env = "WINDROW_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificate (PEM) of the authority that signed the coordinator's certificate
    #[arg(long, value_name = "FILE", env = "WINDROW_TLS_CA")]
    pub tls_ca: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Submit {
    #[command(flatten)]
    pub client: Client,
    /// Print the job's id on stdout and return, instead of watching
    #[arg(long)]
    pub detach: bool,
    /// The job's name in lists [default: the binary's]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub name: Option<String>,
    /// Jobs of a larger priority run first [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub priority: Option<i32>,
    /// Use at most this many slots of the cluster at a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_slots: Option<u32>,
    /// Fail the job if it is not done after this time, such as 90s, 15m or 2h
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Span>,
    /// Fail an attempt that runs for longer than this [default: no limit]
    #[arg(long, value_name = "TIME")]
    pub task_timeout: Option<Limit>,
    /// Fail an attempt that stays at one record or group for longer than this; 0s: no limit [default: 10m]
    #[arg(long, value_name = "TIME")]
    pub progress_timeout: Option<Limit>,
    /// Leave out up to this number of records that make their tasks fail [default: 0]
    #[arg(long, value_name = "N")]
    pub skip_bad_records: Option<u64>,
    /// Start no second attempt of slow tasks on another worker
    #[arg(long)]
    pub no_backup_attempts: bool,
    /// Handling of compressed text inputs: decompress them, or read them as they are stored [default: auto]
    #[arg(long, value_name = "KIND", value_enum)]
    pub compression: Option<windrow::InputCompression>,
    /// Partitions of every shuffle without a number of its own [default: one for 16 MiB of input]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub partitions: Option<u32>,
    /// Exact size of input chunks, such as 64MiB [default: from input and slots]
    #[arg(long, value_name = "SIZE")]
    pub chunk_size: Option<ByteSize>,
    /// Replace output folders that are empty or hold a Windrow output
    #[arg(long)]
    pub overwrite: bool,
    /// The job: a program whose main calls `windrow::main`
    #[arg(value_name = "BIN")]
    pub binary: PathBuf,
    /// The job's own arguments
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<std::ffi::OsString>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Job {
    #[command(subcommand)]
    pub verb: JobVerb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum JobVerb {
    /// List the jobs that the coordinator knows, the latest first
    List {
        #[command(flatten)]
        client: Client,
        /// Only jobs in this state; may be repeated
        #[arg(long = "state", value_name = "STATE", value_enum)]
        states: Vec<StateName>,
        /// Only jobs whose name contains this text
        #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
        name: Option<String>,
        /// Only jobs that were submitted within this time, such as 2h
        #[arg(long, value_name = "TIME")]
        since: Option<Span>,
        /// At most this many, the latest ones
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
    },
    /// Show the status of a job
    Get {
        #[command(flatten)]
        client: Client,
        /// The job's id: job-…
        id: JobId,
    },
    /// Watch a job to its end; exits as `submit` would
    Wait {
        #[command(flatten)]
        client: Client,
        /// Stop waiting after this time with exit code 5; the job goes on
        #[arg(long, value_name = "TIME")]
        timeout: Option<Span>,
        /// The job's id: job-…
        id: JobId,
    },
    /// Cancel a job; its outputs do not appear
    Cancel {
        #[command(flatten)]
        client: Client,
        /// The job's id: job-…
        id: JobId,
    },
    /// Decide on a job whose commit waits for its file system: retry it now, or give it up
    ///
    /// `job get` shows the reason for the wait. The commit is retried automatically, at least every half minute, until
    /// the file system answers. A commit that has ended the coordinator several times is retried only by this command.
    Commit {
        #[command(flatten)]
        client: Client,
        /// End the job as cancelled. Its outputs may be there, complete or not at all, or appear later
        #[arg(long)]
        give_up: bool,
        /// The job's id: job-…
        id: JobId,
    },
    /// Print stdout and stderr of the job's tasks
    Logs {
        #[command(flatten)]
        client: Client,
        /// The job's id: job-…
        id: JobId,
    },
}

/// A state of jobs, as in lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum StateName {
    Planning,
    Running,
    Committing,
    Done,
    Failed,
    Cancelled,
}

impl From<StateName> for JobState {
    fn from(name: StateName) -> JobState {
        match name {
            StateName::Planning => JobState::Planning,
            StateName::Running => JobState::Running,
            StateName::Committing => JobState::Committing,
            StateName::Done => JobState::Done,
            StateName::Failed => JobState::Failed,
            StateName::Cancelled => JobState::Cancelled,
        }
    }
}

#[derive(clap::Args, Debug)]
pub(crate) struct Data {
    #[command(subcommand)]
    pub verb: DataVerb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum DataVerb {
    /// Copy files into the cluster under a name; jobs read them as windrow://NAME
    #[command(
        override_usage = "windrow data put [OPTIONS] <FILES>... <NAME>",
        after_help = "\
Files are cut into chunks at record boundaries; each chunk is stored on several workers and is on disk when this ends.
Compressed text (gzip, zstd, bzip2) is decompressed, other records and whole files are stored as they are. The name appears when everything is stored, or not at all.

  windrow data put 'logs/*.log' logs                   lines of text
  windrow data put records.bin sorted --framing fixed:100"
    )]
    Put {
        #[command(flatten)]
        client: Client,
        /// Where records begin: lines, delimiter:BYTE, fixed:BYTES, or whole (a file is never cut)
        #[arg(long, value_name = "KIND", default_value = "lines")]
        framing: Framing,
        /// Approximate bytes of a chunk, which is the input of one task
        #[arg(long, value_name = "SIZE", default_value = "32MiB")]
        chunk_size: ByteSize,
        /// Copies of each chunk [default: 2, or 1 with one worker]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        replicas: Option<u32>,
        /// Replace a dataset of this name; jobs that read the old one keep it until they end
        #[arg(long)]
        overwrite: bool,
        /// Handling of compressed text: decompress it, or store it as it is
        #[arg(long, value_name = "KIND", value_enum, default_value_t = windrow::InputCompression::Auto)]
        compression: windrow::InputCompression,
        /// Files, folders or globs, and the name of the dataset as the last argument
        #[arg(required = true, num_args = 2.., value_name = "FILES... NAME", value_parser = NonEmptyStringValueParser::new())]
        files_and_name: Vec<String>,
    },
    /// List all datasets; COPIES are those of the scarcest chunk
    Ls {
        #[command(flatten)]
        client: Client,
        /// List unreferenced chunks instead, and workers whose folders wait to join
        #[arg(long)]
        orphans: bool,
    },
    /// Make a dataset of unreferenced chunks, or let a worker's data folder join the cluster
    #[command(
        override_usage = "windrow data adopt [OPTIONS] <NAME> <CHUNKS>...\n       windrow data adopt [OPTIONS] --worker <ID>",
        after_help = "\
The dataset has the chunks in the given order. Examples:

  windrow data ls --orphans                      the unreferenced chunks
  windrow data adopt found 4bf5122f… 084fed08…   makes the dataset `found` of two of them
  windrow data adopt --worker worker-…           lets a folder of an earlier release join"
    )]
    Adopt {
        #[command(flatten)]
        client: Client,
        /// A worker whose data folder has joined no cluster
        #[arg(
            long,
            value_name = "ID",
            conflicts_with = "name_and_chunks",
            required_unless_present = "name_and_chunks"
        )]
        worker: Option<WorkerId>,
        /// Where records begin in the chunks
        #[arg(long, value_name = "KIND", default_value = "lines")]
        framing: Framing,
        /// The new dataset's name, and digests of its chunks in order
        #[arg(num_args = 2.., value_name = "NAME CHUNKS...")]
        name_and_chunks: Vec<String>,
    },
    /// Show the progress of each worker's scrub, which compares chunks with their digests
    Scrub {
        #[command(flatten)]
        client: Client,
    },
    /// Copy a dataset into a new file (`-`: stdout), or a dataset of whole files into a new folder
    Get {
        #[command(flatten)]
        client: Client,
        /// The name of the dataset
        name: String,
        /// The file or folder to make, which must not exist; `-`: stdout
        #[arg(value_name = "FILE")]
        to: PathBuf,
    },
    /// Remove a dataset
    Rm {
        #[command(flatten)]
        client: Client,
        /// The name of the dataset
        name: String,
    },
}

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
}

/// A length of time: `250ms`, `90s`, `15m`, `2h`; a bare number is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub ms: u64,
}

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Span, String> {
        match milliseconds(text)? {
            0 => Err("a time must be more than zero".to_string()),
            ms => Ok(Span { ms }),
        }
    }
}

/// A time limit; zero means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub ms: Option<u64>,
}

impl FromStr for Limit {
    type Err = String;
    fn from_str(text: &str) -> Result<Limit, String> {
        Ok(Limit { ms: Some(milliseconds(text)?).filter(|ms| *ms > 0) })
    }
}

fn milliseconds(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a time: write a number with ms, s, m or h, such as 90s");
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let (number, unit) = units
        .iter()
        .find_map(|(name, ms)| text.strip_suffix(name).map(|number| (number.trim_end(), *ms)))
        .unwrap_or((text, 1_000));
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(bad)
}

/// A value that is text or a number in a settings file, parsed like the flag's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text<T>(pub T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<T: FromStr<Err: fmt::Display>> serde::de::Visitor<'_> for Visitor<T> {
            type Value = Text<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a number")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text<T>, E> {
                text.parse().map(Text).map_err(E::custom)
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Text<T>, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Visitor(std::marker::PhantomData))
    }
}

/// A count in a settings file, within the limits of its flag, from 1 to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count<const MAX: u32>(pub u32);

impl<'de, const MAX: u32> Deserialize<'de> for Count<MAX> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match i64::deserialize(deserializer)? {
            n if (1..=i64::from(MAX)).contains(&n) => Ok(Count(n as u32)),
            n if MAX == u32::MAX => Err(serde::de::Error::custom(format!("{n} is less than 1, or too large"))),
            n => Err(serde::de::Error::custom(format!("{n} is not from 1 to {MAX}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::collections::BTreeSet;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_and_argument_has_a_help_text() {
        fn check(command: &clap::Command) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some_and(|help| !help.to_string().is_empty()), "{name}: {}", arg.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        let mut command = Args::command();
        command.build();
        check(&command);
    }

    #[test]
    fn submit_describes_flags_as_job_binaries_do() {
        let of_job = <windrow::RunFlags as clap::Args>::augment_args(clap::Command::new("job"));
        let command = Args::command();
        let submit = command.find_subcommand("submit").unwrap();
        let mut compared = BTreeSet::new();
        // The default values of these differ: job binaries read no settings.
        let differ = ["token-file", "tls-ca", "format"];
        for flag in of_job.get_arguments().filter(|flag| !flag.get_long().is_some_and(|long| differ.contains(&long))) {
            let text = |arg: &clap::Arg| {
                let help = arg.get_help().unwrap().to_string();
                help.split(" [default").next().unwrap().to_string()
            };
            if let Some(same) = submit.get_arguments().find(|arg| arg.get_long() == flag.get_long()) {
                assert_eq!(text(same), text(flag), "{:?}", flag.get_long());
                compared.insert(flag.get_long().unwrap());
            }
        }
        assert!(compared.contains("skip-bad-records") && compared.len() >= 6, "{compared:?}");
    }

    #[test]
    fn times_are_read_with_their_unit() {
        for (text, ms) in [("250ms", 250), ("90s", 90_000), ("15m", 900_000), ("2h", 7_200_000), ("3", 3_000)] {
            assert_eq!(text.parse::<Span>().unwrap().ms, ms, "{text}");
        }
        for text in ["", "s", "-1s", "1d", "0s", "1.5h", "99999999999999999999h"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn arguments_after_dashes_belong_to_the_job() {
        let args = Args::try_parse_from(["windrow", "submit", "--name", "n", "./bin", "--", "in", "--output", "-o"]);
        let Verb::Submit(submit) = args.unwrap().verb else { panic!("not submit") };
        assert_eq!(submit.args, ["in", "--output", "-o"]);
        assert_eq!(submit.name.as_deref(), Some("n"));
        assert!(Args::try_parse_from(["windrow", "submit", "./bin", "in"]).is_err());
    }

    #[test]
    fn worker_runs_tasks_unless_only_managing() {
        let parse = |args: &[&str]| {
            let args = Args::try_parse_from(["windrow", "worker"].iter().chain(args)).unwrap();
            let Verb::Worker(worker) = args.verb else { panic!("not worker") };
            worker
        };
        let run = parse(&["--coordinator", "http://x:1", "--data-dir", "d", "--slots", "2", "--memory", "1GiB"]);
        assert!(run.verb.is_none());
        assert_eq!(run.run.memory, Some(ByteSize(1 << 30)));
        assert!(matches!(parse(&["list"]).verb, Some(WorkerVerb::List { .. })));
    }

    #[test]
    fn zero_limit_is_none_and_zero_time_is_invalid() {
        assert_eq!("0s".parse(), Ok(Limit { ms: None }));
        assert_eq!("90s".parse(), Ok(Limit { ms: Some(90_000) }));
        assert_eq!("2m".parse(), Ok(Span { ms: 120_000 }));
        assert!("0".parse::<Span>().is_err() && "soon".parse::<Limit>().is_err());
    }

    /// Flags about one start, and those that the settings of `client` replace.
    const WITHOUT_KEY: [&str; 8] =
        ["help", "config", "no-config", "format", "coordinator", "token-file", "tls-ca", "die-with"];

    #[test]
    fn every_flag_of_a_daemon_has_a_settings_key() {
        let mut command = Args::command();
        command.build();
        for (section, keys) in crate::settings::SECTIONS.iter().filter(|(s, _)| !["client", "submit"].contains(s)) {
            let daemon = command.find_subcommand(section).unwrap();
            let long = daemon.get_arguments().filter_map(|a| a.get_long());
            let flags: BTreeSet<&str> = long.filter(|flag| !WITHOUT_KEY.contains(flag)).collect();
            let keys: BTreeSet<String> = keys.iter().map(|key| key.replace('_', "-")).collect();
            let keys: BTreeSet<&str> = keys.iter().map(String::as_str).filter(|k| !WITHOUT_KEY.contains(k)).collect();
            assert_eq!(flags, keys, "{section}");
        }
    }

    /// Flags of `submit` in the guide's table, and the settings in the table.
    fn guide() -> (BTreeSet<String>, BTreeSet<String>) {
        let guide = include_str!("../../docs/GUIDE.md");
        let table = guide.split("\n## Flags\n").nth(1).expect("the guide has a section `Flags`");
        let rows = table.lines().skip_while(|l| !l.starts_with("| `--")).take_while(|l| l.starts_with('|'));
        let (mut flags, mut settings) = (BTreeSet::new(), BTreeSet::new());
        for row in rows {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let flag = cells[0].split('`').nth(1).expect("a flag").trim_start_matches("--");
            if cells[5] == "yes" {
                flags.insert(flag.to_string());
            } else {
                assert_eq!(cells[5], "–", "{row}");
            }
            settings.extend(cells[6].split('`').nth(1).map(str::to_string));
        }
        (flags, settings)
    }

    #[test]
    fn the_guide_has_every_flag_and_setting_of_submit() {
        let mut command = Args::command();
        command.build();
        let submit = command.find_subcommand("submit").unwrap();
        let long = submit.get_arguments().filter_map(|a| a.get_long()).filter(|long| *long != "help");
        let flags: BTreeSet<String> = long.map(str::to_string).collect();
        let mut settings = BTreeSet::new();
        for (section, keys) in crate::settings::SECTIONS.iter().filter(|(name, _)| ["client", "submit"].contains(name))
        {
            settings.extend(keys.iter().map(|key| format!("{section}.{}", key.replace('_', "-"))));
        }
        let (table_flags, table_settings) = guide();
        assert_eq!(table_flags, flags, "the table in docs/GUIDE.md");
        assert_eq!(table_settings, settings, "the table in docs/GUIDE.md");
    }
}
