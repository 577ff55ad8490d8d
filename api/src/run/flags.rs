//! The flags that `windrow::main` adds to a job's command line.

use clap::ValueEnum;
use clap::builder::NonEmptyStringValueParser;
use std::path::PathBuf;
use windrow_model::{ByteSize, JobOptions, Partitions};

/// Machine- or human-readable output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Table,
    /// One JSON document on stdout.
    Json,
}

/// The treatment of compressed text inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputCompression {
    /// gzip, zstd and bzip2 are decompressed, by magic bytes or suffix; other formats are refused
    #[default]
    Auto,
    /// Inputs are read as they are stored
    None,
}

/// Flags of every job binary.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Windrow")]
pub struct RunFlags {
    /// Run on a cluster: its coordinator's URL, or `auto` for the latest one started by this user [default: in this process]
    #[arg(long, value_name = "URL", value_parser = NonEmptyStringValueParser::new())]
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
    /// Partitions of every shuffle without a number of its own, up to 1,000,000 [default: one for 16 MiB of input, from 31 GiB on fewer and larger ones]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(Partitions::MAX)))]
    pub partitions: Option<u32>,
    /// Exact size of input chunks, such as 64MiB [default: from input and slots, at most 256 MiB up to 26 TB of input]
    #[arg(long, value_name = "SIZE")]
    pub chunk_size: Option<ByteSize>,
    /// Handling of compressed text inputs: decompress them, or read them as they are stored
    #[arg(long, value_name = "KIND", value_enum, default_value_t = InputCompression::Auto)]
    pub compression: InputCompression,
    /// Leave out up to this number of records that make their tasks fail [default: 0]
    #[arg(long, value_name = "N")]
    pub skip_bad_records: Option<u64>,
    /// Start no second attempt of slow tasks on another worker
    #[arg(long)]
    pub no_backup_attempts: bool,
    /// Folder for temporary files of an in-process run [default: beside the output]
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
    /// Replace output folders that are empty or hold a Windrow output
    #[arg(long)]
    pub overwrite: bool,
    /// Make the output of an in-process run safe against power cuts before it is done (a cluster always does)
    #[arg(long)]
    pub durable: bool,
    /// Print the plan's stages instead of running them
    #[arg(long)]
    pub explain: bool,
    /// Format of the result on stdout
    #[arg(short = 'o', long = "format", value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Table)]
    pub format: OutputFormat,
}

/// How a job is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// In this process.
    Here,
    /// On a cluster with `--cluster`.
    Cluster,
    /// By `windrow submit`, which asks this binary for the job: the flags come after `--`.
    Submitted,
}

impl Run {
    fn no_effect(self) -> &'static str {
        match self {
            Run::Here => "has no effect without --cluster",
            Run::Cluster => "has no effect with --cluster",
            Run::Submitted => "after `--` has no effect",
        }
    }
}

/// The kinds of runs in which a flag has an effect. The guide has the same table, and a test compares the two.
pub(crate) struct Reach {
    /// The flag's name in clap, without dashes.
    #[cfg_attr(not(test), expect(dead_code, reason = "the guide's table is compared by it"))]
    pub flag: &'static str,
    /// The flag's name in warnings.
    shown: &'static str,
    given: fn(&RunFlags) -> bool,
    pub runs: &'static [Run],
    /// What to use in runs without the flag's effect.
    instead: &'static str,
}

const EVERYWHERE: &[Run] = &[Run::Here, Run::Cluster, Run::Submitted];

/// All flags of [`RunFlags`].
pub(crate) const REACH: &[Reach] = &[
    Reach {
        flag: "cluster",
        shown: "--cluster",
        given: |f| f.cluster.is_some(),
        runs: &[Run::Here, Run::Cluster],
        instead: "`windrow submit --coordinator URL`, before the binary, names a cluster",
    },
    Reach {
        flag: "token-file",
        shown: "--token-file",
        given: |f| f.token_file.is_some(),
        runs: &[Run::Cluster],
        instead: "it is for runs with --cluster; `windrow submit` has one of its own, before the binary",
    },
    Reach {
        flag: "tls-ca",
        shown: "--tls-ca",
        given: |f| f.tls_ca.is_some(),
        runs: &[Run::Cluster],
        instead: "it is for runs with --cluster; `windrow submit` has one of its own, before the binary",
    },
    Reach {
        flag: "threads",
        shown: "--threads",
        given: |f| f.threads.is_some(),
        runs: &[Run::Here],
        instead: "`windrow submit --max-slots` limits a job, `windrow worker --slots` a worker",
    },
    Reach {
        flag: "memory",
        shown: "--memory",
        given: |f| f.memory.is_some(),
        runs: &[Run::Here],
        instead: "`windrow worker --memory` sets the memory of a worker's tasks",
    },
    Reach {
        flag: "partitions",
        shown: "--partitions",
        given: |f| f.partitions.is_some(),
        runs: EVERYWHERE,
        instead: "",
    },
    Reach {
        flag: "chunk-size",
        shown: "--chunk-size",
        given: |f| f.chunk_size.is_some(),
        runs: EVERYWHERE,
        instead: "",
    },
    Reach {
        flag: "compression",
        shown: "--compression",
        given: |f| f.compression != InputCompression::Auto,
        runs: EVERYWHERE,
        instead: "",
    },
    Reach {
        flag: "skip-bad-records",
        shown: "--skip-bad-records",
        given: |f| f.skip_bad_records.is_some(),
        runs: EVERYWHERE,
        instead: "",
    },
    Reach {
        flag: "no-backup-attempts",
        shown: "--no-backup-attempts",
        given: |f| f.no_backup_attempts,
        // In one process there are no backup attempts anyway.
        runs: EVERYWHERE,
        instead: "",
    },
    Reach {
        flag: "scratch",
        shown: "--scratch",
        given: |f| f.scratch.is_some(),
        runs: &[Run::Here],
        instead: "`windrow worker --data-dir` sets the folder of a worker's temporary files",
    },
    Reach { flag: "overwrite", shown: "--overwrite", given: |f| f.overwrite, runs: EVERYWHERE, instead: "" },
    Reach {
        flag: "durable",
        shown: "--durable",
        given: |f| f.durable,
        runs: &[Run::Here],
        instead: "a cluster always makes outputs safe against power cuts",
    },
    Reach { flag: "explain", shown: "--explain", given: |f| f.explain, runs: EVERYWHERE, instead: "" },
    Reach {
        flag: "format",
        shown: "-o json",
        given: |f| f.format != OutputFormat::Table,
        runs: &[Run::Here, Run::Cluster],
        instead: "give it to `windrow submit` itself, before the binary",
    },
];

