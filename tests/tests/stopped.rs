//! A process that is stopped between two tasks: its next task does not wait for it for ever.

use rustix::process::{Signal, kill_process};
use windrow_tests::cluster::Cluster;
use windrow_tests::corpus;
use windrow_tests::output::parts;
use windrow_tests::program::{eventually, local, pids_below, run};

#[test]
fn executor_that_is_stopped_between_two_tasks_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    std::fs::create_dir(&gate).unwrap();
    // Two chunks: the first one's worker waits at the gate, the other worker has nothing to do until the reduces begin.
    let text = corpus::text(7, 9_000);
    std::fs::write(folder.path().join("in"), format!("gate1 a\n{text}")).unwrap();
    let args = |output| {
        let gate = gate.to_str().unwrap();
        let args = ["gate", "in", "--output", output, "--gate", gate, "--chunk-size", "5kB", "--partitions", "6"];
        args.into_iter().chain(["--no-backup-attempts"])
    };
    let cluster = Cluster::start(2, 1);
    let id = cluster.detach(folder.path(), "hostile", args("out"));
    eventually("one task is at the gate, the other is done", || {
        let job = cluster.json(["job", "get", &id]);
        std::fs::read_dir(&gate).unwrap().count() == 1 && job["tasks"]["running"] == 1 && job["tasks"]["done"] == 1
    });
    let waits: i32 = {
        let name = std::fs::read_dir(&gate).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
        name.rsplit_once('.').unwrap().1.parse().unwrap()
    };
    let all = [0, 1].map(|worker| pids_below(&cluster.worker_folder(worker)));
    let idle = all.iter().flatten().find(|pid| pid.as_raw_nonzero().get() != waits).copied().unwrap();
    kill_process(idle, Signal::STOP).unwrap();
    std::fs::write(gate.join("open"), "").unwrap();

    run(&mut cluster.windrow(["job", "wait", &id, "--coordinator", &cluster.url])).ok();
    let job = cluster.json(["job", "get", &id]);
    assert_eq!((&job["tasks"]["failed"], &job["backups"]), (&0.into(), &0.into()), "{job:#}");
    assert!([0, 1].iter().all(|worker| !pids_below(&cluster.worker_folder(*worker)).contains(&idle)), "it is gone");
    local(folder.path(), "hostile", args("expected")).ok();
    assert!(parts(&folder.path().join("out")) == parts(&folder.path().join("expected")));
    cluster.stop();
}
