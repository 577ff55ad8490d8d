//! Clusters as users start them: their output, how tools find them, and that no process and no folder is left.

use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use windrow_tests::program::{Daemon, command, eventually, processes_with, run};

fn windrow(home: &TempDir) -> Command {
    command("windrow", home.path())
}

fn json(command: &mut Command) -> Value {
    run(command).ok().json()
}

fn records(home: &Path) -> usize {
    std::fs::read_dir(home.join("coordinators")).map_or(0, Iterator::count)
}

fn entries(folder: &TempDir) -> BTreeSet<PathBuf> {
    std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_coordinator_is_found_while_it_runs_and_its_worker_with_it() {
    let home = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut coordinator = Daemon::start(
        windrow(&home).args(["coordinator", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data.path().join("c")),
    );
    let url = coordinator.read_line("coordinator ");
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    assert_eq!(records(home.path()), 1);
    let mut worker = Daemon::start(
        windrow(&home)
            .args(["worker", "--coordinator", &url, "--slots", "3", "--memory", "64MiB", "--data-dir"])
            .arg(data.path().join("w")),
    );
    let id = worker.read_line("worker ");
    let workers = json(windrow(&home).args(["worker", "list", "-o", "json"]));
    assert_eq!(workers[0]["id"], id.as_str());
    assert_eq!(workers[0]["slots"], 3);
    assert_eq!(workers[0]["state"], "live");
    assert_eq!(workers[0]["memory_bytes"], 64 << 20);
    assert_eq!(json(windrow(&home).args(["-o", "json", "job", "list"])), serde_json::json!([]));

    // Another user's state folder holds no token.
    let other = tempfile::tempdir().unwrap();
    run(windrow(&other).args(["job", "list", "--coordinator", &url])).with(3).shows_error("UNAUTHORISED", &[]);
    let token = data.path().join("c/token");
    run(windrow(&other).args(["job", "list", "--coordinator", &url, "--token-file"]).arg(&token)).ok();

    let id = "job-00000000000000000000000000000007";
    let unknown = run(windrow(&home).args(["-o", "json", "job", "get", id])).with(1).json();
    assert_eq!(unknown["error"]["code"], "JOB_NOT_FOUND");

    assert_eq!(worker.stop(), Some(0));
    assert_eq!(coordinator.stop(), Some(0));
    assert_eq!(records(home.path()), 0);
}

#[test]
fn two_coordinators_do_not_share_a_folder() {
    let home = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = windrow(&home);
        command.args(["coordinator", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data.path());
        command
    };
    let mut first = Daemon::start(&mut start());
    first.read_line("coordinator ");
    let second = run(&mut start()).with(1);
    assert!(second.stdout.is_empty());
    second.shows_error("DATA_DIR_IN_USE", &[]);
    assert_eq!(first.stop(), Some(0));
}

#[test]
fn up_starts_all_workers_and_down_stops_them() {
    let home = tempfile::tempdir().unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let mut command = windrow(&home);
    command.args(["up", "--workers", "2", "--slots", "1", "--memory", "64MiB"]).env("TMPDIR", temporary.path());
    let mut up = Daemon::start(&mut command);
    let url = up.read_line("coordinator ");
    let workers = json(windrow(&home).args(["worker", "list", "-o", "json", "--coordinator", &url]));
    let workers = workers.as_array().unwrap();
    assert_eq!(workers.len(), 2);
    assert!(workers.iter().all(|worker| worker["state"] == "live" && worker["slots"] == 1));
    assert_eq!(entries(&temporary).len(), 1);
    assert_eq!(up.stop(), Some(0));
    assert_eq!(records(home.path()), 0);
    assert_eq!(entries(&temporary).len(), 0);
}

#[test]
fn up_removes_the_folder_of_one_that_was_killed() {
    let home = tempfile::tempdir().unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = windrow(&home);
        command.args(["up", "--workers", "1", "--memory", "64MiB"]).env("TMPDIR", temporary.path());
        let mut up = Daemon::start(&mut command);
        up.read_line("coordinator ");
        up
    };
    let alive = start();
    let kept = entries(&temporary);
    let killed = start();
    let left: Vec<PathBuf> = entries(&temporary).difference(&kept).cloned().collect();
    killed.kill();
    assert!(left.len() == 1 && left[0].exists());
    // Until its worker has ended, too, the folder stays.
    let mut tries = 0;
    while left[0].exists() {
        assert!(tries < 20, "the folder of the killed one stays");
        tries += 1;
        let next = start();
        let begun = Instant::now();
        while left[0].exists() && begun.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(next.stop(), Some(0));
    }
    assert_eq!(entries(&temporary), kept, "the folder of the living one stays");
    assert_eq!(alive.stop(), Some(0));
}

#[test]
fn workers_die_with_the_up_that_started_them() {
    let home = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut up = Daemon::start(
        windrow(&home).args(["up", "--workers", "2", "--memory", "64MiB", "--data-dir"]).arg(data.path()),
    );
    up.read_line("coordinator ");
    let processes = || processes_with(data.path().to_str().unwrap());
    assert_eq!(processes(), 3);
    up.signal(Signal::KILL);
    eventually("its workers have ended", || processes() == 0);
    up.kill();
}
