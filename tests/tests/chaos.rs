//! Three kinds of jobs run while workers, executors and the coordinator are killed, stopped and started again at random
//! moments. Every job must end, with the bytes of a run without faults, and nothing may be left behind.
//!
//! `WINDROW_CHAOS_RUNS` says how many runs (2), `WINDROW_CHAOS_SEED` with which seed they begin. A failure names its seed;
//! the same seed makes the same faults in the same order, not at the same instants.

use rustix::process::Signal;
use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use windrow_tests::cluster::Cluster;
use windrow_tests::corpus::{self, Random};
use windrow_tests::output::parts;
use windrow_tests::program::{Ended, HANGS_AFTER, binary, eventually, local, run};

const WORKERS: usize = 3;
/// With faults for so long, then the world is whole.
const FAULTS_FOR: Duration = Duration::from_secs(8);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

struct Job {
    name: &'static str,
    args: &'static [&'static str],
}

const JOBS: [Job; 3] = [
    Job { name: "wordcount", args: &["text", "--chunk-size", "8kB", "--partitions", "7"] },
    Job { name: "terasort", args: &["sort", "records", "--chunk-size", "20kB", "--partitions", "5"] },
    Job { name: "pagerank", args: &["edges", "--rounds", "3", "--chunk-size", "30kB", "--partitions", "4"] },
];

fn make_inputs(folder: &Path) {
    std::fs::write(folder.join("text"), corpus::text(77, 1_500_000)).unwrap();
    std::fs::write(folder.join("edges"), corpus::edges(78, 3_000, 40_000)).unwrap();
    local(folder, "terasort", ["gen", "15000", "records"]).ok();
    for job in JOBS {
        local(folder, job.name, job.args.iter().chain(&["--output", &format!("expected-{}", job.name)])).ok();
    }
}

/// `windrow submit`, attached for as long as the job takes.
fn submit(cluster: &Cluster, folder: &Path, job: &Job, output: &str) -> JoinHandle<Ended> {
    let mut command = cluster.windrow(["submit", "--coordinator", &cluster.url]);
    command.arg(binary(job.name)).arg("--").args(job.args).args(["--output", output]).current_dir(folder);
    std::thread::spawn(move || run(&mut command))
}

/// What happens to the cluster, and how often it did.
#[derive(Default, Debug)]
struct Faults {
    workers_killed: u32,
    workers_stopped: u32,
    coordinators_killed: u32,
    executors_killed: u32,
}

impl Faults {
    fn one(&mut self, cluster: &mut Cluster, random: &mut Random) {
        let worker = random.below(WORKERS as u64) as usize;
        let pause = Duration::from_millis(random.below(600));
        match random.below(10) {
            0..3 => {
                self.workers_killed += 1;
                cluster.kill_worker(worker);
                std::thread::sleep(pause);
                cluster.start_worker_unheard(worker);
            }
            3..5 => {
                self.workers_stopped += 1;
                cluster.signal_worker(worker, Signal::STOP);
                std::thread::sleep(pause);
                cluster.signal_worker(worker, Signal::CONT);
            }
            5..8 => {
                self.coordinators_killed += 1;
                cluster.kill_coordinator();
                std::thread::sleep(pause);
                cluster.start_coordinator();
            }
            _ => self.executors_killed += u32::from(cluster.kill_an_executor(random.number())),
        }
    }
}

fn one_run(folder: &Path, seed: u64) {
    let mut random = Random(seed);
    let mut cluster = Cluster::start(WORKERS, 1);
    let output = |job: &Job| format!("out-{seed}-{}", job.name);
    let running: Vec<_> = JOBS.iter().map(|job| (job, submit(&cluster, folder, job, &output(job)))).collect();
    eventually("every job is known", || cluster.json(["job", "list"]).as_array().map(Vec::len) == Some(JOBS.len()));
    let mut faults = Faults::default();
    let start = Instant::now();
    while start.elapsed() < FAULTS_FOR && !running.iter().all(|(_, job)| job.is_finished()) {
        std::thread::sleep(Duration::from_millis(100 + random.below(500)));
        faults.one(&mut cluster, &mut random);
    }
    for (job, ended) in running {
        let ended = ended.join().unwrap();
        assert_eq!(ended.code, Some(0), "seed {seed}, {}, {faults:?}: {}", job.name, ended.stderr);
        let same = parts(&folder.join(output(job))) == parts(&folder.join(format!("expected-{}", job.name)));
        assert!(same, "seed {seed}: other bytes than without {faults:?} in {}", job.name);
    }
    let took = start.elapsed();
    assert!(took < HANGS_AFTER, "seed {seed}: {took:?}");
    // One that has only just been started dies of the signal that asks it to stop.
    eventually("every worker is back", || {
        let workers = cluster.json(["worker", "list"]);
        workers.as_array().is_some_and(|all| all.iter().filter(|w| w["state"] == "live").count() == WORKERS)
    });
    eventually("every attempt's files are gone", || cluster.leftovers().is_empty());
    cluster.stop();
    let entries = std::fs::read_dir(folder).unwrap().flatten().map(|e| e.file_name().into_string().unwrap());
    let hidden: Vec<String> = entries.filter(|n| n.starts_with(".out-")).collect();
    assert!(hidden.is_empty(), "seed {seed}: left behind {hidden:?}");
    println!("seed {seed}: {faults:?} in {took:.1?}");
}

#[test]
fn whatever_dies_and_comes_back_the_bytes_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    make_inputs(folder.path());
    let first = number("WINDROW_CHAOS_SEED", 1);
    for seed in first..first + number("WINDROW_CHAOS_RUNS", 2) {
        one_run(folder.path(), seed);
    }
    // Nothing of any cluster is left, whatever died in between.
    let left = Command::new("pgrep").args(["-f", folder.path().to_str().unwrap()]).output();
    assert!(left.is_ok_and(|l| l.stdout.is_empty()), "processes are left");
}
