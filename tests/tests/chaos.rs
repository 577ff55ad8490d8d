//! Three kinds of jobs run while workers, executors and the coordinator are killed, stopped and restarted at random
//! moments, links between them are cut, silenced, stalled and damaged, and bits flip in shuffle files on disk. Every
//! job must end, with the bytes of a run without faults, and no process may be left.
//!
//! `WINDROW_CHAOS_RUNS` is the number of runs (2), `WINDROW_CHAOS_SEED` the first seed. A failure names its seed; the
//! same seed makes the same faults in the same order, but not at the same instants. `WINDROW_CHAOS_MEGABYTES` is the
//! size of the job that is timed while a worker dies every few seconds.

use rustix::process::Signal;
use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use windrow_tests::cluster::{Cluster, Setup, Timeouts};
use windrow_tests::corpus::{self, Random};
use windrow_tests::histories::check_summaries;
use windrow_tests::output::parts;
use windrow_tests::program::{Ended, binary, eventually, local, run};
use windrow_tests::proxy::{Rules, Weather};

const WORKERS: usize = 3;
/// Duration of the faults; afterwards everything heals.
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

/// `windrow submit`, attached until the job ends.
fn submit(cluster: &Cluster, folder: &Path, job: &Job, output: &str) -> JoinHandle<Ended> {
    let mut command = cluster.windrow(["submit", "--coordinator", &cluster.url]);
    command.arg(binary(job.name)).arg("--").args(job.args).args(["--output", output]).current_dir(folder);
    std::thread::spawn(move || run(&mut command))
}

/// Counts of faults and of their outcomes.
#[derive(Default, Debug)]
struct Tally {
    workers_killed: u32,
    workers_stopped: u32,
    coordinators_killed: u32,
    executors_killed: u32,
    links_cut: u32,
    links_silenced: u32,
    streams_stalled_or_damaged: u32,
    files_damaged: u32,
    jobs: u32,
    jobs_lost: u32,
    results_wrong: u32,
    hangs: u32,
}

impl Tally {
    fn faults(&self) -> u32 {
        self.workers_killed
            + self.workers_stopped
            + self.coordinators_killed
            + self.executors_killed
            + self.links_cut
            + self.links_silenced
            + self.streams_stalled_or_damaged
            + self.files_damaged
    }

    /// Injects one fault. Links may stay broken until `Broken` heals them.
    fn one(&mut self, cluster: &mut Cluster, random: &mut Random, broken: &mut Broken) {
        let worker = random.below(WORKERS as u64) as usize;
        // Some outlast a lease.
        let longest = if random.below(4) == 0 { 2_500 } else { 600 };
        let pause = Duration::from_millis(random.below(longest));
        match random.below(18) {
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
            8..10 => self.executors_killed += u32::from(cluster.kill_an_executor(random.number())),
            10..12 => {
                self.links_cut += 1;
                let links = &cluster.links[worker];
                [&links.session, &links.transfer][random.below(2) as usize].cut();
            }
            12..14 => {
                self.links_silenced += 1;
                let silent = |yes| Weather { silent: yes, ..Weather::default() };
                let ways = 1 + random.below(3);
                let (there, back) = (silent(ways & 1 != 0), silent(ways & 2 != 0));
                broken.set(cluster, worker, random.below(2) == 0, Rules { there, back, refuses: false }, pause);
            }
            14..16 => {
                self.streams_stalled_or_damaged += 1;
                let at = Some(random.below(100_000));
                // Requests and messages to the coordinator have no checksum of Windrow's own: only data is damaged
                // here.
                let back = match random.below(3) {
                    0 => Weather { stall_after: at, ..Weather::default() },
                    1 => Weather { cut_after: at, ..Weather::default() },
                    _ => Weather { flip_at: at, ..Weather::default() },
                };
                cluster.links[worker].transfer.cut();
                broken.set(cluster, worker, false, Rules { back, ..Rules::default() }, pause);
            }
            _ => self.files_damaged += u32::from(damage_a_file(&cluster.worker_folder(worker), random)),
        }
    }
}