impl RunFlags {
    /// The options of the job itself, in every kind of run.
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
    /// Warns about given flags that have no effect in such a run.
    pub(crate) fn warn_without_effect(&self, run: Run) {
        for reach in self.without_effect(run) {
            eprintln!("warning: {} {}: {}", reach.shown, run.no_effect(), reach.instead);
        }
    }
    fn without_effect(&self, run: Run) -> impl Iterator<Item = &'static Reach> {
        REACH.iter().filter(move |reach| !reach.runs.contains(&run) && (reach.given)(self))
    }
    /// How jobs with these flags run without `windrow submit`.
    pub(crate) fn run(&self) -> Run {
        match self.cluster {
            Some(_) => Run::Cluster,
            None => Run::Here,
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

/// Half of the machine's memory in bytes; a gigabyte if it is unknown.
pub(crate) fn half_of_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map_or(1 << 30, |kib| kib * 1024 / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, Command, FromArgMatches};
    use std::collections::{BTreeMap, BTreeSet};

    fn without_effect_in(run: Run, args: &str) -> Vec<&'static str> {
        let command = RunFlags::augment_args(Command::new("job").no_binary_name(true));
        let flags = RunFlags::from_arg_matches(&command.get_matches_from(args.split(' '))).unwrap();
        flags.without_effect(run).map(|reach| reach.shown).collect()
    }

    #[test]
    fn flags_without_effect_are_known_for_each_run() {
        let here = "--cluster auto --token-file t --tls-ca c --threads 2 --memory 1GB --scratch s --durable -o json";
        let named =
            ["--cluster", "--token-file", "--tls-ca", "--threads", "--memory", "--scratch", "--durable", "-o json"];
        assert_eq!(without_effect_in(Run::Submitted, here), named);
        assert_eq!(without_effect_in(Run::Cluster, here), ["--threads", "--memory", "--scratch", "--durable"]);
        assert_eq!(without_effect_in(Run::Here, here), ["--token-file", "--tls-ca"]);
        let everywhere = "--partitions 3 --chunk-size 1MB --skip-bad-records 2 --no-backup-attempts --overwrite --explain --compression none -o table";
        for run in [Run::Submitted, Run::Cluster, Run::Here] {
            assert!(without_effect_in(run, everywhere).is_empty());
        }
    }

    /// The rows of the guide's table with entries for job binaries: the flag, and the runs in which it has an effect.
    fn guide() -> BTreeMap<String, [String; 4]> {
        let guide = include_str!("../../../docs/GUIDE.md");
        let table = guide.split("\n## Flags\n").nth(1).expect("the guide has a section `Flags`");
        let rows = table.lines().skip_while(|l| !l.starts_with("| `--")).take_while(|l| l.starts_with('|'));
        let cells = rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect());
        let named = cells.map(|cells: Vec<String>| {
            let flag = cells[0].split('`').nth(1).expect("a flag").trim_start_matches("--").to_string();
            (flag, [1, 2, 3, 4].map(|i| cells[i].clone()))
        });
        named.filter(|(_, runs)| runs.iter().any(|said| said != "–")).collect()
    }

    #[test]
    fn guide_lists_the_effect_of_every_job_flag() {
        let command = RunFlags::augment_args(Command::new("job"));
        let flags: BTreeSet<String> = command.get_arguments().map(|a| a.get_long().unwrap().to_string()).collect();
        let reached: BTreeSet<String> = REACH.iter().map(|reach| reach.flag.to_string()).collect();
        assert_eq!(flags, reached, "every flag of RunFlags has its line in REACH");
        let guide = guide();
        assert_eq!(guide.keys().cloned().collect::<BTreeSet<_>>(), flags, "the table in docs/GUIDE.md");
        for reach in REACH {
            let said = |run| if reach.runs.contains(&run) { "yes" } else { "warned" };
            let driver = if reach.runs.iter().any(|run| *run != Run::Submitted) { "yes" } else { "warned" };
            let expected = [said(Run::Here), said(Run::Cluster), driver, said(Run::Submitted)];
            assert_eq!(guide[reach.flag], expected, "--{} in docs/GUIDE.md", reach.flag);
        }
    }
}
