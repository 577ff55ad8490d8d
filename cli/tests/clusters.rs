//! Real clusters of processes on this machine: their output, how tools find them, and that no process is left.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

fn windrow(home: &TempDir) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("windrow"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WINDROW_") {
            command.env_remove(name);
        }
    }
    command.env("WINDROW_HOME", home.path()).env("XDG_CONFIG_HOME", home.path().join("config"));
    command
}

/// A daemon that is killed if the test fails.
struct Daemon {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Daemon {
    fn start(command: &mut Command) -> Daemon {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Daemon { child, stdout }
    }
    /// Reads the next line, which begins with `word`, and returns the rest.
    fn wait_for_word(&mut self, word: &str) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().strip_prefix(word).unwrap_or_else(|| panic!("no {word}: {line}")).trim().to_string()
    }
    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }
    /// Exit code after SIGTERM.
    fn stop(mut self) -> Option<i32> {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().unwrap().code()
    }
}
impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn json(output: Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn records(home: &Path) -> usize {
    std::fs::read_dir(home.join("coordinators")).map_or(0, Iterator::count)
}

#[test]
fn a_coordinator_is_found_while_it_runs_and_its_worker_with_it() {
    let home = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut coordinator = Daemon::start(
        windrow(&home).args(["coordinator", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data.path().join("c")),
    );
    let url = coordinator.wait_for_word("coordinator ");
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    assert_eq!(records(home.path()), 1);
    let mut worker = Daemon::start(
        windrow(&home)
            .args(["worker", "--coordinator", &url, "--slots", "3", "--memory", "64MiB", "--data-dir"])
            .arg(data.path().join("w")),
    );
    let id = worker.wait_for_word("worker ");
    let workers = json(windrow(&home).args(["worker", "list", "-o", "json"]).output().unwrap());
    assert_eq!(workers[0]["id"], id.as_str());
    assert_eq!(workers[0]["slots"], 3);
    assert_eq!(workers[0]["state"], "live");
    assert_eq!(workers[0]["memory_bytes"], 64 << 20);
    assert_eq!(json(windrow(&home).args(["-o", "json", "job", "list"]).output().unwrap()), serde_json::json!([]));

    // Another user's state folder holds no token.
    let other = tempfile::tempdir().unwrap();
    let refused = windrow(&other).args(["job", "list", "--coordinator", &url]).output().unwrap();
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("UNAUTHORISED"));
    let token = data.path().join("c/token");
    let mut with_token = windrow(&other);
    with_token.args(["job", "list", "--coordinator", &url, "--token-file"]).arg(&token);
    assert!(with_token.output().unwrap().status.success());

    // An unknown job.
    let id = "job-00000000000000000000000000000007";
    let unknown = windrow(&home).args(["-o", "json", "job", "get", id]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    let unknown: Value = serde_json::from_slice(&unknown.stdout).unwrap();
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
    first.wait_for_word("coordinator ");
    let second = start().output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(second.stdout.is_empty());
    assert!(String::from_utf8_lossy(&second.stderr).contains("DATA_DIR_IN_USE"));
    assert_eq!(first.stop(), Some(0));
}

#[test]
fn up_starts_all_workers_and_down_stops_them() {
    let home = tempfile::tempdir().unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let mut command = windrow(&home);
    command.args(["up", "--workers", "2", "--slots", "1", "--memory", "64MiB"]).env("TMPDIR", temporary.path());
    let mut up = Daemon::start(&mut command);
    let url = up.wait_for_word("coordinator ");
    let workers = json(windrow(&home).args(["worker", "list", "-o", "json", "--coordinator", &url]).output().unwrap());
    let workers = workers.as_array().unwrap();
    assert_eq!(workers.len(), 2);
    assert!(workers.iter().all(|worker| worker["state"] == "live" && worker["slots"] == 1));
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 1);
    assert_eq!(up.stop(), Some(0));
    assert_eq!(records(home.path()), 0);
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn up_removes_the_folder_of_one_that_was_killed() {
    let home = tempfile::tempdir().unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = windrow(&home);
        command.args(["up", "--workers", "1", "--memory", "64MiB"]).env("TMPDIR", temporary.path());
        let mut up = Daemon::start(&mut command);
        up.wait_for_word("coordinator ");
        up
    };
    let folders = || {
        let entries = std::fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.collect::<std::collections::BTreeSet<_>>()
    };
    let alive = start();
    let kept = folders();
    let mut killed = start();
    let left: Vec<_> = folders().difference(&kept).cloned().collect();
    killed.signal(rustix::process::Signal::KILL);
    killed.child.wait().unwrap();
    assert!(left.len() == 1 && left[0].exists());
    // Its worker has ended with it when the locks are free: until then the folder stays.
    let mut tries = 0;
    while left[0].exists() {
        assert!(tries < 20, "the folder of the killed one stays");
        tries += 1;
        let next = start();
        let begun = std::time::Instant::now();
        while left[0].exists() && begun.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(next.stop(), Some(0));
    }
    assert_eq!(folders(), kept, "the folder of the living one stays");
    assert_eq!(alive.stop(), Some(0));
}

#[test]
fn workers_die_with_the_up_that_started_them() {
    let home = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut command = windrow(&home);
    command.args(["up", "--workers", "2", "--memory", "64MiB", "--data-dir"]).arg(data.path()).stderr(Stdio::piped());
    let mut up = Daemon::start(&mut command);
    up.wait_for_word("coordinator ");
    let mut stderr = up.child.stderr.take().unwrap();
    let (end, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // Every process of the cluster holds this pipe, so it ends with the last of them.
        std::io::copy(&mut stderr, &mut std::io::sink()).unwrap();
        end.send(()).unwrap();
    });
    assert!(ended.try_recv().is_err());
    up.signal(rustix::process::Signal::KILL);
    ended.recv_timeout(Duration::from_secs(10)).expect("a worker outlived its cluster");
}
