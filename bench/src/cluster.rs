//! Compares a cluster of two worker processes with a slot each with the same job in one process with two threads, and
//! measures the overhead of a cluster for jobs that do almost nothing.

use crate::{Args, Result, Row, data, example, in_turn, median, timed};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};
use windrow::Escape;

/// Number of tasks in the row with many tasks.
const TASKS: u32 = 10_000;
/// Number of jobs that a driver runs in a row.
const JOBS: u32 = 20;

/// A running cluster, stopped on drop.
pub(crate) struct Cluster {
    up: Child,
    pub(crate) url: String,
    home: PathBuf,
}

impl Cluster {
    pub(crate) fn start(folder: &Path) -> Result<Cluster> {
        let home = folder.join("cluster");
        let _ = fs::remove_dir_all(&home);
        let mut command = Command::new(example("windrow")?);
        command.args(["up", "--no-config", "--workers", "2", "--slots", "1", "--data-dir"]).arg(home.join("data"));
        command.env("WINDROW_HOME", home.join("state")).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut up = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
        let lines = up.stdout.take().map(|out| BufReader::new(out).lines());
        let url = lines.into_iter().flatten().map_while(|line| line.ok());
        let url = url.filter_map(|line| line.strip_prefix("coordinator ").map(str::to_string)).next();
        let cluster = Cluster { up, url: url.unwrap_or_default(), home };
        match cluster.url.is_empty() {
            true => Err("the cluster did not start".to_string()),
            false => Ok(cluster),
        }
    }

    pub(crate) fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(example(program)?);
        command.env("WINDROW_HOME", self.home.join("state"));
        Ok(command)
    }

    /// Resident memory of the cluster's processes, with their first arguments.
    pub(crate) fn resident_mb(&self) -> Vec<String> {
        let mut all = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
            let command = read("cmdline").replace('\0', " ");
            if !command.contains(&*self.home.to_string_lossy()) {
                continue;
            }
            let status = read("status");
            let kb = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            let what = command.split(' ').nth(1).unwrap_or_default().to_string();
            all.extend(kb.map(|kb| format!("{what} {}", kb >> 10)));
        }
        all
    }

    /// Number of files in the workers' folders of jobs.
    pub(crate) fn job_files(&self) -> usize {
        fn files(folder: &Path) -> usize {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|e| if e.path().is_dir() { files(&e.path()) } else { 1 }).sum()
        }
        let workers = fs::read_dir(self.home.join("data")).into_iter().flatten().flatten();
        workers.map(|worker| files(&worker.path().join("jobs"))).sum()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Like Ctrl-C, which also stops its workers.
        let _ = Command::new("kill").args(["-INT", &self.up.id().to_string()]).status();
        let _ = self.up.wait();
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// Prints a row for each kind of work, then the rows of the overhead.
pub(crate) fn measure(args: &Args, rows: &[&Row]) -> Result<()> {
    let data = fs::canonicalize(&args.data).map_err(|e| format!("{}: {e}", args.data.escaped()))?;
    let cluster = Cluster::start(&data)?;
    println!("{:<16} {:>8} {:>9} {:>9} {:>7}", "row", "MiB", "process s", "cluster s", "ratio");
    rows.iter().try_for_each(|row| work(args, &data, row, &cluster))?;
    control(args, &data, &cluster)
}

fn work(args: &Args, data: &Path, row: &Row, cluster: &Cluster) -> Result<()> {
    let inputs: Vec<PathBuf> = row.inputs.iter().map(|n| data::make(data, n, args.size)).collect::<Result<_>>()?;
    let names: Vec<String> = inputs.iter().map(|path| path.escaped().to_string()).collect();
    let output = data.join("out-windrow");
    let run = |place: [&str; 2]| {
        let mut command = cluster.command(row.example)?;
        command.args((row.args)(&names)).arg("--output").arg(&output).args(place).args(&args.job);
        timed(command, &output)
    };
    let (a, b) = in_turn(args.runs, || run(["--threads", "2"]), || run(["--cluster", &cluster.url]))?;
    println!("{:<16} {:>8} {a:>9.2} {b:>9.2} {:>7.2}", row.name, args.size, b / a);
    Ok(())
}

