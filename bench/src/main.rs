//! Compares the speed of the examples with plain programs for the same work.
//!
//! `cargo run --release -p windrow-bench -- [ROW...]` generates the data, runs each row's plain program and its Windrow
//! job in turn as separate processes, compares their outputs, and prints medians and ratios. `--cluster` compares a
//! cluster with one process, `--skew` data with a heavy key with data without one, `--pieces` a
//! job of thousands of small tasks with one of few large ones (with `--cluster` on a cluster). Build the examples first: `cargo
//! build --release --workspace --bins`.

#![warn(unreachable_pub)]

mod check;
mod cluster;
mod data;
mod pieces;
mod plain;
mod skew;

use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use windrow::Escape;

#[derive(Parser)]
#[command(about = "Times Windrow's examples against plain programs of two threads, and compares their results")]
struct Args {
    #[command(subcommand)]
    hidden: Option<Hidden>,
    /// wordcount, terasort, stations, grep, join, index, pagerank, medians (of values that no combiner folds), distinct (words of
    /// which none comes twice), kmers (sequences of 21 bases in a FASTQ file), jsonl (five of twenty fields) [default: all]
    rows: Vec<String>,
    /// Size of each input in MiB
    #[arg(long, default_value_t = 256)]
    size: u64,
    /// Timed runs of each program; one more comes first and is not counted
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Folder for data and outputs; existing data is reused
    #[arg(long, default_value = "target/bench-data")]
    data: PathBuf,
    /// Compare a cluster of two workers with one process instead, and time jobs that do almost nothing
    #[arg(long)]
    cluster: bool,
    /// Compare data in which one key has half of all pairs with data without such a key
    #[arg(long)]
    skew: bool,
    /// Compare a job of thousands of small chunks and partitions with the same job in default ones; with `--cluster` on one
    #[arg(long)]
    pieces: bool,
    /// More arguments for the jobs, such as `--job=--memory=256MB`
    #[arg(long, allow_hyphen_values = true)]
    job: Vec<String>,
}

#[derive(Subcommand)]
enum Hidden {
    /// The plain program of a row
    #[command(hide = true)]
    Plain { row: String, output: PathBuf, inputs: Vec<PathBuf> },
}

/// One kind of work.
struct Row {
    name: &'static str,
    /// Names of its input files in the data folder.
    inputs: &'static [&'static str],
    /// The example, and its arguments around the inputs.
    example: &'static str,
    args: fn(&[String]) -> Vec<String>,
    check: check::Check,
}

const ROWS: [Row; 11] = [
    Row { name: "wordcount", inputs: &["text"], example: "wordcount", args: plainly, check: check::same_lines },
    Row { name: "terasort", inputs: &["records"], example: "terasort", args: sort, check: check::sorted_records },
    Row { name: "stations", inputs: &["readings"], example: "stations", args: plainly, check: check::close_lines },
    Row { name: "grep", inputs: &["text"], example: "grep", args: grep, check: check::same_lines },
    Row { name: "join", inputs: &["customers", "orders"], example: "join", args: join, check: check::same_lines },
    Row { name: "index", inputs: &["documents"], example: "inverted_index", args: plainly, check: check::same_lines },
    Row { name: "pagerank", inputs: &["edges"], example: "pagerank", args: rounds, check: check::close_lines },
    Row {
        name: "medians",
        inputs: &["edges"],
        example: "windrow-bench-medians",
        args: plainly,
        check: check::same_lines,
    },
    Row { name: "kmers", inputs: &["reads"], example: "windrow-bench-kmers", args: plainly, check: check::same_lines },
    Row {
        name: "jsonl",
        inputs: &["requests"],
        example: "windrow-bench-jsonl",
        args: plainly,
        check: check::same_lines,
    },
    Row { name: "distinct", inputs: &["numbers"], example: "wordcount", args: plainly, check: check::same_lines },
];

/// Pattern of the grep row.
pub const PATTERN: &str = "q[a-f]+7";