/// Broken links with the time of their repair: the worker, and whether it is its session.
#[derive(Default)]
struct Broken(Vec<(Instant, usize, bool)>);

impl Broken {
    fn set(&mut self, cluster: &Cluster, worker: usize, session: bool, rules: Rules, pause: Duration) {
        let links = &cluster.links[worker];
        if session { &links.session } else { &links.transfer }.set(rules);
        self.0.push((Instant::now() + pause, worker, session));
    }
    fn heal(&mut self, cluster: &Cluster, all: bool) {
        let now = Instant::now();
        self.0.retain(|(at, worker, session)| {
            let over = all || *at <= now;
            if over {
                let links = &cluster.links[*worker];
                if *session { &links.session } else { &links.transfer }.heal();
            }
            !over
        });
    }
}

/// Deletes or truncates a file of outputs, of one attempt or of many, or flips one bit of it, like a bad disk: readers that
/// have it open keep the old bytes.
fn damage_a_file(folder: &Path, random: &mut Random) -> bool {
    let patterns = ["(", "-name", "edge-?*", "-o", "-name", "spool-?*", ")", "!", "-name", "*.damaged"];
    let found = Command::new("find").arg(folder.join("jobs")).args(patterns).output();
    let found = String::from_utf8(found.unwrap().stdout).unwrap();
    let files: Vec<&Path> = found.lines().map(Path::new).collect();
    let Some(edge) = files.get(random.below(files.len().max(1) as u64) as usize) else { return false };
    // It may be deleted at any moment.
    let Ok(mut bytes) = std::fs::read(edge) else { return false };
    let at = random.below(bytes.len().max(1) as u64) as usize;
    match (random.below(4), bytes.get_mut(at)) {
        (0, _) => return std::fs::remove_file(edge).is_ok(),
        (1, _) => bytes.truncate(at),
        (_, Some(byte)) => *byte ^= 1 << random.below(8),
        (_, None) => return false,
    }
    let damaged = edge.with_extension("damaged");
    let replaced = std::fs::write(&damaged, bytes).is_ok() && edge.exists() && std::fs::rename(&damaged, edge).is_ok();
    if !replaced {
        let _ = std::fs::remove_file(&damaged);
    }
    replaced
}

fn one_run(folder: &Path, seed: u64, tally: &mut Tally) {
    let mut random = Random(seed);
    // Every other run uses files in place, as on one machine.
    let in_place = seed.is_multiple_of(2);
    let links = Some(Timeouts { lease: "1s", fetch: "1s" });
    let mut cluster = Setup { workers: WORKERS, slots: 1, in_place, links, ..Setup::default() }.start();
    let output = |job: &Job| format!("out-{seed}-{}", job.name);
    let running: Vec<_> = JOBS.iter().map(|job| (job, submit(&cluster, folder, job, &output(job)))).collect();
    eventually("every job is known", || cluster.json(["job", "list"]).as_array().map(Vec::len) == Some(JOBS.len()));
    let mut broken = Broken::default();
    let start = Instant::now();
    let before = tally.faults();
    while start.elapsed() < FAULTS_FOR && !running.iter().all(|(_, job)| job.is_finished()) {
        std::thread::sleep(Duration::from_millis(100 + random.below(500)));
        broken.heal(&cluster, false);
        tally.one(&mut cluster, &mut random, &mut broken);
    }
    broken.heal(&cluster, true);
    for (job, ended) in running {
        let ended = ended.join().unwrap();
        tally.jobs += 1;
        match ended.code {
            Some(0) => {
                let same = parts(&folder.join(output(job))) == parts(&folder.join(format!("expected-{}", job.name)));
                if !same {
                    eprintln!("seed {seed}: other bytes in {}", job.name);
                    tally.results_wrong += 1;
                }
            }
            // Killed by the test.
            None => {
                eprintln!("seed {seed}: {} hangs: {}", job.name, cluster.json(["job", "list"]));
                tally.hangs += 1;
            }
            Some(_) => {
                eprintln!("seed {seed}: {} is lost: {}", job.name, ended.stderr);
                tally.jobs_lost += 1;
            }
        }
    }
    let took = start.elapsed();
    println!("seed {seed}: {} faults in {took:.1?}", tally.faults() - before);
    // A worker that was just started dies of the signal that asks it to stop.
    eventually("every worker is back", || {
        let workers = cluster.json(["worker", "list"]);
        let there = |w: &serde_json::Value| w["state"] == "live" || w["state"] == "excluded";
        workers.as_array().is_some_and(|all| all.iter().filter(|w| there(w)).count() == WORKERS)
    });
    cluster.wait_until_clean();
    cluster.stop_then(|folder| assert_eq!(check_summaries(folder), JOBS.len(), "seed {seed}"));
    let entries = std::fs::read_dir(folder).unwrap().flatten().map(|e| e.file_name().into_string().unwrap());
    let hidden: Vec<String> = entries.filter(|n| n.starts_with(".out-")).collect();
    assert!(hidden.is_empty(), "seed {seed}: left behind {hidden:?}");
}

