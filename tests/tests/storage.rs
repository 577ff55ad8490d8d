//! File systems that do not answer: such a call costs its attempt an error, and no daemon waits for it.
//!
//! The failpoint action `hang` simulates such a file system: the call never returns.

// Without debug assertions there are no failpoints.
#![cfg(debug_assertions)]

use windrow_tests::cluster::{Cluster, Setup};
use windrow_tests::output::parts;
use windrow_tests::program::{binary, eventually, local, run};

/// The places where workers use the user's storage.
const PLACES: [&str; 2] = ["input.look", "publish.place"];

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let many: String = (0..20_000).map(|n| format!("word{}\n", n % 100)).collect();
    std::fs::write(folder.path().join("many"), many).unwrap();
    local(folder.path(), "wordcount", ["many", "--partitions", "4", "--output", "expected"]).ok();
    folder
}

fn states(cluster: &Cluster) -> Vec<String> {
    let workers = cluster.json(["worker", "list"]);
    workers.as_array().unwrap().iter().map(|w| w["state"].as_str().unwrap().to_string()).collect()
}

#[test]
fn hung_storage_of_one_worker_costs_only_attempts() {
    let folder = folder();
    for place in PLACES {
        let mut cluster = Cluster::start(0, 1);
        cluster.worker_args = ["--storage-timeout", "300ms"].map(str::to_string).to_vec();
        cluster.worker_failpoints = format!("{place}=hang");
        cluster.add_worker(1);
        cluster.worker_failpoints.clear();
        cluster.add_worker(1);
        let output = format!("out-{place}");
        let args = ["many", "--partitions", "4", "--chunk-size", "20kB", "--output", &output];
        cluster.job(folder.path(), "wordcount", args).ok();
        assert!(parts(&folder.path().join(&output)) == parts(&folder.path().join("expected")), "{place}");
        let job = &cluster.json(["job", "list"])[0];
        assert!(job["attempts"].as_u64() > job["tasks"]["total"].as_u64(), "{place}: nothing failed: {job}");
        assert!(states(&cluster).iter().all(|state| state != "lost"), "{place}: the worker beats all the time");
        // It ends although its threads hang.
        cluster.stop();
    }
}

#[test]
fn storage_hung_everywhere_fails_the_job_with_its_path() {
    let folder = folder();
    let mut cluster = Cluster::start(0, 1);
    cluster.worker_args = ["--storage-timeout", "300ms"].map(str::to_string).to_vec();
    cluster.worker_failpoints = "input.look=hang".into();
    cluster.add_worker(1);
    let failed = cluster.job(folder.path(), "wordcount", ["many", "--output", "out"]);
    failed.with(1).shows_error("STORAGE_TIMEOUT", &["/many"]);
    assert!(!folder.path().join("out").exists());
    assert_eq!(states(&cluster), ["live"]);
    cluster.stop();
}

/// The file system hung silently as long as the coordinator ran.
#[test]
fn hung_commit_is_reported_and_resumes_or_is_given_up() {
    let folder = folder();
    let mut cluster = Setup {
        coordinator_args: &["--storage-timeout", "300ms"],
        coordinator_failpoints: "commit.begun=hang",
        ..Setup::default()
    }
    .start();
    cluster.add_worker(1);
    let [kept, given_up] = ["kept", "given-up"]
        .map(|output| cluster.detach(folder.path(), "wordcount", ["many", "--partitions", "4", "--output", output]));
    let job = |cluster: &Cluster, id: &str| cluster.json(["job", "get", id]);
    for id in [&kept, &given_up] {
        eventually("the status says what the commit waits for", || {
            job(&cluster, id)["waiting"].as_str().is_some_and(|reason| reason.contains("has not answered"))
        });
        assert_eq!(job(&cluster, id)["state"], "committing");
    }
    let decide =
        |id: &str| run(&mut cluster.windrow(["job", "commit", "--coordinator", &cluster.url, "--give-up", id]));
    decide(&given_up).ok();
    assert_eq!(job(&cluster, &given_up)["state"], "cancelled");
    decide(&given_up).with(2).shows_error("BAD_REQUEST", &["no commit that waits"]);
    cluster.restart_coordinator();
    run(&mut cluster.windrow(["job", "wait", "--coordinator", &cluster.url, &kept])).ok();
    assert!(parts(&folder.path().join("kept")) == parts(&folder.path().join("expected")));
    assert!(!folder.path().join("given-up").exists());
    cluster.stop();
}

#[test]
fn excerpt_from_hung_storage_blocks_no_worker() {
    let folder = folder();
    let mut cluster = Cluster::start(0, 1);
    cluster.worker_failpoints = "excerpt.read=hang".into();
    cluster.add_worker(1);
    std::fs::write(folder.path().join("in"), "a b\nnever BOOM\n").unwrap();
    let mut command = cluster.windrow(["submit", "--coordinator", &cluster.url, "--progress-timeout", "1s"]);
    command.arg(binary("hostile")).args(["--", "bad", "hang", "in", "--output", "out"]);
    let failed = run(command.current_dir(folder.path()));
    // The record is named, and not shown.
    failed.with(1).shows_error("TASK_TIMEOUT", &["made no progress", "/in"]);
    assert_eq!(states(&cluster), ["live"]);
    cluster.stop();
}
