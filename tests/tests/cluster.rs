//! Real clusters write the bytes of a run in one process, on any number of workers, also when some of them die.

use std::path::{Path, PathBuf};
use tempfile::TempDir;
use windrow_tests::cluster::{Cluster, Setup};
use windrow_tests::output::{lines, parts};
use windrow_tests::program::{binary, command, eventually, local, run};
use windrow_tests::{corpus, oracle};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) {
    std::fs::write(folder.join(name), text).unwrap();
}

/// Number of tasks at a gate.
fn at_gate(gate: &Path) -> usize {
    std::fs::read_dir(gate).unwrap().count()
}

/// A gate in `folder`, and text that reaches it at three places.
fn gated(folder: &Path) -> PathBuf {
    let gate = folder.join("gate");
    std::fs::create_dir(&gate).unwrap();
    let text = corpus::text(20, 30_000);
    let cut = text.char_indices().filter(|(_, c)| *c == '\n').map(|(i, _)| i + 1).nth(300).unwrap();
    write(folder, "in", format!("gate1 a\n{}gate2 b\n{}gate3 c\n", &text[..cut], &text[cut..]));
    gate
}
/// Arguments of a job on that text; it runs in another folder, so the gate's path is absolute.
fn gated_args(gate: &Path, output: &str) -> Vec<String> {
    let gate = gate.to_str().unwrap();
    ["gate", "in", "--output", output, "--gate", gate, "--chunk-size", "5kB", "--partitions", "3"]
        .map(str::to_string)
        .to_vec()
}

#[test]
fn wordcount_bytes_do_not_depend_on_the_workers() {
    let folder = folder();
    corpus::write_folder(&folder.path().join("in"), 21);
    let args = ["in", "--partitions", "5", "--chunk-size", "4kB", "--output"];
    local(folder.path(), "wordcount", args.into_iter().chain(["local"])).ok();
    let expected = parts(&folder.path().join("local"));
    for (workers, slots, in_place) in [(1, 2, false), (2, 1, false), (4, 1, false), (4, 2, false), (4, 1, true)] {
        let cluster = match in_place {
            true => Setup { workers, slots, in_place: true, ..Setup::default() }.start(),
            false => Cluster::start(workers, slots),
        };
        let output = format!("out-{workers}-{slots}-{in_place}");
        cluster.job(folder.path(), "wordcount", args.into_iter().chain([output.as_str()])).ok();
        assert!(parts(&folder.path().join(&output)) == expected, "{workers} workers, {slots} slots, {in_place}");
        cluster.wait_until_clean();
        cluster.stop();
    }
}

#[test]
fn cluster_and_local_runs_write_the_same_bytes() {
    let folder = folder();
    let path = folder.path();
    local(path, "terasort", ["gen", "10000", "records"]).ok();
    let (customers, orders) = corpus::shop(22, 200, 2_000);
    write(path, "customers.csv", customers);
    write(path, "orders.csv", orders);
    write(path, "edges", corpus::edges(23, 100, 800));
    write(path, "text", corpus::text(24, 50_000));
    write(path, "hits", corpus::hits(25, 1_000));
    let cluster = Cluster::start(2, 1);
    for (i, (name, args)) in [
        ("terasort", "sort records --partitions 4 --chunk-size 100kB"),
        ("join", "--customers customers.csv --orders orders.csv --partitions 3 --chunk-size 5kB"),
        ("pagerank", "edges --rounds 3 --partitions 2 --chunk-size 1kB"),
        ("grep", "Rake[0-9]+ text --with-place --chunk-size 5kB"),
        ("sessions", "hits --partitions 3 --chunk-size 5kB"),
        ("ngrams", "text --n 2 --top 40 --partitions 3 --chunk-size 9kB"),
    ]
    .into_iter()
    .enumerate()
    {
        let (here, there) = (format!("here{i}"), format!("there{i}"));
        local(path, name, args.split(' ').chain(["--output", &here])).ok();
        cluster.job(path, name, args.split(' ').chain(["--output", &there])).ok();
        assert!(parts(&path.join(&here)) == parts(&path.join(&there)), "{name} {args}");
    }
    local(path, "terasort", ["validate", "there0"]).ok();
    cluster.wait_until_clean();
    cluster.stop();
}

