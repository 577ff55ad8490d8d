//! Faults of the links in a cluster: silence for longer than a lease, flapping, stalls and resets in the middle of a
//! stream, flipped bits, one-way loss, slow readers, pieces of one byte.
//!
//! Short by default; `WINDROW_LINK_ROUNDS` sets the number of repetitions (offsets at which streams break, flaps).

use serde_json::Value;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;
use windrow_tests::cluster::{Cluster, Setup, Timeouts};
use windrow_tests::corpus::{self, Random};
use windrow_tests::gated::{Gated, attempts};
use windrow_tests::output::parts;
use windrow_tests::program::{Ended, binary, eventually, local, run};
use windrow_tests::proxy::{Proxy, Rules, Weather};

fn rounds(default: u64) -> u64 {
    std::env::var("WINDROW_LINK_ROUNDS").map_or(default, |text| text.parse().expect("a number"))
}

/// A cluster with links that a test may break.
fn linked(workers: usize, slots: u32, lease: &str, fetch: &str) -> Cluster {
    Setup { workers, slots, links: Some(Timeouts { lease, fetch }), ..Setup::default() }.start()
}

/// A sort of three megabytes, which pass between workers or stay in place.
struct Sort {
    folder: TempDir,
    jobs: u32,
}

impl Sort {
    fn new() -> Sort {
        let folder = tempfile::tempdir().unwrap();
        local(folder.path(), "terasort", ["gen", "30000", "records"]).ok();
        let sort = Sort { folder, jobs: 0 };
        local(sort.path(), "terasort", sort.args("expected")).ok();
        sort
    }
    fn path(&self) -> &Path {
        self.folder.path()
    }
    fn args<'a>(&self, output: &'a str) -> Vec<&'a str> {
        vec!["sort", "records", "--output", output, "--chunk-size", "250kB", "--partitions", "6"]
    }
    /// Runs it on the cluster and compares the bytes. Returns the job as the coordinator lists it.
    fn run(&mut self, cluster: &Cluster) -> Value {
        self.jobs += 1;
        let output = format!("out{}", self.jobs);
        cluster.job(self.path(), "terasort", self.args(&output)).ok();
        assert!(parts(&self.path().join(&output)) == parts(&self.path().join("expected")), "other bytes");
        let jobs = cluster.json(["job", "list"]);
        jobs.as_array().unwrap().last().unwrap().clone()
    }
}

/// `windrow submit`, attached, over this URL.
fn submit(cluster: &Cluster, url: &str, folder: &Path, name: &str, args: Vec<String>) -> JoinHandle<Ended> {
    let mut command = cluster.windrow(["submit", "--coordinator", url, "--token-file"]);
    command.arg(cluster.token_file()).arg(binary(name)).arg("--").args(args).current_dir(folder);
    std::thread::spawn(move || run(&mut command))
}

fn state(cluster: &Cluster, worker: usize) -> String {
    cluster.worker(worker).map_or_else(String::new, |w| w["state"].as_str().unwrap().to_string())
}

/// Three leases of silence: the tasks run elsewhere while the worker goes on with them, and its late messages have no
/// effect.
#[test]
fn worker_silent_for_three_leases_is_fenced() {
    let job = Gated::new();
    let cluster = linked(2, 3, "1s", "2s");
    let attached = submit(&cluster, &cluster.url, job.path(), "hostile", job.args("out"));
    job.wait_for(3);
    let silent = usize::from(!has_executor(&cluster, 0));
    cluster.links[silent].session.set(Rules::silence());
    eventually("its lease is over", || state(&cluster, silent) == "lost");
    std::thread::sleep(Duration::from_secs(2));
    // Both attempts of each task end at the same time, one of them without a session.
    job.open();
    std::thread::sleep(Duration::from_millis(300));
    cluster.links[silent].session.heal();
    attached.join().unwrap().ok();
    job.check("out");
    eventually("it is back", || state(&cluster, silent) == "live");
    cluster.wait_until_clean();
    cluster.stop();
}

/// Whether the worker runs a job's process.
fn has_executor(cluster: &Cluster, worker: usize) -> bool {
    !windrow_tests::program::pids_below(&cluster.worker_folder(worker)).is_empty()
}

