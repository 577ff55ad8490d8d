//! Shuffle files whose bytes change on disk after a task has verified and mapped them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use windrow_tests::cluster::Cluster;
use windrow_tests::corpus;
use windrow_tests::output::parts;
use windrow_tests::program::{eventually, local, run};

/// The files of a worker with this pattern that hold what attempts have written for others.
fn edges(cluster: &Cluster, pattern: &str) -> Vec<PathBuf> {
    let found = Command::new("find").arg(cluster.worker_folder(0).join("jobs")).args(["-name", pattern]).output();
    String::from_utf8(found.unwrap().stdout).unwrap().lines().map(PathBuf::from).collect()
}

/// Small outputs share a file, large ones have their own.
#[derive(Clone, Copy)]
enum Outputs {
    Small,
    Large,
}

/// Changes the largest file of these outputs while the reduce has it mapped, then lets the reduce go on.
#[track_caller]
fn is_made_again(outputs: Outputs, change: impl FnOnce(&File, &[u8])) {
    let (bytes, chunk, pattern) = match outputs {
        Outputs::Small => (30_000, "10kB", "spool-*"),
        Outputs::Large => (6_000_000, "2MB", "*.edge-*"),
    };
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    fs::create_dir(&gate).unwrap();
    fs::write(folder.path().join("in"), format!("{}gate1\n", corpus::text(20, bytes))).unwrap();
    let gate_arg = gate.to_str().unwrap();
    let args = |output| {
        let args = ["gate", "in", "--output", output, "--gate", gate_arg, "--in-reduce", "--partitions", "1"];
        args.into_iter().chain(["--chunk-size", chunk])
    };
    let cluster = Cluster::start(1, 2);
    let id = cluster.detach(folder.path(), "hostile", args("out"));
    eventually("the reduce has sorted its input and waits", || fs::read_dir(&gate).unwrap().count() == 1);
    // In place: the reduce has this file mapped.
    let edge = edges(&cluster, pattern).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let bytes = fs::read(&edge).unwrap();
    let file = File::options().write(true).open(&edge).unwrap();
    change(&file, &bytes);
    fs::write(gate.join("open"), "").unwrap();
    run(&mut cluster.windrow(["job", "wait", &id, "--coordinator", &cluster.url])).ok();
    let job = cluster.json(["job", "get", &id]);
    // Four maps and the reduce; then the map of the changed file and the reduce again. Neither is charged.
    assert!(job["attempts"].as_u64() >= Some(7), "{job}");
    assert_eq!(job["failures"].as_array().map(Vec::len), Some(0), "{job}");
    // No process of the job has crashed.
    assert!(!job.to_string().contains("EXECUTOR_CRASHED"), "{job}");
    local(folder.path(), "hostile", args("expected")).ok();
    assert_eq!(parts(&folder.path().join("out")), parts(&folder.path().join("expected")));
    cluster.stop();
}

/// Changes what one map has written: the start of the file.
fn change(file: &File, bytes: &[u8]) {
    for at in (100..bytes.len() / 8).step_by(100) {
        file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
    }
}

#[test]
fn shuffle_file_that_changes_under_its_reader_is_made_again() {
    is_made_again(Outputs::Large, change);
}

#[test]
fn shared_file_that_changes_under_its_reader_is_made_again() {
    is_made_again(Outputs::Small, change);
}

#[test]
fn shuffle_file_that_is_cut_under_its_reader_is_made_again() {
    is_made_again(Outputs::Large, |file, _| file.set_len(100).unwrap());
}

/// All maps have lost their outputs.
#[test]
fn shared_file_that_is_cut_under_its_reader_is_made_again() {
    is_made_again(Outputs::Small, |file, _| file.set_len(100).unwrap());
}
