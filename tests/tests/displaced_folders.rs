//! Data folders and journals that are deleted or moved under a running daemon: no later start finds what the daemon writes
//! there, so it acknowledges nothing more and ends with the reason.

use std::fs;
use std::path::Path;
use tempfile::TempDir;
use windrow_tests::cluster::Cluster;
use windrow_tests::corpus;
use windrow_tests::program::{Ended, eventually};

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in"), corpus::text(83, 40_000)).unwrap();
    folder
}

fn put(cluster: &Cluster, folder: &Path, name: &str) -> Ended {
    cluster.data(folder, &["put", "in", name, "--chunk-size", "9kB"])
}

/// The content of a dataset.
fn get(cluster: &Cluster, folder: &Path, name: &str) -> Vec<u8> {
    cluster.data(folder, &["get", name, "got"]).ok();
    let bytes = fs::read(folder.join("got")).unwrap();
    fs::remove_file(folder.join("got")).unwrap();
    bytes
}

#[test]
fn deleted_journal_acknowledges_nothing_and_ends_coordinator() {
    let folder = folder();
    let mut cluster = Cluster::start(1, 1);
    put(&cluster, folder.path(), "before").ok();
    fs::remove_file(cluster.coordinator_folder().join("journal.redb")).unwrap();
    // The periodic check may not have run yet; the write checks as well.
    let refused = put(&cluster, folder.path(), "after");
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(refused.code.is_some(), "the client gives up by itself: {refused:?}");
    assert_eq!(cluster.coordinator_ends(|| false), Some(Some(1)));
}

#[test]
fn moved_coordinator_folder_goes_on_when_it_is_back() {
    let folder = folder();
    let mut cluster = Cluster::start(1, 1);
    put(&cluster, folder.path(), "before").ok();
    let aside = folder.path().join("aside");
    fs::rename(cluster.coordinator_folder(), &aside).unwrap();
    // No call writes meanwhile.
    assert_eq!(cluster.coordinator_ends(|| false), Some(Some(1)));
    fs::rename(&aside, cluster.coordinator_folder()).unwrap();
    cluster.start_coordinator();
    eventually("the worker is back", || cluster.json(["worker", "list"])[0]["state"] == "live");
    assert_eq!(get(&cluster, folder.path(), "before"), fs::read(folder.path().join("in")).unwrap());
    put(&cluster, folder.path(), "after").ok();
    cluster.stop();
}

#[test]
fn deleted_worker_folder_ends_the_worker() {
    let folder = folder();
    let mut cluster = Cluster::start(3, 1);
    put(&cluster, folder.path(), "set").ok();
    let worker_folder = cluster.worker_folder(0);
    // The worker may still write copies of chunks.
    eventually("the folder is deleted", || fs::remove_dir_all(&worker_folder).is_ok() || !worker_folder.exists());
    assert_eq!(cluster.worker_ends(0, || false), Some(Some(1)));
    // The other workers replace its copies.
    eventually("two copies are there", || cluster.json(["data", "ls"])[0]["state"] == "whole");
    assert_eq!(get(&cluster, folder.path(), "set"), fs::read(folder.path().join("in")).unwrap());
    cluster.stop();
}