#[test]
fn submit_equals_the_flag_cluster() {
    let folder = folder();
    write(folder.path(), "in", corpus::text(26, 20_000));
    let cluster = Cluster::start(2, 1);
    let args = ["in", "--partitions", "3", "--output"];
    cluster.job(folder.path(), "wordcount", args.into_iter().chain(["direct"])).ok();
    let mut submit = cluster.windrow(["submit", "--name", "words", "-o", "json"]);
    submit.arg(binary("wordcount")).arg("--").args(args).arg("submitted").current_dir(folder.path());
    // Without a URL the cluster is found by its state folder.
    let submitted = run(&mut submit).ok();
    assert_eq!(submitted.json()["name"], "words");
    assert_eq!(submitted.json()["state"], "done");
    assert!(submitted.stderr.starts_with("job job-"), "the id comes first: {}", submitted.stderr);
    assert!(parts(&folder.path().join("direct")) == parts(&folder.path().join("submitted")));
    cluster.stop();
}

#[test]
fn json_views_survive_a_coordinator_restart() {
    let folder = folder();
    write(folder.path(), "in", "a b\nb BOOM\n");
    let mut cluster = Cluster::start(2, 1);
    let done = cluster.detach(folder.path(), "wordcount", ["in", "--output", "done"]);
    run(&mut cluster.windrow(["job", "wait", &done])).ok();
    let failed = cluster.detach(folder.path(), "hostile", ["bad", "panic", "in", "--output", "failed"]);
    run(&mut cluster.windrow(["job", "wait", &failed])).with(1);
    let look = |cluster: &Cluster| {
        let jobs = cluster.json(["job", "list"]);
        // The latest job comes first.
        let ids: Vec<&str> = jobs.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
        assert_eq!(ids, [&failed, &done]);
        for job in jobs.as_array().unwrap() {
            for field in ["id", "name", "state", "stages", "tasks", "attempts", "error"] {
                assert!(job.get(field).is_some(), "no {field}: {job}");
            }
            for field in ["total", "done", "running", "failed"] {
                assert!(job["tasks"][field].is_u64(), "no {field}: {job}");
            }
        }
        let job = cluster.json(["job", "get", &done]);
        assert_eq!(job["state"], "done");
        assert_eq!(job["tasks"]["done"], job["tasks"]["total"]);
        assert!(job["error"].is_null());
        let job = cluster.json(["job", "get", &failed]);
        assert_eq!(job["state"], "failed");
        assert_eq!(job["error"]["code"], "USER_PANIC");
        assert!(job["error"]["message"].as_str().unwrap().contains("does not like this line"), "{job}");
        assert_eq!(job["error"]["record"]["offset"], 4);
    };
    look(&cluster);
    let workers = cluster.json(["worker", "list"]);
    assert_eq!(workers.as_array().unwrap().len(), 2);
    for worker in workers.as_array().unwrap() {
        assert_eq!((worker["state"].as_str(), worker["slots"].as_u64()), (Some("live"), Some(1)), "{worker}");
        assert!(["id", "address", "host", "version"].iter().all(|field| worker[field].is_string()), "{worker}");
    }
    cluster.restart_coordinator();
    look(&cluster);
    // The workers come back by themselves, and the next job runs.
    cluster.job(folder.path(), "wordcount", ["in", "--output", "after"]).ok();
    assert_eq!(lines(&folder.path().join("after")), ["BOOM\t1", "a\t1", "b\t2"]);
    cluster.stop();
}

#[test]
fn a_cancelled_job_ends_with_four_and_leaves_nothing() {
    let folder = folder();
    let gate = gated(folder.path());
    let cluster = Cluster::start(2, 1);
    let id = cluster.detach(folder.path(), "hostile", gated_args(&gate, "out"));
    eventually("a task runs", || at_gate(&gate) > 0);
    assert_eq!(cluster.json(["job", "get", &id])["state"], "running");
    assert!(cluster.executors() > 0);
    run(&mut cluster.windrow(["job", "cancel", &id])).ok();
    run(&mut cluster.windrow(["job", "wait", &id])).with(4);
    assert_eq!(cluster.json(["job", "get", &id])["state"], "cancelled");
    assert!(!folder.path().join("out").exists());
    cluster.wait_until_clean();
    eventually("the job's folders beside the output are gone", || {
        !std::fs::read_dir(folder.path()).unwrap().any(|e| e.unwrap().file_name().to_string_lossy().starts_with('.'))
    });
    cluster.stop();
}

