//! Processes die and come back: running tasks go on, finished tasks do not rerun, and the bytes are those of a run
//! without faults.

use std::collections::BTreeSet;
use windrow_tests::cluster::Cluster;
use windrow_tests::gated::{Gated, attempts};
use windrow_tests::program::{command, eventually, pids_with, run};

#[test]
fn killed_coordinator_returns_and_no_task_reruns() {
    let job = Gated::new();
    let mut cluster = Cluster::start(2, 2);
    let mut submit = cluster.windrow(["submit", "--coordinator", &cluster.url]);
    submit.arg(windrow_tests::program::binary("hostile")).arg("--").args(job.args("out")).current_dir(job.path());
    let attached = std::thread::spawn(move || run(&mut submit));
    // Chunks without a gate are done soon; three wait.
    eventually("three tasks wait, the others are done", || {
        let jobs = cluster.json(["job", "list"]);
        job.there().len() == 3
            && jobs[0]["tasks"]["running"] == 3
            && jobs[0]["stages"][0]["tasks"]["done"].as_u64() > Some(2)
    });
    let there = job.there();
    for _ in 0..2 {
        cluster.kill_coordinator();
        cluster.start_coordinator();
        eventually("the workers are back", || cluster.json(["job", "list"])[0]["tasks"]["running"] == 3);
    }
    assert_eq!(job.there(), there, "the same processes wait at the same places");
    job.open();
    attached.join().unwrap().ok();
    job.check_ran_once(&cluster, "out");
    cluster.wait_until_clean();
    cluster.stop();
}

/// Number of records in a worker's logs of finished attempts, each of which begins with its length.
fn reports(cluster: &Cluster) -> usize {
    let logs = std::process::Command::new("find").arg(cluster.worker_folder(0)).args(["-name", "reports"]).output();
    let records = |path: &str| {
        let log = std::fs::read(path).unwrap();
        let (mut rest, mut records) = (&log[..], 0);
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let Some((_, next)) = after.split_at_checked(4 + u32::from_le_bytes(*length) as usize) else { break };
            (rest, records) = (next, records + 1);
        }
        records
    };
    String::from_utf8(logs.unwrap().stdout).unwrap().lines().map(records).sum()
}

#[test]
fn tasks_ended_without_a_coordinator_count_on_its_return() {
    let job = Gated::new();
    let mut cluster = Cluster::start(1, 3);
    let id = cluster.detach(job.path(), "hostile", job.args("out"));
    eventually("three tasks wait", || job.there().len() == 3 && attempts(&cluster).0 > 5);
    let before = reports(&cluster);
    cluster.kill_coordinator();
    job.open();
    // Some have not run yet, and wait for the coordinator.
    eventually("the three maps have their outputs", || reports(&cluster) >= before + 3);
    cluster.start_coordinator();
    run(&mut cluster.windrow(["job", "wait", &id, "--coordinator", &cluster.url])).ok();
    job.check_ran_once(&cluster, "out");
    cluster.stop();
}

#[test]
fn restarted_worker_offers_its_finished_outputs() {
    let job = Gated::new();
    let mut cluster = Cluster::start(1, 3);
    let id = cluster.detach(job.path(), "hostile", job.args("out"));
    job.wait_for(3);
    // Its three slots are taken: nothing else runs.
    let before = attempts(&cluster).0;
    assert!(before >= 3);
    cluster.kill_worker(0);
    cluster.start_worker(0);
    job.open();
    run(&mut cluster.windrow(["job", "wait", &id, "--coordinator", &cluster.url])).ok();
    let (attempts, tasks) = attempts(&cluster);
    assert_eq!(attempts, tasks + 3, "only what ran when it died ran again");
    job.check("out");
    cluster.stop();
}

#[test]
fn stopped_coordinator_leaves_its_jobs_to_the_next() {
    let job = Gated::new();
    let mut cluster = Cluster::start(2, 1);
    let id = cluster.detach(job.path(), "hostile", job.args("out"));
    job.wait_for(2);
    cluster.restart_coordinator();
    job.open();
    run(&mut cluster.windrow(["job", "wait", &id, "--coordinator", &cluster.url])).ok();
    job.check_ran_once(&cluster, "out");
    cluster.stop();
}

/// Ending a temporary cluster of one machine ends its jobs, and leaves nothing beside their outputs.
#[test]
fn temporary_cluster_ends_with_its_jobs() {
    let job = Gated::new();
    let home = job.path().join("home");
    let mut up = command("windrow", &home);
    up.args(["up", "--workers", "1", "--slots", "3"]);
    let mut up = windrow_tests::program::Daemon::start(&mut up);
    let url = up.read_line("coordinator ");
    let mut submit = command("windrow", &home);
    submit.args(["submit", "--detach", "--coordinator", &url]).arg(windrow_tests::program::binary("hostile"));
    run(submit.arg("--").args(job.args("out")).current_dir(job.path())).ok();
    job.wait_for(3);
    assert_eq!(up.stop(), Some(0));
    let left = std::fs::read_dir(job.path()).unwrap().flatten().map(|e| e.file_name().into_string().unwrap());
    let left: BTreeSet<String> = left.collect();
    assert_eq!(left, ["gate", "home", "in"].map(str::to_string).into());
}

/// The worker of a one-machine cluster is killed in the middle of a job, which then runs to its end.
#[test]
fn up_starts_a_killed_worker_again_and_still_ends_cleanly() {
    let job = Gated::new();
    let home = job.path().join("home");
    let (data, stderr) = (job.path().join("data"), job.path().join("stderr"));
    let mut up = command("windrow", &home);
    up.args(["up", "--workers", "1", "--slots", "3", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data);
    let mut up = windrow_tests::program::Daemon::start(up.stderr(std::fs::File::create(&stderr).unwrap()));
    let url = up.read_line("coordinator ");
    let windrow = |args: &[&str]| run(command("windrow", &home).args(args).args(["--coordinator", &url])).ok().stdout;
    let mut submit = command("windrow", &home);
    submit.args(["submit", "--detach", "--coordinator", &url]).arg(windrow_tests::program::binary("hostile"));
    let id = run(submit.arg("--").args(job.args("out")).current_dir(job.path())).ok().stdout;
    job.wait_for(3);
    let folder_of_worker = data.join("worker-0");
    let arguments = format!("--data-dir\0{}", folder_of_worker.display());
    let workers = || pids_with(&arguments);
    let [worker] = workers()[..] else { panic!("one worker runs: {:?}", workers()) };
    rustix::process::kill_process(worker, rustix::process::Signal::KILL).unwrap();
    eventually("another process is the worker", || workers().iter().any(|pid| *pid != worker));
    job.open();
    windrow(&["job", "wait", id.trim()]);
    assert_eq!(up.stop(), Some(0));
    eventually("the worker has ended", || workers().is_empty());
    let said = std::fs::read_to_string(&stderr).unwrap();
    for line in ["worker 0 has ended (signal: 9 (SIGKILL)): it is started again in 0.2 s", "worker 0 is back"] {
        assert_eq!(said.matches(line).count(), 1, "{said}");
    }
}
