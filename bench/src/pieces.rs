//! Word count in thousands of small chunks and partitions, compared with one in default chunks and partitions: the cost of
//! a task, and of a pair of a task and a partition. On a cluster also what stays behind, and tasks that write one pair each
//! compared with tasks that write none.

use crate::cluster::Cluster;
use crate::{Args, Result, data, in_turn, median, timed};
use std::fs;
use std::process::Command;
use windrow::Escape;

/// Chunks and partitions of each row.
const CASES: [(u64, u64); 2] = [(1_024, 500), (4_096, 2_000)];
/// Tasks of a job whose tasks write a pair each or none, and how often it runs.
const TINY_TASKS: u32 = 10_000;
const TINY_RUNS: usize = 5;
/// Bytes of the input of such a task.
const TINY_BYTES: usize = 100;

/// Prints a row for each case: seconds in default pieces, in small ones, and their ratio.
pub(crate) fn measure(args: &Args) -> Result<()> {
    let folder = fs::canonicalize(&args.data).map_err(|e| format!("{}: {e}", args.data.escaped()))?;
    let input = data::make(&folder, "text", args.size)?;
    let output = folder.join("out-windrow");
    let cluster = if args.cluster { Some(Cluster::start(&folder)?) } else { None };
    let job = |input: &std::path::Path, pieces: &[String]| {
        let mut command = match &cluster {
            Some(cluster) => cluster.command("wordcount")?,
            None => Command::new(crate::example("wordcount")?),
        };
        command.arg(input).arg("--output").arg(&output);
        match &cluster {
            Some(cluster) => command.args(["--cluster", &cluster.url]),
            None => command.args(["--threads", "2"]),
        };
        timed(
            {
                command.args(pieces).args(&args.job);
                command
            },
            &output,
        )
    };
    println!("{:>7} {:>10} {:>7} {:>10} {:>9} {:>7}", "chunks", "partitions", "MiB", "default s", "pieces s", "ratio");
    for (chunks, partitions) in CASES {
        let chunk = format!("{}B", (args.size << 20).div_ceil(chunks));
        let small = ["--chunk-size".to_string(), chunk, "--partitions".to_string(), partitions.to_string()];
        let (a, b) = in_turn(args.runs, || job(&input, &[]), || job(&input, &small))?;
        println!("{chunks:>7} {partitions:>10} {:>7} {a:>10.2} {b:>9.2} {:>7.2}", args.size, b / a);
    }
    let Some(cluster) = &cluster else { return Ok(()) };
    let word = format!("{}\n", "w".repeat(TINY_BYTES - 1));
    let blank = format!("{}\n", " ".repeat(TINY_BYTES - 1));
    let inputs = [("pairs", word), ("blanks", blank)].map(|(name, line)| (folder.join(name), line));
    for (path, line) in &inputs {
        fs::write(path, line.repeat(TINY_TASKS as usize)).map_err(|e| format!("{}: {e}", path.escaped()))?;
    }
    let tiny = ["--chunk-size".to_string(), format!("{TINY_BYTES}B"), "--partitions".to_string(), "1".to_string()];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..TINY_RUNS {
        for (times, (path, _)) in times.iter_mut().zip(&inputs) {
            times.push(job(path, &tiny)?);
        }
    }
    for (times, what) in times.iter().zip(["a pair", "nothing"]) {
        let all: Vec<String> = times.iter().map(|seconds| format!("{seconds:.2}")).collect();
        println!("{TINY_TASKS} tasks that write {what} each: {} s", all.join(", "));
    }
    let [pairs, blanks] = times;
    println!("ratio of medians: {:.2}", median(pairs) / median(blanks));
    println!(
        "resident after all jobs, in MB: {}; files left of jobs: {}",
        cluster.resident_mb().join(", "),
        cluster.job_files()
    );
    Ok(())
}
