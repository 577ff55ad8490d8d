//! A machine becomes slow: its tasks get a backup attempt elsewhere, and the job does not wait for it.

use rustix::process::{Pid, Signal, kill_process};
use windrow_tests::cluster::Cluster;
use windrow_tests::corpus;
use windrow_tests::output::parts;
use windrow_tests::program::{eventually, local, pids_below, run};

/// Whether every thread of the process is stopped.
fn is_stopped(process: Pid) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero())).unwrap();
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
    })
}

#[test]
fn job_ends_without_its_stuck_executor() {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    std::fs::create_dir(&gate).unwrap();
    let text = corpus::text(20, 30_000);
    // The first four chunks wait at the gate, two on each worker.
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    let mut offset = 0;
    let mut chunks = 0;
    for line in &mut lines {
        if offset >= chunks * 5_000 + 2_000 && chunks < 4 {
            chunks += 1;
            *line = format!("gate{chunks} {line}");
        }
        offset += line.len() + 1;
    }
    std::fs::write(folder.path().join("in"), lines.join("\n") + "\n").unwrap();
    let args = |output| {
        let gate = gate.to_str().unwrap();
        ["gate", "in", "--output", output, "--gate", gate, "--chunk-size", "5kB", "--partitions", "3"]
    };

    let cluster = Cluster::start(2, 2);
    let id = cluster.detach(folder.path(), "hostile", args("out"));
    eventually("four tasks wait at the gate", || std::fs::read_dir(&gate).unwrap().count() == 4);
    let still = pids_below(&cluster.worker_folder(0));
    assert_eq!(still.len(), 1, "one executor for each worker");
    kill_process(still[0], Signal::STOP).unwrap();
    // One of its threads takes the signal and stops the others: until then they may go on.
    eventually("the executor is stopped", || is_stopped(still[0]));
    std::fs::write(gate.join("open"), "").unwrap();

    run(&mut cluster.windrow(["job", "wait", &id, "--coordinator", &cluster.url])).ok();
    let job = cluster.json(["job", "get", &id]);
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    assert!(number(&job["backups"]) >= 2, "{job:#}");
    assert!(number(&job["attempts"]) >= number(&job["tasks"]["total"]) + 2, "{job:#}");
    assert_eq!(number(&job["tasks"]["failed"]), 0, "{job:#}");

    local(folder.path(), "hostile", args("expected")).ok();
    assert!(parts(&folder.path().join("out")) == parts(&folder.path().join("expected")));
    eventually("the stopped executor is gone", || !pids_below(&cluster.worker_folder(0)).contains(&still[0]));
    cluster.wait_until_clean();
    cluster.stop();
}
