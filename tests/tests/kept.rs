//! Records between jobs: the same bytes everywhere, read where they lie, and intermediate results that leave nothing.

use rustix::process::Signal;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use windrow_tests::cluster::Cluster;
use windrow_tests::corpus::{self, Random};
use windrow_tests::output::{lines, parts};
use windrow_tests::program::{Daemon, command, eventually, local};

/// Lines `WORD NUMBER` in the file `in`.
fn write_input(folder: &Path) {
    let mut random = Random(17);
    let text: String = (0..2_000).map(|_| format!("{} {}\n", random.word(), random.below(1_000))).collect();
    fs::write(folder.join("in"), text).unwrap();
}

/// The names of all datasets.
fn datasets(cluster: &Cluster) -> Vec<String> {
    let all = cluster.json(["data", "ls"]);
    all.as_array().unwrap().iter().map(|dataset| dataset["name"].as_str().unwrap().to_string()).collect()
}

#[test]
fn records_of_a_cluster_are_read_where_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write_input(path);
    let sums = |output: &'static str| ["sums", "in", "--partitions", "3", "--output", output, "--chunk-size", "2kB"];
    let joined = |left: &'static str, right: &'static str, output: &'static str| {
        // The number of partitions is that of the records, not this default.
        ["joined", left, right, "--output", output, "--partitions", "5"]
    };
    local(path, "kept", sums("here")).ok();
    local(path, "kept", joined("here", "here", "joined-here")).ok();
    assert_eq!(parts(&path.join("joined-here")).len(), 3);
    let cluster = Cluster::start(2, 1);
    cluster.job(path, "kept", sums("there")).ok();
    cluster.job(path, "kept", sums("windrow://set")).ok();
    assert!(parts(&path.join("there")) == parts(&path.join("here")));
    // What a dataset holds are the parts: they come back, and go into another dataset.
    cluster.data(path, &["get", "set", "got"]).ok();
    let bytes = |folder: &str| parts(&path.join(folder)).into_values().collect::<Vec<_>>();
    let got: Vec<Vec<u8>> = (0..3).map(|n| fs::read(path.join(format!("got/0000{n}"))).unwrap()).collect();
    assert!(got == bytes("here"));
    cluster.data(path, &["put", "got", "again", "--framing", "whole"]).ok();
    for (right, output) in
        [("there", "joined-files"), ("windrow://set", "joined-both"), ("windrow://again", "joined-datasets")]
    {
        let left = if output == "joined-datasets" { "windrow://set" } else { "here" };
        cluster.job(path, "kept", joined(left, right, output)).ok();
        assert!(parts(&path.join(output)) == parts(&path.join("joined-here")), "{output}");
    }
    // A dataset with some of the parts is no whole output: its records are shuffled.
    fs::create_dir(path.join("some")).unwrap();
    fs::copy(path.join("got/00001"), path.join("some/0")).unwrap();
    cluster.data(path, &["put", "some", "some", "--framing", "whole"]).ok();
    cluster.job(path, "kept", joined("windrow://some", "windrow://set", "joined-some")).ok();
    let all = lines(&path.join("joined-here"));
    let some = lines(&path.join("joined-some"));
    assert!(!some.is_empty() && some.len() < all.len() && some.iter().all(|line| all.contains(line)));
    for input in ["here", "windrow://set"] {
        let refused = cluster.job(path, "kept", ["other-type", input, "--output", "other"]);
        refused.with(1).shows_error("INPUT_MALFORMED", &["`(String, u64)`", "`(String, f64)`"]);
    }
    cluster.stop();
}

#[test]
fn driver_keeps_ranks_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("edges"), corpus::edges(31, 40, 200)).unwrap();
    let args = |output: &'static str| ["edges", "--until=-1", "--rounds", "4", "--partitions", "3", "--output", output];
    let files = || {
        let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    local(path, "pagerank", args("here")).ok();
    assert_eq!(files(), ["edges", "here"]);
    let cluster = Cluster::start(2, 1);
    let ran = cluster.job(path, "pagerank", args("there")).ok();
    assert!(ran.stderr.contains("round 3: ranks moved by at most"), "{}", ran.stderr);
    assert!(parts(&path.join("there")) == parts(&path.join("here")));
    assert_eq!(parts(&path.join("here")).len(), 3);
    assert_eq!((files().len(), datasets(&cluster)), (3, vec![]));
    // A driver that fails removes its results, too.
    fs::write(path.join("edges"), "1 2\nno edge\n").unwrap();
    cluster.job(path, "pagerank", args("failed")).with(1).shows_error("USER_ERROR", &["edges:4"]);
    local(path, "pagerank", args("failed")).with(1).shows_error("USER_ERROR", &["edges:4"]);
    assert_eq!((files().len(), datasets(&cluster)), (3, vec![]));
    cluster.stop();
}

#[test]
fn next_session_removes_the_datasets_of_a_killed_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write_input(path);
    let cluster = Cluster::start(1, 1);
    let hold = |until: &str| {
        let mut hold = command("kept", &cluster.home());
        hold.current_dir(path).args(["hold", "in", until, "--cluster", &cluster.url]);
        let mut driver = Daemon::start(&mut hold);
        let place = driver.read_line("kept");
        (driver, place.strip_prefix("windrow://").unwrap().to_string())
    };
    let (killed, dead) = hold("never");
    let (mut living, kept) = hold("later");
    killed.kill();
    let claims = cluster.home().join("sessions");
    let claim_of = |dataset: &str| -> PathBuf { claims.join(format!("{}.", dataset.split('.').next().unwrap())) };
    let age = SystemTime::now() - Duration::from_secs(120);
    for dataset in [&dead, &kept] {
        File::open(claim_of(dataset)).unwrap().set_modified(age).unwrap();
    }
    assert_eq!(datasets(&cluster).len(), 2);
    fs::write(path.join("at-once"), "").unwrap();
    let (mut next, own) = hold("at-once");
    eventually("the session has ended", || next.has_ended() == Some(Some(0)));
    assert_eq!(datasets(&cluster), std::slice::from_ref(&kept), "{dead} and {own} are gone");
    assert!(!claim_of(&dead).exists() && !claim_of(&own).exists());
    fs::write(path.join("later"), "").unwrap();
    eventually("the session has ended", || living.has_ended() == Some(Some(0)));
    assert_eq!((datasets(&cluster).len(), fs::read_dir(&claims).unwrap().count()), (0, 0));
    cluster.stop();
}

#[test]
fn crash_of_a_driver_leaves_no_kept_results() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write_input(path);
    fs::create_dir(path.join("scratch")).unwrap();
    let mut hold = command("kept", path);
    hold.current_dir(path).args(["hold", "in", "never", "--scratch", "scratch"]);
    let mut driver = Daemon::start(&mut hold);
    let place = PathBuf::from(driver.read_line("kept"));
    assert!(place.starts_with(path.join("scratch")), "{}", place.display());
    let area = place.parent().unwrap().to_path_buf();
    assert!(area.join("sums-1/_SUCCESS").exists());
    // The parent of the process that runs the jobs passes the signal on, and removes what that process leaves.
    driver.signal(Signal::TERM);
    eventually("the driver has ended", || driver.has_ended().is_some());
    assert!(!area.exists());
}
