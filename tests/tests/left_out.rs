//! One worker without a mount does not fail a job: the job leaves it out and reports the reason.

use std::path::Path;
use windrow_tests::cluster::Cluster;
use windrow_tests::gated::Gated;
use windrow_tests::output::sorted;
use windrow_tests::program::{binary, local, run};

/// Checks that the job runs no task on the worker, and reports the reason.
fn is_left_out(cluster: &Cluster, job: &serde_json::Value, worker: usize) {
    let left_out = job["left_out"].as_array().unwrap();
    let found = left_out.iter().find(|l| l["worker"] == cluster.worker_id(worker));
    let found = found.unwrap_or_else(|| panic!("{} in {job:#}", cluster.worker_id(worker)));
    assert_eq!(found["code"], "INPUT_NOT_SHARED", "{job:#}");
    assert!(found["message"].as_str().unwrap().contains("is not on this worker"), "{job:#}");
}

/// The job that is done.
fn done(cluster: &Cluster) -> serde_json::Value {
    let jobs = cluster.json(["job", "list"]);
    let id = jobs.as_array().unwrap().iter().find(|job| job["state"] == "done").unwrap()["id"].as_str().unwrap();
    cluster.json(["job", "get", id])
}

#[test]
fn worker_without_the_inputs_is_left_out_and_named() {
    if let Err(reason) = Cluster::can_hide() {
        return println!("skipped: no mounts of one's own here: {reason}");
    }
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path().join("mount");
    std::fs::create_dir(&mount).unwrap();
    std::fs::write(mount.join("in"), windrow_tests::corpus::text(3, 30_000)).unwrap();
    local(folder.path(), "wordcount", ["mount/in", "--output", "expected"]).ok();
    let mut cluster = Cluster::start(0, 1);
    cluster.hidden = Some(mount.clone());
    cluster.add_worker(2);
    let wordcount = |cluster: &Cluster, folder: &Path, output: &str| {
        let mut submit = cluster.windrow(["submit", "--chunk-size", "5kB", "--coordinator", &cluster.url]);
        submit.arg(binary("wordcount")).args(["--", "mount/in", "--output", output]);
        run(submit.current_dir(folder))
    };
    wordcount(&cluster, folder.path(), "none")
        .with(1)
        .shows_error("INPUT_NOT_SHARED", &["mount/in", "is not on this worker"]);
    cluster.hidden = None;
    cluster.add_worker(1);
    wordcount(&cluster, folder.path(), "out").ok();
    assert_eq!(sorted(&folder.path().join("out")), sorted(&folder.path().join("expected")));
    let job = done(&cluster);
    is_left_out(&cluster, &job, 0);
    assert_eq!(job["tasks"]["failed"], 0, "{job:#}");
    cluster.stop();
}

#[test]
fn worker_that_joins_without_the_inputs_is_left_out() {
    if let Err(reason) = Cluster::can_hide() {
        return println!("skipped: no mounts of one's own here: {reason}");
    }
    let job = Gated::new();
    // The output lies outside of the mount, and is visible.
    let mount = job.path().join("mount");
    std::fs::create_dir(&mount).unwrap();
    std::fs::rename(job.path().join("in"), mount.join("in")).unwrap();
    std::os::unix::fs::symlink("mount/in", job.path().join("in")).unwrap();
    let mut cluster = Cluster::start(1, 1);
    let id = cluster.detach(job.path(), "hostile", job.args("out"));
    job.wait_for(1);
    cluster.hidden = Some(mount);
    cluster.add_worker(2);
    windrow_tests::program::eventually("the new worker has tried", || {
        !cluster.json(["job", "get", &id])["left_out"].as_array().unwrap().is_empty()
    });
    job.open();
    run(&mut cluster.windrow(["job", "wait", &id, "--coordinator", &cluster.url])).ok();
    let status = cluster.json(["job", "get", &id]);
    is_left_out(&cluster, &status, 1);
    assert_eq!(status["tasks"]["failed"], 0, "{status:#}");
    job.check("out");
    cluster.stop();
}