fn plainly(inputs: &[String]) -> Vec<String> {
    inputs.to_vec()
}
fn sort(inputs: &[String]) -> Vec<String> {
    ["sort".to_string()].into_iter().chain(inputs.iter().cloned()).collect()
}
fn grep(inputs: &[String]) -> Vec<String> {
    [PATTERN.to_string()].into_iter().chain(inputs.iter().cloned()).collect()
}
fn join(inputs: &[String]) -> Vec<String> {
    vec!["--customers".into(), inputs[0].clone(), "--orders".into(), inputs[1].clone()]
}
fn rounds(inputs: &[String]) -> Vec<String> {
    inputs.iter().cloned().chain(["--rounds".into(), "10".into()]).collect()
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.hidden {
        Some(Hidden::Plain { row, output, inputs }) => plain::run(&row, &inputs, &output),
        None => measure_all(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("windrow-bench: {why}");
            ExitCode::FAILURE
        }
    }
}

type Result<T> = std::result::Result<T, String>;

fn measure_all(args: &Args) -> Result<()> {
    if let Some(unknown) = args.rows.iter().find(|name| ROWS.iter().all(|row| row.name != **name)) {
        return Err(format!("there is no row `{unknown}`"));
    }
    std::fs::create_dir_all(&args.data).map_err(|e| format!("{}: {e}", args.data.escaped()))?;
    let wanted = |row: &&Row| args.rows.is_empty() || args.rows.iter().any(|name| name == row.name);
    let rows: Vec<&Row> = ROWS.iter().filter(wanted).collect();
    if args.skew {
        return skew::measure(args);
    }
    if args.pieces {
        return pieces::measure(args);
    }
    if args.cluster {
        return cluster::measure(args, &rows);
    }
    println!("{:<10} {:>8} {:>9} {:>9} {:>7}", "row", "MiB", "plain s", "windrow s", "ratio");
    rows.into_iter().try_for_each(|row| measure(args, row))
}

/// The path of a program in the same folder as this one.
fn example(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe().map_err(|e| e.to_string())?.with_file_name(name);
    match path.is_file() {
        true => Ok(path),
        false => Err(format!("{} is missing: cargo build --release --workspace --bins", path.escaped())),
    }
}

fn measure(args: &Args, row: &Row) -> Result<()> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let example = example(row.example)?;
    let mut inputs = Vec::new();
    for name in row.inputs {
        inputs.push(data::make(&args.data, name, args.size)?);
    }
    let bytes: u64 = inputs.iter().map(|path| path.metadata().map_or(0, |m| m.len())).sum();
    let names: Vec<String> = inputs.iter().map(|path| path.escaped().to_string()).collect();
    let (expected, output) = (args.data.join("out-plain"), args.data.join("out-windrow"));
    let plain = || {
        let mut command = Command::new(&own);
        command.args(["plain", row.name]).arg(&expected).args(&inputs);
        command
    };
    let windrow = || {
        let mut command = Command::new(&example);
        command.args((row.args)(&names)).arg("--output").arg(&output).args(["--threads", "2"]).args(&args.job);
        command
    };
    let (a, b) = in_turn(args.runs, || timed(plain(), &expected), || timed(windrow(), &output))?;
    (row.check)(&expected, &output).map_err(|why| format!("{}: the results differ: {why}", row.name))?;
    println!("{:<10} {:>8} {:>9.2} {:>9.2} {:>7.2}", row.name, bytes >> 20, a, b, b / a);
    Ok(())
}

/// Medians of two programs that run in turn, so that a slow moment of the machine affects both. The first run of each
/// does not count.
fn in_turn(runs: usize, a: impl Fn() -> Result<f64>, b: impl Fn() -> Result<f64>) -> Result<(f64, f64)> {
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    for run in 0..=runs {
        let (a, b) = (a()?, b()?);
        if run > 0 {
            of_a.push(a);
            of_b.push(b);
        }
    }
    Ok((median(of_a), median(of_b)))
}

/// Seconds from start to exit; the output of an earlier run is removed first.
fn timed(mut command: Command, output: &Path) -> Result<f64> {
    let _ = std::fs::remove_dir_all(output);
    let start = Instant::now();
    let ended = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().map_err(|e| e.to_string())?;
    let took: Duration = start.elapsed();
    if !ended.status.success() {
        return Err(format!("{command:?}: {}\n{}", ended.status, String::from_utf8_lossy(&ended.stderr)));
    }
    Ok(took.as_secs_f64())
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}