#[test]
fn faults_and_recoveries_change_no_byte() {
    let folder = tempfile::tempdir().unwrap();
    make_inputs(folder.path());
    let first = number("WINDROW_CHAOS_SEED", 1);
    let mut tally = Tally::default();
    for seed in first..first + number("WINDROW_CHAOS_RUNS", 2) {
        one_run(folder.path(), seed, &mut tally);
    }
    println!("{} faults: {tally:?}", tally.faults());
    assert_eq!((tally.jobs_lost, tally.results_wrong, tally.hangs), (0, 0, 0), "{tally:?}");
    // No process of any cluster is left.
    let left = Command::new("pgrep").args(["-f", folder.path().to_str().unwrap()]).output();
    assert!(left.is_ok_and(|l| l.stdout.is_empty()), "processes are left");
}

/// Size of a job of a second or two.
const SHORT_MEGABYTES: u64 = 8;

/// One of three workers is killed every few seconds, in turn, and restarted.
#[test]
fn job_ends_although_workers_keep_dying() {
    let megabytes = number("WINDROW_CHAOS_MEGABYTES", SHORT_MEGABYTES);
    let every = Duration::from_millis(if megabytes > SHORT_MEGABYTES { 5_000 } else { 500 });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("text"), corpus::text(5, megabytes as usize * 1_000_000)).unwrap();
    let job = Job { name: "wordcount", args: &["text", "--chunk-size", "250kB", "--partitions", "12"] };
    let mut took = Vec::new();
    for kills in [false, true] {
        let mut cluster = Cluster::start(WORKERS, 1);
        let output = format!("out-{kills}");
        let start = Instant::now();
        let running = submit(&cluster, folder.path(), &job, &output);
        let (mut killed, mut last) = (0, start);
        while !running.is_finished() {
            std::thread::sleep(Duration::from_millis(10));
            if kills && last.elapsed() >= every {
                last = Instant::now();
                let worker = killed % WORKERS;
                cluster.kill_worker(worker);
                cluster.start_worker_unheard(worker);
                killed += 1;
            }
        }
        running.join().unwrap().ok();
        took.push((start.elapsed(), killed));
        eventually("every worker is back", || {
            let workers = cluster.json(["worker", "list"]);
            workers.as_array().is_some_and(|all| all.iter().filter(|w| w["state"] == "live").count() == WORKERS)
        });
        cluster.stop();
    }
    assert!(parts(&folder.path().join("out-true")) == parts(&folder.path().join("out-false")));
    assert!(took[1].1 > 0, "no worker was killed");
    let ratio = took[1].0.as_secs_f64() / took[0].0.as_secs_f64();
    println!("{:.1?} without kills, {:.1?} with {} of them: {ratio:.2} times", took[0].0, took[1].0, took[1].1);
}
