//! Clusters that tests of users start: two workers in one line, and no process and no folder that stays.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use windrow::prelude::*;
use windrow::testing::{Cluster, Files};
use windrow_tests::program::{binary, eventually, pids_with};

fn files() -> Files {
    Files::new().lines("in", (0..300).map(|n| format!("w{} w{}", n % 7, n % 11))).lines("edges", ["1 2", "2 1", "2 3"])
}

/// The folder of a cluster: one of its processes has it among its arguments.
fn folder(cluster: &Cluster) -> PathBuf {
    let pids = pids_with(cluster.url());
    let arguments = pids.iter().map(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default());
    let below = arguments.flat_map(|text| text.split('\0').map(PathBuf::from).collect::<Vec<_>>());
    let is_own =
        |path: &&Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("windrow-test-"));
    let mut found = below.filter_map(|path| path.ancestors().find(is_own).map(Path::to_path_buf));
    found.next().expect("a worker knows its folder")
}

#[test]
fn program_gives_the_same_on_a_cluster_as_in_a_test() {
    let cluster = Cluster::start(2).unwrap();
    let files = files();
    let listed = cluster.windrow(["worker", "list", "-o", "json"]).unwrap();
    let workers: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(workers.as_array().unwrap().len(), 2, "{workers}");
    let args = ["in", "--chunk-size", "100B", "--partitions", "3", "--output", "out"];
    cluster.run(&files, binary("wordcount"), args).unwrap();
    let counted = files.read(lines("out")).unwrap();
    assert_eq!(counted.len(), 11);
    assert!(counted.contains(&"w10\t27".to_string()), "{counted:?}");
    let error = cluster.run(&files, binary("wordcount"), args).unwrap_err();
    assert!(error.code() == windrow::Code::OutputExists && error.to_string().contains("out"), "{error}");
    // Its records were written by another process.
    let error = files.records::<(String, u64)>("out").unwrap_err();
    assert!(error.to_string().contains("read its lines"), "{error}");
    // A driver's jobs run there, too.
    cluster.run(&files, binary("pagerank"), ["edges", "--rounds", "2", "--output", "ranks"]).unwrap();
    assert_eq!(files.read(lines("ranks")).unwrap().len(), 3);
    let jobs: serde_json::Value =
        serde_json::from_str(&cluster.windrow(["job", "list", "-o", "json"]).unwrap()).unwrap();
    assert!(jobs.as_array().unwrap().len() >= 2, "{jobs}");
}

#[test]
fn processes_of_a_cluster_end_with_a_panicking_test() {
    let mut seen = None;
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let cluster = Cluster::start(2).unwrap();
        seen = Some((cluster.url().to_string(), folder(&cluster)));
        panic!("the test fails");
    }));
    assert!(caught.is_err());
    let (url, folder) = seen.unwrap();
    assert!(!folder.exists());
    eventually("its processes have ended", || pids_with(&url).is_empty());
}
