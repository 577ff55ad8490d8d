//! Flags of `windrow submit` and `windrow job`.

use super::{Client, Limit, Span};
use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use std::path::PathBuf;
use windrow_model::{ByteSize, JobId, JobState, Partitions};

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
    /// Partitions of every shuffle without a number of its own, up to 1,000,000 [default: one for 16 MiB of input, from 31 GiB on fewer and larger ones]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(Partitions::MAX)))]
    pub partitions: Option<u32>,
    /// Exact size of input chunks, such as 64MiB [default: from input and slots, at most 256 MiB up to 26 TB of input]
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
        /// Also ended jobs that the coordinator has forgotten, from their histories
        #[arg(long)]
        past: bool,
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
    /// Print what has become of a job, in the order in which it happened; also of jobs that the coordinator has forgotten
    Events {
        #[command(flatten)]
        client: Client,
        /// Go on until the job has ended; with `-o json`, one object a line instead of an array
        #[arg(short = 'f', long)]
        follow: bool,
        /// The job's id: job-…
        id: JobId,
    },
    /// List the attempts of a job's tasks, failed ones first; also of jobs that the coordinator has forgotten
    Tasks(Tasks),
    /// Print stdout and stderr of the job's tasks
    Logs {
        #[command(flatten)]
        client: Client,
        /// The job's id: job-…
        id: JobId,
    },
}

#[derive(clap::Args, Debug)]
pub(crate) struct Tasks {
    #[command(flatten)]
    pub client: Client,
    /// Only attempts in this state; may be repeated
    #[arg(long = "state", value_name = "STATE", value_enum)]
    pub states: Vec<AttemptStateName>,
    /// The order
    #[arg(long, value_name = "ORDER", value_enum, default_value = "worst")]
    pub sort: AttemptOrder,
    /// Only attempts of this stage, by its number
    #[arg(long, value_name = "N")]
    pub stage: Option<u32>,
    /// Only attempts of this task of the stage
    #[arg(long, value_name = "N", requires = "stage")]
    pub task: Option<u32>,
    /// Leave off this many at the beginning
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip: u32,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// The job's id: job-…
    pub id: JobId,
}

/// A state of attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum AttemptStateName {
    Queued,
    Running,
    Done,
    Failed,
    Stopped,
}

impl AttemptStateName {
    /// Its name in calls.
    pub(crate) fn name(self) -> &'static str {
        match self {
            AttemptStateName::Queued => "queued",
            AttemptStateName::Running => "running",
            AttemptStateName::Done => "done",
            AttemptStateName::Failed => "failed",
            AttemptStateName::Stopped => "stopped",
        }
    }
}

/// An order of attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum AttemptOrder {
    /// Failed ones first, then the longest
    Worst,
    /// The longest first
    Duration,
    /// The largest inputs first
    Bytes,
    /// In the order of their assignment
    Start,
}

impl AttemptOrder {
    /// Its name in calls.
    pub(crate) fn name(self) -> &'static str {
        match self {
            AttemptOrder::Worst => "worst",
            AttemptOrder::Duration => "duration",
            AttemptOrder::Bytes => "bytes",
            AttemptOrder::Start => "start",
        }
    }
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