#[test]
fn flapping_link_causes_no_connection_storm() {
    let mut sort = Sort::new();
    let cluster = linked(3, 1, "1s", "1s");
    let flaps = rounds(6);
    let before = cluster.links[0].session.seen().connections;
    std::thread::scope(|scope| {
        let flapping = scope.spawn(|| {
            for _ in 0..flaps {
                cluster.links[0].session.set(Rules { refuses: true, ..Rules::silence() });
                cluster.links[0].transfer.set(Rules { refuses: true, ..Rules::silence() });
                cluster.links[0].session.cut();
                cluster.links[0].transfer.cut();
                std::thread::sleep(Duration::from_secs(1));
                cluster.links[0].session.heal();
                cluster.links[0].transfer.heal();
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        let mut jobs = 0;
        while !flapping.is_finished() {
            sort.run(&cluster);
            jobs += 1;
        }
        println!("{jobs} jobs in {flaps} flaps");
    });
    let connections = cluster.links[0].session.seen().connections - before;
    println!("{connections} connections in {flaps} flaps of two seconds");
    // With pauses of 50, 100, 200, 400, 800 ms it tries four or five times in a second of failures.
    assert!(connections <= 8 * flaps, "{connections} connections in {flaps} flaps");
    eventually("it is back", || state(&cluster, 0) == "live");
    cluster.stop();
}

/// Breaks one connection of the shuffle after the other, each at another byte. Returns the surplus of attempts over
/// tasks.
fn break_streams(seed: u64, rounds: u64, broken: impl Fn(u64) -> Weather) -> u64 {
    let mut sort = Sort::new();
    let cluster = linked(2, 1, "10s", "1s");
    let mut random = Random(seed);
    let (mut more, mut happened) = (0, 0);
    let seen = |cluster: &Cluster| cluster.links.iter().map(|l| l.transfer.seen().happenings).sum::<u64>();
    for _ in 0..rounds {
        for links in &cluster.links {
            // A new connection, so that the next fault counts from its beginning.
            links.transfer.cut();
            // Small offsets hit the beginning of HTTP/2, larger ones the data.
            let size = 1 << random.below(21);
            let at = 1 + random.below(size);
            links.transfer.set(Rules { back: broken(at), ..Rules::default() });
        }
        let before = seen(&cluster);
        let job = sort.run(&cluster);
        happened += seen(&cluster) - before;
        more += job["attempts"].as_u64().unwrap() - job["tasks"]["total"].as_u64().unwrap();
        cluster.links.iter().for_each(|links| links.transfer.heal());
    }
    cluster.stop();
    println!("{happened} streams broken in {rounds} jobs, {more} attempts more than tasks");
    assert!(happened > 0);
    more
}

#[test]
fn cut_streams_resume_without_rerunning_tasks() {
    let rounds = rounds(8);
    let more = break_streams(21, rounds, |at| Weather { cut_after: Some(at), ..Weather::default() });
    assert_eq!(more, 0, "attempts more than tasks in {rounds} jobs");
}

#[test]
fn stalled_streams_are_dropped_and_resumed() {
    let rounds = rounds(3);
    let more = break_streams(22, rounds, |at| Weather { stall_after: Some(at), ..Weather::default() });
    assert_eq!(more, 0, "attempts more than tasks in {rounds} jobs");
}

#[test]
fn flipped_bits_are_refetched_without_rerunning_the_map() {
    let rounds = rounds(8);
    let more = break_streams(23, rounds, |at| Weather { flip_at: Some(at), ..Weather::default() });
    assert_eq!(more, 0, "attempts more than tasks in {rounds} jobs");
}

/// No reader can fetch from a worker that is otherwise well: its outputs are recomputed elsewhere, and the job ends
/// while the link is still broken.
#[test]
fn outputs_two_readers_cannot_fetch_are_recomputed() {
    let job = Gated::new();
    let cluster = linked(3, 1, "10s", "300ms");
    let attached = submit(&cluster, &cluster.url, job.path(), "hostile", job.args("out"));
    job.wait_for(3);
    let back = Weather { silent: true, ..Weather::default() };
    cluster.links[0].transfer.set(Rules { back, ..Rules::default() });
    job.open();
    attached.join().unwrap().ok();
    let (attempts, tasks) = attempts(&cluster);
    println!("{attempts} attempts of {tasks} tasks");
    job.check("out");
    assert_eq!(state(&cluster, 0), "excluded");
    cluster.stop();
}

#[test]
fn slow_reader_costs_its_server_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    local(folder.path(), "terasort", ["gen", "400000", "records"]).ok();
    let args = |output: &str| ["sort", "records", "--partitions", "2", "--output", output].map(str::to_string).to_vec();
    let cluster = linked(2, 1, "10s", "5s");
    for links in &cluster.links {
        links
            .transfer
            .set(Rules { back: Weather { bytes_per_second: Some(100_000), ..Weather::default() }, ..Rules::default() });
    }
    let attached = submit(&cluster, &cluster.url, folder.path(), "terasort", args("out"));
    let fetched = || cluster.links.iter().map(|l| l.transfer.seen().bytes_back).sum::<u64>();
    eventually("the shuffle is under way", || fetched() > 300_000);
    let resident = (0..2).map(|i| windrow_tests::program::resident_bytes(cluster.worker_pid(i))).max().unwrap();
    println!("resident: {} MB", resident / 1_000_000);
    assert!(resident < 100_000_000, "{resident} B");
    cluster.links.iter().for_each(|links| links.transfer.heal());
    attached.join().unwrap().ok();
    local(folder.path(), "terasort", args("expected")).ok();
    assert!(parts(&folder.path().join("out")) == parts(&folder.path().join("expected")));
    cluster.stop();
}

#[test]
fn client_on_a_broken_link_follows_its_job_to_the_end() {
    let job = Gated::new();
    let cluster = Cluster::start(1, 3);
    let link = Proxy::to(cluster.url.trim_start_matches("http://").parse().unwrap());
    // The first break comes during the upload of the job's binary.
    link.set(Rules { there: Weather { cut_after: Some(1_000_000), ..Weather::default() }, ..Rules::default() });
    let attached = submit(&cluster, &link.url(), job.path(), "hostile", job.args("out"));
    job.wait_for(3);
    for _ in 0..5 {
        link.cut();
        std::thread::sleep(Duration::from_millis(200));
    }
    job.open();
    attached.join().unwrap().ok();
    assert!(link.seen().resets >= 3, "{:?}", link.seen());
    let (attempts, tasks) = attempts(&cluster);
    assert_eq!(attempts, tasks);
    job.check("out");
    cluster.stop();
}

#[test]
fn broken_artifact_download_resumes() {
    let mut sort = Sort::new();
    let cluster = linked(1, 1, "2s", "1s");
    let back = Weather { cut_after: Some(1_000_000), ..Weather::default() };
    cluster.links[0].session.set(Rules { back, ..Rules::default() });
    sort.run(&cluster);
    assert_eq!(cluster.links[0].session.seen().resets, 1);
    cluster.stop();
}

#[test]
fn links_that_pass_one_byte_at_a_time_work() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in"), corpus::text(31, 30_000)).unwrap();
    let args = |output| ["in", "--chunk-size", "8kB", "--partitions", "3", "--output", output];
    local(folder.path(), "wordcount", args("expected")).ok();
    let cluster = linked(2, 1, "10s", "10s");
    // The binary is uploaded before: thirty million writes would only cost time.
    cluster.job(folder.path(), "wordcount", args("first")).ok();
    for proxy in cluster.links.iter().flat_map(|l| [&l.session, &l.transfer]) {
        let one = Weather { piece_bytes_max: Some(1), ..Weather::default() };
        proxy.set(Rules { there: one.clone(), back: one, refuses: false });
        proxy.cut();
    }
    cluster.job(folder.path(), "wordcount", args("second")).ok();
    for output in ["first", "second"] {
        assert!(parts(&folder.path().join(output)) == parts(&folder.path().join("expected")), "{output}");
    }
    cluster.stop();
}
