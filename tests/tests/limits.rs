//! Limits on user code's processes, memory, scratch space and time, without harm to other jobs.

use rustix::process::Signal;
use std::path::Path;
use std::time::{Duration, Instant};
use windrow_tests::cluster::Cluster;
use windrow_tests::corpus;
use windrow_tests::output::parts;
use windrow_tests::program::{Daemon, command, eventually, local, pids_below, processes_with, run};

/// A cancel takes two seconds at most; a busy machine gets some more.
const CANCELLED_WITHIN: Duration = Duration::from_secs(5);

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad"), "some words\nBOOM here\nmore words\n").unwrap();
    std::fs::write(folder.path().join("good"), "some words\n").unwrap();
    local(folder.path(), "wordcount", ["good", "--output", "expected"]).ok();
    folder
}

/// Checks that the cluster still runs jobs.
#[track_caller]
fn still_works(cluster: &Cluster, folder: &Path) {
    cluster.job(folder, "wordcount", ["good", "--output", "after"]).ok();
    assert!(parts(&folder.join("after")) == parts(&folder.join("expected")));
    cluster.wait_until_clean();
}

#[track_caller]
fn cancel(cluster: &Cluster, id: &str) -> Duration {
    let begun = Instant::now();
    run(&mut cluster.windrow(["job", "cancel", id, "--coordinator", &cluster.url])).ok();
    assert_eq!(cluster.json(["job", "list"])[0]["state"], "cancelled");
    eventually("its processes and files are gone", || cluster.executors() == 0 && cluster.leftovers().is_empty());
    begun.elapsed()
}

#[test]
fn descendants_of_a_task_end_with_its_job() {
    let folder = folder();
    let cluster = Cluster::start(1, 1);
    // No other process of the machine sleeps for this time.
    let sleeper = format!("100017.{}", std::process::id());
    let what = format!("children:{sleeper}");
    cluster.job(folder.path(), "hostile", ["bad", &what, "bad", "--output", "out"]).ok();
    eventually("its descendants are gone", || processes_with(&sleeper) == 0);
    still_works(&cluster, folder.path());
    cluster.stop();
}

#[test]
fn cancel_kills_hundreds_of_surviving_descendants() {
    let folder = folder();
    let cluster = Cluster::start(1, 1);
    let sleeper = format!("100018.{}", std::process::id());
    let what = format!("bomb:{sleeper}");
    let id = cluster.detach(folder.path(), "hostile", ["bad", &what, "bad", "--output", "out"]);
    eventually("they are there", || processes_with(&sleeper) >= 400);
    cancel(&cluster, &id);
    eventually("they are gone", || processes_with(&sleeper) == 0);
    still_works(&cluster, folder.path());
    cluster.stop();
}

/// They do not die with the worker as its executors do; its next incarnation kills them.
#[test]
fn restarted_worker_kills_descendants_of_its_old_tasks() {
    let folder = folder();
    let mut cluster = Cluster::start(1, 1);
    let sleeper = format!("100019.{}", std::process::id());
    let what = format!("bomb:{sleeper}");
    let id = cluster.detach(folder.path(), "hostile", ["bad", &what, "bad", "--output", "out"]);
    eventually("they are there", || processes_with(&sleeper) >= 400);
    cluster.kill_worker(0);
    run(&mut cluster.windrow(["job", "cancel", &id, "--coordinator", &cluster.url])).ok();
    cluster.start_worker(0);
    eventually("they are gone", || processes_with(&sleeper) == 0);
    still_works(&cluster, folder.path());
    cluster.stop();
}

/// Covers bombs whose processes carry no mark of their origin.
#[test]
fn fork_bomb_fails_only_its_own_job() {
    let folder = folder();
    let mut cluster = Cluster::start(0, 1);
    if !cluster.add_worker_if_possible(1, ["--max-processes", "100"]) {
        return println!("skipped: no control groups can be made here");
    }
    let sleeper = format!("100020.{}", std::process::id());
    let what = format!("forks:{sleeper}");
    let failed = cluster.job(folder.path(), "hostile", ["bad", &what, "bad", "--output", "out"]);
    failed
        .with(1)
        .shows_error("TOO_MANY_PROCESSES", &["100 processes and threads", "--max-processes", "failed 4 times"]);
    assert!(!folder.path().join("out").exists());
    eventually("nothing of it is left", || processes_with(&sleeper) == 0 && cluster.executors() == 0);
    still_works(&cluster, folder.path());
    cluster.stop();
}

#[test]
fn endless_job_is_cancelled_at_once() {
    let folder = folder();
    let cluster = Cluster::start(1, 1);
    let id = cluster.detach(folder.path(), "hostile", ["bad", "hang", "bad", "--output", "out"]);
    eventually("it runs", || cluster.json(["job", "list"])[0]["tasks"]["running"] == 1 && cluster.executors() == 1);
    let took = cancel(&cluster, &id);
    println!("cancelled after {took:?}");
    assert!(took < CANCELLED_WITHIN, "{took:?}");
    assert!(!folder.path().join("out").exists());
    still_works(&cluster, folder.path());
    cluster.stop();
}

#[test]
fn job_with_a_stopped_process_is_cancelled_at_once() {
    let folder = folder();
    let cluster = Cluster::start(1, 1);
    let id = cluster.detach(folder.path(), "hostile", ["bad", "hang", "bad", "--output", "out"]);
    eventually("it runs", || cluster.json(["job", "list"])[0]["tasks"]["running"] == 1 && cluster.executors() == 1);
    for pid in pids_below(&cluster.worker_folder(0)) {
        rustix::process::kill_process(pid, Signal::STOP).unwrap();
    }
    let took = cancel(&cluster, &id);
    println!("cancelled after {took:?}");
    assert!(took < CANCELLED_WITHIN, "{took:?}");
    still_works(&cluster, folder.path());
    cluster.stop();
}

