//! Files in a daemon's own folder that were replaced by pipes or folders: the daemon ends with the path, or goes on
//! without the file. It never waits for one.

use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use windrow_tests::cluster::Cluster;
use windrow_tests::program::{Daemon, eventually};

fn pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

fn folder(path: &Path) {
    fs::create_dir(path).unwrap();
}

fn files(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// Starts the daemon with each file of its folder replaced by a pipe, and by a folder. Returns the names of the files
/// that it needs.
fn needed(root: &Path, start: impl Fn() -> Command, is_up: &str) -> Vec<String> {
    let mut needed = Vec::new();
    let (aside, stderr) = (root.with_extension("aside"), root.with_extension("stderr"));
    for path in files(root) {
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        for replace in [pipe, folder] {
            fs::rename(&path, &aside).unwrap();
            replace(&path);
            let mut daemon = Daemon::start(start().stderr(File::create(&stderr).unwrap()));
            match daemon.read_line_if_it_starts(is_up) {
                Some(_) => assert_eq!(daemon.stop(), Some(0), "{name}"),
                None => {
                    let mut code = None;
                    eventually("the daemon has ended", || {
                        code = daemon.has_ended();
                        code.is_some()
                    });
                    let said = fs::read_to_string(&stderr).unwrap();
                    assert!(code.is_some_and(|code| code.is_some_and(|code| code < 100)), "{name}: {code:?}: {said}");
                    assert!(said.contains(&name) && said.contains("hint: "), "{name}: {said}");
                    needed.push(name.clone());
                }
            }
            // The daemon may have written the file anew.
            fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
            fs::rename(&aside, &path).unwrap();
        }
    }
    needed.dedup();
    needed
}

#[test]
fn pipe_in_a_data_folder_never_hangs_its_daemon() {
    let mut cluster = Cluster::start(1, 1);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in"), "a b\n").unwrap();
    cluster.job(folder.path(), "wordcount", ["in", "--output", "out"]).ok();
    assert_eq!(cluster.stop_worker(0), Some(0));

    let root = cluster.worker_folder(0);
    let worker = || {
        let mut command = cluster.windrow(["worker", "--coordinator", &cluster.url, "--listen", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(&root);
        command
    };
    let of_worker = needed(&root, worker, "worker ");
    for name in ["cluster", "lock", "worker"] {
        assert!(of_worker.iter().any(|needed| needed == name), "{name}: {of_worker:?}");
    }

    let root = cluster.coordinator_folder();
    let home = tempfile::tempdir().unwrap();
    assert_eq!(cluster.stop_coordinator(), Some(0));
    let coordinator = || {
        let mut command = windrow_tests::program::command("windrow", home.path());
        command.args(["coordinator", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&root);
        command
    };
    let of_coordinator = needed(&root, coordinator, "coordinator ");
    for name in ["journal.redb", "lock", "token"] {
        assert!(of_coordinator.iter().any(|needed| needed == name), "{name}: {of_coordinator:?}");
    }
}
