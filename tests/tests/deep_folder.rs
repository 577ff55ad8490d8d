//! A job that leaves nested folders, deeper than any path can name and than a stack can follow.

use std::fs;
use std::path::Path;
use windrow_tests::cluster::Cluster;

#[test]
fn deep_folder_that_a_job_leaves_costs_no_worker() {
    // In memory, if possible: disks take a millisecond for each of the folders.
    let memory = Path::new("/dev/shm");
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    if mounts.lines().any(|line| line.contains(" /dev/shm ") && !line.contains("noexec")) {
        // The only test of this process, so no other code has used the folder before.
        tempfile::env::override_temp_dir(memory).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("deep"), "NEST:20000\n").unwrap();
    let mut cluster = Cluster::start(1, 1);
    let worker = cluster.worker_pid(0);
    cluster.job(folder.path(), "hostile", ["bad", "nothing", "deep", "--output", "out"]).ok();
    cluster.wait_until_clean();
    assert_eq!(cluster.worker_pid(0), worker);
    // The next incarnation deletes what a killed worker left.
    cluster.job(folder.path(), "hostile", ["bad", "nothing", "deep", "--output", "again"]).ok();
    cluster.kill_worker(0);
    cluster.start_worker(0);
    cluster.wait_until_clean();
    cluster.stop();
}
