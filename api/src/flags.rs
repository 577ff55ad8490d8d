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

/// What is done with text inputs that are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InputCompression {
    /// gzip, zstd and bzip2 are decompressed, by magic bytes or suffix; other formats are refused
    Auto,
    /// Inputs are read as they are stored
    None,
}

/// Flags of every job binary.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Windrow")]
pub struct RunFlags {
    /// Run on a cluster: its coordinator's URL, or `auto` for the latest one started by this user [default: in this process]
    #[arg(long, value_name = "URL")]
    pub cluster: Option<String>,
    /// File with the coordinator's token [default: WINDROW_TOKEN_FILE, else this user's state folder]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificate (PEM) of the authority that signed the coordinator's [default: WINDROW_TLS_CA, else this user's state folder, else the machine's own]
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
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
    /// What to do with compressed text inputs: decompress them, or read them as they are stored
    #[arg(long, value_name = "KIND", value_enum, default_value_t = InputCompression::Auto)]
    pub compression: InputCompression,
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
            decompress: self.compression == InputCompression::Auto,
            ..JobOptions::default()
        }
    }
    /// Flags that were given and say nothing to `windrow submit`, which the job is described to; and what does.
    pub(crate) fn without_effect_in_submit(&self) -> Vec<(&'static str, &'static str)> {
        let own = "give it to `windrow submit` itself, before the binary";
        let all = [
            (
                self.threads.is_some(),
                "--threads",
                "`windrow submit --max-slots` limits a job, `windrow worker --slots` a worker",
            ),
            (self.memory.is_some(), "--memory", "`windrow worker --memory` says what the tasks of a worker may hold"),
            (
                self.scratch.is_some(),
                "--scratch",
                "`windrow worker --data-dir` says where a worker keeps temporary files",
            ),
            (self.durable, "--durable", "a cluster always makes outputs safe against power cuts"),
            (
                self.cluster.is_some(),
                "--cluster",
                "`windrow submit --coordinator URL`, before the binary, names a cluster",
            ),
            (self.token_file.is_some(), "--token-file", own),
            (self.tls_ca.is_some(), "--tls-ca", own),
            (self.format != OutputFormat::Table, "-o json", own),
        ];
        all.into_iter().filter_map(|(given, flag, instead)| given.then_some((flag, instead))).collect()
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
pub(crate) fn half_of_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map_or(1 << 30, |kib| kib * 1024 / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, Command, FromArgMatches};

    fn unheard(args: &[&str]) -> Vec<&'static str> {
        let command = RunFlags::augment_args(Command::new("job").no_binary_name(true));
        let flags = RunFlags::from_arg_matches(&command.get_matches_from(args)).unwrap();
        flags.without_effect_in_submit().into_iter().map(|(flag, _)| flag).collect()
    }

    #[test]
    fn flags_of_a_run_in_one_process_say_nothing_to_a_cluster() {
        let here = "--threads 2 --memory 1GB --scratch s --durable --cluster auto --token-file t --tls-ca c -o json";
        let named =
            ["--threads", "--memory", "--scratch", "--durable", "--cluster", "--token-file", "--tls-ca", "-o json"];
        assert_eq!(unheard(&here.split(' ').collect::<Vec<_>>()), named);
        let everywhere = "--partitions 3 --chunk-size 1MB --skip-bad-records 2 --no-backup-attempts --overwrite --compression none -o table";
        assert!(unheard(&everywhere.split(' ').collect::<Vec<_>>()).is_empty());
    }
}
