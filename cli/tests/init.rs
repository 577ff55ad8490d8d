//! `windrow` as process 1 of a process namespace, like in a container. Needs root and `unshare`; says so where it is
//! skipped.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Bound on every wait, which only a hang exceeds.
const PATIENCE: Duration = Duration::from_secs(30);

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waiting for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// A worker in a process namespace of its own; its coordinator need not exist.
fn contained(data_dir: &Path) -> Option<Child> {
    let possible =
        Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).stderr(Stdio::null()).status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("skipped: process namespaces cannot be made here");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args([
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        env!("CARGO_BIN_EXE_windrow"),
        "--no-config",
        "worker",
    ]);
    command.args(["--coordinator", "http://127.0.0.1:9", "--insecure", "--data-dir"]).arg(data_dir);
    Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

#[test]
fn process_one_reaps_orphans_and_passes_signals_on() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let Some(mut unshare) = contained(&data_dir) else { return };
    let init = until("process 1", || children(unshare.id()).first().copied());
    let worker = until("the worker below it", || children(init).first().copied());
    until("the worker's folder", || data_dir.join("worker").exists().then_some(()));
    // Each shell leaves a process behind that process 1 inherits, and that ends soon after.
    for _ in 0..10 {
        let mut enter = Command::new("nsenter");
        enter.args(["--pid", "--target", &init.to_string(), "sh", "-c", "sh -c 'sleep 0.2 & exit 0'"]);
        assert!(enter.stdin(Stdio::null()).status().unwrap().success());
    }
    until("all orphans to be reaped", || (children(init) == [worker]).then_some(()));
    let stopped = Command::new("kill").args(["-TERM", &init.to_string()]).status().unwrap();
    assert!(stopped.success());
    let ended = until("the container to end", || unshare.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0), "as the worker ends that was asked to");
}
