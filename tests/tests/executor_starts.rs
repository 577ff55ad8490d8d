//! Executors that do not start because the worker has reached a limit of its system.

// Without debug assertions there are no failpoints.
#![cfg(debug_assertions)]

use serde_json::Value;
use windrow_tests::cluster::Cluster;
use windrow_tests::program::eventually;

/// The system has no process, thread, memory or descriptor to give.
const LIMITS: [&str; 3] = ["error(11)", "error(12)", "error(24)"];

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("words"), "to be or not to be\n").unwrap();
    folder
}

fn cluster_with(worker_failpoints: String) -> Cluster {
    let mut cluster = Cluster::start(0, 1);
    cluster.worker_failpoints = worker_failpoints;
    cluster.add_worker(1);
    cluster.worker_failpoints.clear();
    cluster
}

fn only_job(cluster: &Cluster) -> Value {
    let id = cluster.json(["job", "list"])[0]["id"].as_str().unwrap().to_string();
    cluster.json(["job", "get", &id])
}

#[test]
fn executor_start_at_a_limit_is_not_charged() {
    let folder = folder();
    // The process itself; and its threads, of which the executor reports that they are missing.
    let points = LIMITS.map(|limit| format!("executor.spawn={limit}@1")).into_iter();
    for points in points.chain(["threads.start=error(11)@1".to_string()]) {
        let starts_later = points.starts_with("executor");
        let cluster = cluster_with(points.clone());
        let output = format!("out-{points}");
        if starts_later {
            cluster.job(folder.path(), "wordcount", ["words", "--output", &output]).ok();
        } else {
            // Each executor has the failpoint anew.
            cluster.detach(folder.path(), "wordcount", ["words", "--output", &output]);
            eventually("attempts have failed", || only_job(&cluster)["failures"].as_array().unwrap().len() > 2);
        }
        let job = only_job(&cluster);
        assert_eq!(job["tasks"]["failed"], 0, "{points}: {job}");
        for failure in job["failures"].as_array().unwrap() {
            assert_eq!((&failure["code"], &failure["charged"]), (&"RESOURCE_LIMIT".into(), &false.into()), "{points}");
        }
        assert!(!job["failures"].as_array().unwrap().is_empty(), "{points}: nothing failed: {job}");
        assert_eq!(cluster.worker(0).unwrap()["state"], "live", "it is the only one");
    }
}

#[test]
fn worker_that_starts_no_executor_is_excluded() {
    let folder = folder();
    let mut cluster = cluster_with("executor.spawn=error(11)".to_string());
    cluster.add_worker(1);
    cluster.job(folder.path(), "wordcount", ["words", "--chunk-size", "4B", "--output", "out"]).ok();
    let job = only_job(&cluster);
    assert_eq!(job["tasks"]["failed"], 0, "{job}");
    let worker = cluster.worker(0).unwrap();
    assert_eq!(worker["state"], "excluded", "{worker}");
    let reason = worker["reason"].as_str().unwrap();
    assert!(reason.contains("limit of its system") && reason.contains("ulimit -u"), "{reason}");
}