/// Copies a program so that it behaves the same and has another digest: bytes after its end are not read.
fn make_new(program: &Path, copy: &Path) -> std::io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    fs::copy(program, copy)?;
    let mut file = fs::OpenOptions::new().append(true).open(copy)?;
    file.write_all(&now.to_le_bytes())?;
    // The time to write this file to the disk must not be measured.
    file.sync_all()
}

/// Runs a command and returns the number that it prints.
fn printed(mut command: Command) -> Result<f64> {
    let ended = command.stderr(Stdio::piped()).output().map_err(|e| format!("{command:?}: {e}"))?;
    let text = String::from_utf8_lossy(&ended.stdout);
    let number = text.trim().parse().ok().filter(|_| ended.status.success());
    number.ok_or_else(|| format!("{command:?}: {}\n{}", ended.status, String::from_utf8_lossy(&ended.stderr)))
}

/// Measures jobs without work.
fn control(args: &Args, data: &Path, cluster: &Cluster) -> Result<()> {
    let (lines, line, edges) = (data.join("lines"), data.join("line"), data.join("triangle"));
    let text: String = (0..TASKS).map(|n| format!("{n:099}\n")).collect();
    for (path, text) in [(&lines, text.as_str()), (&line, "one line\n"), (&edges, "1 2\n2 3\n3 1\n")] {
        fs::write(path, text).map_err(|e| format!("{}: {e}", path.escaped()))?;
    }
    let output = data.join("out-windrow");
    let submit_binary = |binary: &Path, input: &Path, more: &[&str]| {
        let mut command = cluster.command("windrow")?;
        command.args(["submit", "--no-config", "--coordinator", &cluster.url]).arg(binary).arg("--");
        command.arg("nothing").arg(input).arg("--output").arg(&output).args(more);
        timed(command, &output)
    };
    let submit = |input: &Path, more: &[&str]| submit_binary(&example("grep")?, input, more);
    let cold = data.join("grep-of-now");
    let submit_cold = || {
        make_new(&example("grep")?, &cold).map_err(|e| format!("{}: {e}", cold.escaped()))?;
        submit_binary(&cold, &line, &[])
    };
    let driver = || {
        let mut command = cluster.command("windrow-bench-driver")?;
        command.arg(&line).args(["--partitions", "1", "--cluster", &cluster.url]);
        printed(command)
    };
    let rounds = |n: u32| {
        let mut command = cluster.command("pagerank")?;
        command.arg(&edges).args(["--until=-1", "--rounds", &n.to_string(), "--cluster", &cluster.url]);
        command.arg("--output").arg(&output);
        timed(command, &output)
    };
    let times = |f: &dyn Fn() -> Result<f64>| (0..=args.runs).map(|_| f()).collect::<Result<Vec<f64>>>();
    let seconds = |name: &str, mut all: Vec<f64>| {
        // The first run starts with a cold binary.
        all.remove(0);
        println!("{name:<42} {:>9.3} s", median(all));
    };
    seconds(&format!("{TASKS} empty tasks"), times(&|| submit(&lines, &["--chunk-size", "100B"]))?);
    seconds("`windrow submit` of one line", times(&|| submit(&line, &[]))?);
    seconds("the same, with a new binary", times(&submit_cold)?);
    seconds("a job of a driver (2 tasks in 2 stages)", times(&|| Ok(driver()? / 1e3))?);
    seconds(
        "a job of a driver (8 tasks in 8 stages)",
        times(&|| Ok((rounds(JOBS + 1)? - rounds(1)?) / f64::from(JOBS)))?,
    );
    Ok(())
}
