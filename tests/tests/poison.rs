//! Records that kill their workers: the job ends, names them, and may leave them out; its neighbours are unaffected.

use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;
use windrow_tests::cluster::Cluster;
use windrow_tests::output::sorted;
use windrow_tests::program::{binary, local, run};

/// Upper bound on the workers that one task may kill: three beside others, two alone, and some whose death was not
/// recorded.
const DEATHS_MAX: u32 = 7;

/// `in`, with one line among many that kills its worker; and `good` without it.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (mut all, mut good) = (String::new(), String::new());
    for n in 0..400 {
        let line = format!("w{} x{}\n", n % 7, n % 11);
        all += &line;
        good += &line;
        if n == 250 {
            all += "never BOOM\n";
        }
    }
    std::fs::write(folder.path().join("in"), all).unwrap();
    std::fs::write(folder.path().join("good"), good).unwrap();
    local(folder.path(), "wordcount", ["good", "--output", "expected"]).ok();
    folder
}

fn submit(cluster: &Cluster, folder: &Path, skip: &str, output: &str, what: &[&str]) -> String {
    let mut command = cluster.windrow(["submit", "--detach", "--coordinator", &cluster.url]);
    command.args(["--skip-bad-records", skip, "--chunk-size", "1kB"]);
    command.arg(binary(what[0])).arg("--").args(&what[1..]).args(["--output", output]).current_dir(folder);
    run(&mut command).ok().stdout.trim().to_string()
}

/// Restarts the only worker whenever it dies, until the job has ended. Returns the job and the number of deaths.
fn supervise(cluster: &mut Cluster, id: &str, mut each: impl FnMut(&mut Cluster, u32)) -> (Value, u32) {
    let mut deaths = 0;
    loop {
        let (url, home, job) = (cluster.url.clone(), cluster.home(), id.to_string());
        let ended = move || {
            let mut get = windrow_tests::program::command("windrow", &home);
            let status = run(get.args(["job", "get", &job, "-o", "json", "--coordinator", &url]));
            status.code == Some(0) && ["done", "failed"].contains(&status.json()["state"].as_str().unwrap())
        };
        match cluster.worker_ends(0, ended) {
            None => return (cluster.json(["job", "get", id]), deaths),
            Some(_) => {
                deaths += 1;
                assert!(deaths <= DEATHS_MAX, "{:#}", cluster.json(["job", "get", id]));
                each(cluster, deaths);
                cluster.start_worker(0);
            }
        }
    }
}

#[test]
fn record_that_kills_its_worker_fails_the_job_and_is_named() {
    let folder = folder();
    let mut cluster = Cluster::start(1, 2);
    let id = submit(&cluster, folder.path(), "0", "out", &["hostile", "bad", "parent", "in"]);
    let other = submit(&cluster, folder.path(), "0", "other", &["wordcount", "good"]);
    let (job, deaths) = supervise(&mut cluster, &id, |cluster, deaths| {
        if deaths == 2 {
            // Recorded losses survive the coordinator.
            cluster.kill_coordinator();
            cluster.start_coordinator();
        }
    });
    let error = &job["error"];
    assert!(deaths >= 4 && error["code"] == "POISON_TASK", "{deaths}: {job:#}");
    let text = std::fs::read_to_string(folder.path().join("in")).unwrap();
    let at = error["record"]["offset"].as_u64().unwrap_or_else(|| panic!("{job:#}")) as usize;
    assert!(text[at..].starts_with("never BOOM") && error["record"]["excerpt"] == "never BOOM", "{job:#}");
    assert!(error["message"].as_str().unwrap().contains("/in from byte"), "{job:#}");
    supervise(&mut cluster, &other, |_, _| ());
    assert_eq!(cluster.json(["job", "get", &other])["tasks"]["failed"], 0, "neighbours are not charged");
    assert_eq!(sorted(&folder.path().join("other")), sorted(&folder.path().join("expected")));
    cluster.stop();
}

#[test]
fn record_that_kills_its_worker_can_be_left_out() {
    let folder = folder();
    let mut cluster = Cluster::start(1, 2);
    let id = submit(&cluster, folder.path(), "1", "out", &["hostile", "bad", "parent", "in"]);
    let (job, _) = supervise(&mut cluster, &id, |_, _| ());
    assert_eq!(job["state"], "done", "{job:#}");
    assert_eq!(sorted(&folder.path().join("out")), sorted(&folder.path().join("expected")));
    let bad = std::fs::read_to_string(folder.path().join("out/_bad_records.jsonl")).unwrap();
    let bad: Value = serde_json::from_str(&bad).unwrap();
    assert_eq!((&bad["code"], &bad["record"]), (&"POISON_TASK".into(), &"never BOOM".into()));
    cluster.wait_until_clean();
    cluster.stop();
}
