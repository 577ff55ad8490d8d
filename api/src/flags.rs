//! What `windrow::main` adds to a job's command line.

use clap::ValueEnum;
use std::path::PathBuf;
use windrow_model::{ByteSize, JobOptions};

/// Machine- or human-readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    Table,
    Json,
}

/// Flags of every job binary.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Windrow")]
pub struct RunFlags {
    /// Run on a cluster: its coordinator's URL, or `auto` for the latest one started by this user [default: in this process]
    #[arg(long, value_name = "URL")]
    pub cluster: Option<String>,
    /// File with the coordinator's token, if this user's state folder does not know it
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Threads of an in-process run [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub threads: Option<u32>,
    /// Memory that an in-process run may hold, such as 512MB [default: half of this machine's]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<ByteSize>,
    /// Partitions of every shuffle that does not say [default: one for 16 MiB of input]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub partitions: Option<u32>,
    /// Exact size of input chunks, such as 64MiB [default: from input and slots]
    #[arg(long, value_name = "SIZE")]
    pub chunk_size: Option<ByteSize>,
    /// Set aside up to so many records that make their tasks fail, and go on without them [default: 0]
    #[arg(long, value_name = "N")]
    pub skip_bad_records: Option<u64>,
    /// Give slow tasks at a stage's end no second attempt on another worker
    #[arg(long)]
    pub no_backup_attempts: bool,
    /// Folder for temporary files of an in-process run [default: beside the output]
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
    /// Replace an output folder that holds a Windrow output, or nothing
    #[arg(long)]
    pub overwrite: bool,
    /// Make the output of an in-process run safe against power cuts before it is done (a cluster always does)
    #[arg(long)]
    pub durable: bool,
    /// Print the plan's stages instead of running them
    #[arg(long)]
    pub explain: bool,
    /// How to print the result
    #[arg(short = 'o', long = "format", value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Table)]
    pub format: OutputFormat,
}

impl RunFlags {
    /// The part that belongs to the job itself, wherever it runs.
    pub(crate) fn job_options(&self) -> JobOptions {
        JobOptions {
            partitions: self.partitions,
            chunk_bytes: self.chunk_size.map(|s| s.0),
            skip_bad_records: self.skip_bad_records.unwrap_or(0),
            backup_attempts: !self.no_backup_attempts,
            ..JobOptions::default()
        }
    }
    pub(crate) fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, |n| n.get());
        self.threads.map_or_else(cores, |n| n as usize)
    }
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory.map_or_else(half_of_memory, |s| s.0)
    }
}

/// Half of the machine's memory; a gigabyte where that cannot be told.
fn half_of_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map_or(1 << 30, |kib| kib * 1024 / 2)
}