#[test]
fn job_past_its_deadline_ends_with_its_processes() {
    let folder = folder();
    let cluster = Cluster::start(1, 1);
    let submit = ["submit", "--timeout", "1s", "--coordinator", &cluster.url];
    let mut submit = cluster.windrow(submit);
    submit.arg(windrow_tests::program::binary("hostile")).args(["--", "bad", "hang", "bad", "--output", "out"]);
    run(submit.current_dir(folder.path())).with(5).shows_error("DEADLINE_EXCEEDED", &[]);
    eventually("its processes and files are gone", || cluster.executors() == 0 && cluster.leftovers().is_empty());
    still_works(&cluster, folder.path());
    cluster.stop();
}

/// No process is killed from outside, so the process itself reports what it lacked.
#[test]
fn memory_hog_is_stopped_by_the_workers_limit() {
    let folder = folder();
    let mut cluster = Cluster::start(0, 1);
    cluster.worker_memory = "64MiB".into();
    cluster.worker_args = ["--memory-limit", "300MiB"].map(str::to_string).to_vec();
    cluster.add_worker(1);
    let failed = cluster.job(folder.path(), "hostile", ["bad", "hoard", "bad", "--output", "out"]);
    failed.with(1).shows_error("OUT_OF_MEMORY", &["limit 300 MiB", "peak"]);
    still_works(&cluster, folder.path());
    cluster.stop();
}

/// The first job's attempts get no more than their quota, and the second one has its space.
#[test]
fn attempt_beyond_its_quota_fails_and_frees_its_space() {
    let folder = folder();
    let mut random = corpus::Random(9);
    let text: String = (0..150_000).map(|_| format!("{:016x}\n", random.number())).collect();
    std::fs::write(folder.path().join("many"), text).unwrap();
    let mut cluster = Cluster::start(0, 1);
    cluster.worker_memory = "8MiB".into();
    cluster.worker_args = ["--scratch-quota", "1MiB"].map(str::to_string).to_vec();
    cluster.add_worker(1);
    let failed = cluster.job(folder.path(), "wordcount", ["many", "--output", "out"]);
    failed.with(1).shows_error("SCRATCH_QUOTA_EXCEEDED", &["its quota is 1 MiB", "failed 4 times"]);
    assert!(!folder.path().join("out").exists());
    still_works(&cluster, folder.path());
    // Smaller tasks fit, run by run and part by part.
    local(folder.path(), "wordcount", ["many", "--output", "whole", "--partitions", "16"]).ok();
    let args = ["many", "--output", "small", "--partitions", "16", "--chunk-size", "100kB"];
    cluster.job(folder.path(), "wordcount", args).ok();
    assert!(parts(&folder.path().join("small")) == parts(&folder.path().join("whole")));
    cluster.stop();
}

#[test]
fn stopping_worker_finishes_its_task() {
    let folder = folder();
    let gate = folder.path().join("gate");
    std::fs::create_dir(&gate).unwrap();
    std::fs::write(folder.path().join("gated"), "gate1 a\n").unwrap();
    let mut cluster = Cluster::start(2, 1);
    let args = ["gate", "gated", "--output", "out", "--gate", gate.to_str().unwrap()];
    let id = cluster.detach(folder.path(), "hostile", args);
    eventually("its task waits", || std::fs::read_dir(&gate).unwrap().count() == 1);
    let runs = (0..2).find(|index| !pids_below(&cluster.worker_folder(*index)).is_empty()).unwrap();
    cluster.signal_worker(runs, Signal::TERM);
    eventually("it drains", || {
        let workers = cluster.json(["worker", "list"]);
        workers.as_array().unwrap().iter().any(|w| w["state"] == "draining")
    });
    std::fs::write(gate.join("open"), "").unwrap();
    run(&mut cluster.windrow(["job", "wait", &id, "--coordinator", &cluster.url])).ok();
    assert_eq!(cluster.worker_ends(runs, || false), Some(Some(0)));
    let job = &cluster.json(["job", "list"])[0];
    assert_eq!(job["attempts"], job["tasks"]["total"], "nothing ran twice: {job}");
    cluster.stop();
}

/// The run and its supervisor are killed together, so the next run cleans up.
#[test]
fn next_local_run_sweeps_files_of_a_killed_one() {
    let folder = folder();
    let gate = folder.path().join("gate");
    std::fs::create_dir(&gate).unwrap();
    std::fs::write(folder.path().join("gated"), "gate1 a\n").unwrap();
    let mut command = command("hostile", folder.path());
    command.args(["gate", "gated", "--output", "out", "--gate", gate.to_str().unwrap()]).current_dir(folder.path());
    let killed = Daemon::start(&mut command);
    eventually("its task waits", || std::fs::read_dir(&gate).unwrap().count() == 1);
    // Kills its process group.
    drop(killed);
    let hidden = || {
        let all = std::fs::read_dir(folder.path()).unwrap().flatten().map(|e| e.path());
        all.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with('.')).collect::<Vec<_>>()
    };
    let left = hidden();
    assert_eq!(left.len(), 2, "temporary files and a staging folder: {left:?}");
    local(folder.path(), "wordcount", ["good", "--output", "soon"]).ok();
    assert_eq!(hidden().len(), 2, "they might be those of a run that has just begun");
    for path in &left {
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(600);
        std::fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
    }
    local(folder.path(), "wordcount", ["good", "--output", "later"]).ok();
    assert_eq!(hidden(), Vec::<std::path::PathBuf>::new());
}
