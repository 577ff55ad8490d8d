//! Prefetched attempts queue on a worker: they do not count as running, and move to another worker that is free.

use windrow_tests::cluster::Cluster;
use windrow_tests::corpus;
use windrow_tests::gated::{Gated, attempts};
use windrow_tests::program::{eventually, run};

#[test]
fn tasks_queued_behind_a_stuck_task_run_once_elsewhere() {
    let job = Gated::new();
    let mut cluster = Cluster::start(1, 1);
    let id = cluster.detach(job.path(), "hostile", job.args("out"));
    job.wait_for(1);
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    // One runs, one is queued behind it; only the first counts.
    assert_eq!(number(&cluster.json(["job", "get", &id])["tasks"]["running"]), 1);
    assert_eq!(number(&cluster.json(["worker", "list"])[0]["running"]), 1);
    assert_eq!(attempts(&cluster).0, 1);

    (0..3).for_each(|_| cluster.add_worker(1));
    let maps = number(&cluster.json(["job", "get", &id])["stages"][0]["tasks"]["total"]);
    assert!(maps > 5, "{maps} maps");
    eventually("three maps wait at the gate, the others are done", || {
        job.there().len() == 3 && number(&cluster.json(["job", "get", &id])["stages"][0]["tasks"]["done"]) == maps - 3
    });
    assert_eq!(attempts(&cluster).0, maps, "a withdrawn attempt had not begun");
    job.open();
    run(&mut cluster.windrow(["job", "wait", &id, "--coordinator", &cluster.url])).ok();
    job.check_ran_once(&cluster, "out");
    cluster.wait_until_clean();
    cluster.stop();
}

#[test]
fn cancel_during_prefetch_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in"), corpus::text(7, 200_000)).unwrap();
    let cluster = Cluster::start(2, 1);
    for round in 0..8 {
        let output = format!("out-{round}");
        let args = ["in", "--chunk-size", "3kB", "--output", &output];
        let id = cluster.detach(folder.path(), "wordcount", args);
        // Some are done, some run, some are queued: how many is left to chance.
        eventually("it is under way", || cluster.json(["job", "get", &id])["tasks"]["done"].as_u64() > Some(2 * round));
        // The job may be over by now.
        let cancelled = run(&mut cluster.windrow(["job", "cancel", &id, "--coordinator", &cluster.url]));
        println!("{}{}", cancelled.stdout, cancelled.stderr);
        cluster.wait_until_clean();
    }
    cluster.stop();
}