#[test]
fn logs_hold_output_of_tasks() {
    let folder = folder();
    let gate = gated(folder.path());
    write(&gate, "open", "");
    let cluster = Cluster::start(1, 2);
    let id = cluster.detach(folder.path(), "hostile", gated_args(&gate, "out"));
    run(&mut cluster.windrow(["job", "wait", &id])).ok();
    let logs = cluster.json(["job", "logs", &id]);
    for word in ["at gate1", "at gate2", "at gate3"] {
        let found = logs.as_array().unwrap().iter().filter(|log| log["text"].as_str().unwrap().contains(word)).count();
        assert_eq!(found, 1, "{word} in {logs}");
    }
    assert!(logs[0]["stage"].is_u64() && logs[0]["task"].is_u64() && logs[0]["attempt"].is_u64(), "{logs}");
    cluster.stop();
}

#[test]
fn concurrent_jobs_do_not_affect_each_other() {
    let folder = folder();
    let cluster = Cluster::start(2, 1);
    let ids: Vec<String> = (0..8)
        .map(|n| {
            write(folder.path(), &format!("in{n}"), corpus::text(30 + n, 10_000));
            let args = [format!("in{n}"), "--output".into(), format!("out{n}"), "--chunk-size".into(), "3kB".into()];
            cluster.detach(folder.path(), "wordcount", args)
        })
        .collect();
    for id in &ids {
        run(&mut cluster.windrow(["job", "wait", id])).ok();
    }
    for n in 0..8 {
        assert_eq!(lines(&folder.path().join(format!("out{n}"))), oracle::wordcount(&corpus::text(30 + n, 10_000)));
    }
    cluster.wait_until_clean();
    cluster.stop();
}

#[test]
fn killed_worker_changes_no_byte() {
    killed_in_the_middle(Cluster::start(2, 1));
}

#[test]
fn killed_neighbour_changes_no_byte() {
    killed_in_the_middle(Setup { workers: 2, slots: 1, in_place: true, ..Setup::default() }.start());
}

fn killed_in_the_middle(mut cluster: Cluster) {
    let folder = folder();
    let gate = gated(folder.path());
    let id = cluster.detach(folder.path(), "hostile", gated_args(&gate, "out"));
    // Both workers are in the middle of a task.
    eventually("two tasks wait", || at_gate(&gate) >= 2);
    cluster.kill_worker(0);
    write(&gate, "open", "");
    run(&mut cluster.windrow(["job", "wait", &id])).ok();
    local(folder.path(), "hostile", gated_args(&gate, "local")).ok();
    assert!(parts(&folder.path().join("out")) == parts(&folder.path().join("local")));
    let workers = cluster.json(["worker", "list"]);
    let lost = workers.as_array().unwrap().iter().find(|w| w["id"] == cluster.worker_id(0));
    assert!(lost.is_none_or(|worker| worker["state"] == "lost"), "{workers}");
    cluster.stop();
}

#[test]
fn up_runs_jobs_and_leaves_no_process() {
    let folder = folder();
    write(folder.path(), "in", "a b a\n");
    let home = folder.path().join("home");
    let mut up = command("windrow", &home);
    up.args(["up", "--workers", "2", "--slots", "1", "--memory", "128MiB", "--listen", "127.0.0.1:0", "--data-dir"]);
    let mut up = windrow_tests::program::Daemon::start(up.arg(folder.path().join("data")));
    let url = up.read_line("coordinator ");
    let mut job = command("wordcount", &home);
    run(job.current_dir(folder.path()).args(["in", "--output", "out", "--cluster", "auto"])).ok();
    assert_eq!(lines(&folder.path().join("out")), ["a\t2", "b\t1"]);
    assert_eq!(up.stop(), Some(0));
    let below = || windrow_tests::program::processes_below(folder.path());
    eventually("every executor has ended", || below().is_empty());
    run(command("windrow", &home).args(["job", "list", "--coordinator", &url])).with(3);
}
