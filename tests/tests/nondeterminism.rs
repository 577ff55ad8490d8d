//! A job whose tasks differ in each attempt: no result mixes two of them.

use windrow_tests::cluster::Cluster;
use windrow_tests::corpus;
use windrow_tests::program::{eventually, run};

/// Kills a worker when all but one of the last stage's tasks have published; the recomputed outputs differ.
fn ran_again_differently(edge: &str, stages: usize) {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    std::fs::create_dir(&gate).unwrap();
    std::fs::write(folder.path().join("in"), format!("{}gate1\n", corpus::text(20, 30_000))).unwrap();
    // Enough slots for the lost tasks beside those at the gate.
    let mut cluster = Cluster::start(2, 2);
    let gate_arg = gate.to_str().unwrap();
    let args = ["random", "in", "--output", "out", "--gate", gate_arg, "--chunk-size", "5kB", "--partitions", "3"];
    let args = args.into_iter().chain(["--edge", edge]);
    let id = cluster.detach(folder.path(), "hostile", args);
    eventually("one reduce waits, the others are published", || {
        let reduces = cluster.json(["job", "get", &id])["stages"][stages - 1]["tasks"].clone();
        reduces["done"] == 2 && reduces["running"] == 1
    });
    // Each of the workers has outputs that the last reduce needs.
    cluster.kill_worker(0);
    let wait = run(&mut cluster.windrow(["job", "wait", &id, "--coordinator", &cluster.url]));
    wait.with(1).shows_error("NONDETERMINISTIC_TASK", &["ran again", "digest", "published"]);
    assert!(!folder.path().join("out").exists());
    std::fs::write(gate.join("open"), "").unwrap();
    eventually("attempt folders are gone", || {
        cluster.leftovers().iter().all(|f| f.starts_with(cluster.worker_folder(0)))
    });
    cluster.stop();
}

#[test]
fn random_map_behind_a_published_part_fails_the_job() {
    ran_again_differently("values", 2);
}

#[test]
fn random_keys_of_a_combining_edge_fail_the_job() {
    ran_again_differently("combined", 2);
}

#[test]
fn random_reduce_fails_the_job() {
    ran_again_differently("shuffled", 3);
}

/// The values of a join whose records come in any order are folded, so only the digest of the inputs shows the
/// difference.
#[test]
fn random_values_of_a_join_fail_the_job() {
    ran_again_differently("joined", 5);
}

/// Before any part is published, the rerun counts as the first run.
#[test]
fn random_map_before_any_publication_fails_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    std::fs::create_dir(&gate).unwrap();
    std::fs::write(folder.path().join("in"), format!("{}gate1\n", corpus::text(20, 30_000))).unwrap();
    let mut cluster = Cluster::start(2, 1);
    let gate_arg = gate.to_str().unwrap();
    let args = ["random", "in", "--output", "out", "--gate", gate_arg, "--chunk-size", "5kB", "--partitions", "1"];
    let id = cluster.detach(folder.path(), "hostile", args);
    eventually("the reduce waits", || std::fs::read_dir(&gate).unwrap().count() == 1);
    cluster.kill_worker(1);
    std::fs::write(gate.join("open"), "").unwrap();
    run(&mut cluster.windrow(["job", "wait", &id, "--coordinator", &cluster.url])).ok();
    assert!(folder.path().join("out").join("_SUCCESS").exists());
    cluster.stop();
}
