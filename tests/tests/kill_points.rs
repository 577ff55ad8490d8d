//! Kills the coordinator, or a worker, at each point of a job's way into the journal and of its commit, and restarts it
//! on its folder. The job ends with the right bytes, its output is complete or absent at every moment, and no files are
//! left beside it.

// Without debug assertions there are no failpoints.
#![cfg(debug_assertions)]

use std::path::Path;
use std::thread::JoinHandle;
use windrow_tests::cluster::{Cluster, Setup};
use windrow_tests::corpus;
use windrow_tests::gated::Gated;
use windrow_tests::output::{concatenated, parts};
use windrow_tests::program::{Ended, binary, eventually, local, run};

/// Upper bound on passes of one job through a place.
const PASSES_MAX: u32 = 12;

/// A worker with `slots`, and a coordinator with these failpoints.
fn start_failing(coordinator_failpoints: &str, slots: u32) -> Cluster {
    Setup { workers: 1, slots, coordinator_failpoints, ..Setup::default() }.start()
}

/// A folder with an input and the expected output.
struct Work(tempfile::TempDir);

impl Work {
    fn new() -> Work {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("text"), corpus::text(5, 60_000)).unwrap();
        std::fs::write(folder.path().join("other"), corpus::text(6, 9_000)).unwrap();
        let work = Work(folder);
        local(work.path(), "wordcount", Work::args("text", "expected")).ok();
        local(work.path(), "wordcount", Work::args("other", "old")).ok();
        work
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn args<'a>(input: &'a str, output: &'a str) -> [&'a str; 7] {
        [input, "--output", output, "--partitions", "3", "--chunk-size", "20kB"]
    }
    /// An attached `windrow submit`; it replaces the old output, if there is one.
    fn submit(&self, cluster: &Cluster, output: &str) -> JoinHandle<Ended> {
        let mut command = cluster.windrow(["submit", "--coordinator", &cluster.url]);
        command.arg(binary("wordcount")).arg("--").args(Work::args("text", output)).current_dir(self.path());
        if self.path().join(output).exists() {
            command.arg("--overwrite");
        }
        std::thread::spawn(move || run(&mut command))
    }
    /// Checks that readers see nothing, the old output or the new one.
    #[track_caller]
    fn is_whole_or_not_there(&self, output: &str, what: &str) {
        let place = self.path().join(output);
        if place.exists() {
            let found = parts(&place);
            let allowed = ["expected", "old"].map(|name| parts(&self.path().join(name)));
            assert!(allowed.contains(&found), "{what}: the output is neither the old nor the new one");
        }
    }
    /// Checks the output of an ended job, and that nothing is left beside it.
    #[track_caller]
    fn check(&self, cluster: &Cluster, output: &str, what: &str) {
        assert!(parts(&self.path().join(output)) == parts(&self.path().join("expected")), "{what}: other bytes");
        let jobs = cluster.json(["job", "list"]);
        assert_eq!(jobs.as_array().map(Vec::len), Some(1), "{what}: {jobs}");
        assert_eq!(jobs[0]["state"], "done", "{what}: {jobs}");
        let hidden = || std::fs::read_dir(self.path()).unwrap().flatten().map(|e| e.file_name());
        eventually("nothing is left beside the output", || {
            hidden().all(|name| !name.to_string_lossy().starts_with('.'))
        });
    }
}

/// Runs one job while the coordinator has this failpoint. Returns whether the coordinator died of it.
fn coordinator_dies_at(work: &Work, output: &str, failpoint: &str) -> bool {
    let mut cluster = start_failing(failpoint, 2);
    let submitted = work.submit(&cluster, output);
    let died = cluster.coordinator_ends(|| submitted.is_finished());
    if let Some(code) = died {
        assert_eq!(code, None, "{failpoint}: it was killed");
        work.is_whole_or_not_there(output, failpoint);
        cluster.start_coordinator();
    }
    let submitted = submitted.join().unwrap();
    if died.is_some() && submitted.code == Some(3) {
        // It died before the command had reached it.
        work.submit(&cluster, output).join().unwrap().ok();
    } else {
        submitted.ok();
    }
    work.check(&cluster, output, failpoint);
    if died.is_some() {
        cluster.stop();
    }
    // Otherwise it may still die of a write when its worker leaves.
    died.is_some()
}

/// Kills at the first pass, the second, and so on, until a pass does not happen. Returns the number of passes.
fn coordinator_dies_at_every_pass(place: &str) -> u32 {
    let work = Work::new();
    for pass in 1..PASSES_MAX {
        let output = format!("out-{pass}");
        if !coordinator_dies_at(&work, &output, &format!("{place}=kill@{pass}")) {
            return pass - 1;
        }
    }
    panic!("{place} is passed more than {PASSES_MAX} times")
}

#[test]
fn coordinator_dies_before_any_journal_write() {
    let passes = coordinator_dies_at_every_pass("journal.before-write");
    assert!(passes >= 3, "a job's submit, commit and end are written: {passes}");
}

#[test]
fn coordinator_dies_after_any_unannounced_journal_write() {
    let passes = coordinator_dies_at_every_pass("journal.written");
    assert!(passes >= 3, "{passes}");
}

#[test]
fn coordinator_dies_after_announcing_any_write() {
    let passes = coordinator_dies_at_every_pass("journal.answered");
    assert!(passes >= 3, "{passes}");
}

#[test]
fn coordinator_dies_around_a_submit_and_a_recorded_end() {
    let work = Work::new();
    for (n, place) in ["submit.before-reply", "submit.replied", "job.end-recorded"].iter().enumerate() {
        assert!(coordinator_dies_at(&work, &format!("out-{n}"), &format!("{place}=kill")), "{place}");
    }
}

/// A dataset is there with all of its chunks once, or not at all.
#[test]
fn coordinator_dies_before_any_write_of_a_dataset_job() {
    let work = Work::new();
    let mut expected = concatenated(&work.path().join("expected"));
    expected.sort_unstable();
    for pass in 1..PASSES_MAX {
        let mut cluster = start_failing(&format!("journal.before-write=kill@{pass}"), 2);
        let submitted = work.submit(&cluster, "windrow://made");
        let died = cluster.coordinator_ends(|| submitted.is_finished()).is_some();
        if died {
            cluster.start_coordinator();
        }
        let submitted = submitted.join().unwrap();
        if died && submitted.code == Some(3) {
            work.submit(&cluster, "windrow://made").join().unwrap().ok();
        } else {
            submitted.ok();
        }
        if !died {
            assert!(pass > 4, "the dataset itself is written, too: {pass}");
            return;
        }
        let copy = work.path().join(format!("copy-{pass}"));
        eventually("the dataset can be had", || {
            let mut get = cluster.windrow(["data", "get", "--coordinator", &cluster.url, "made"]);
            run(get.arg(&copy)).code == Some(0)
        });
        let mut found = std::fs::read(&copy).unwrap();
        found.sort_unstable();
        assert!(found == expected, "{pass}: other bytes");
        cluster.stop();
    }
    panic!("passed more than {PASSES_MAX} times");
}

/// Every step of a commit (`store/src/outputs/files/commit.rs`), in order.
const COMMIT_STEPS: [&str; 10] = [
    "commit.begun",
    "publish.take=kill@2",
    "publish.taken",
    "publish.leftover-removed",
    "publish.sync=kill@2",
    "publish.manifest",
    "publish.sealed",
    "publish.rename",
    "publish.renamed",
    "commit.one-output",
];

fn kill_at(step: &str) -> String {
    if step.contains('=') { step.to_string() } else { format!("{step}=kill") }
}

#[test]
fn coordinator_dies_at_every_step_of_a_commit() {
    let work = Work::new();
    for (n, step) in COMMIT_STEPS.iter().enumerate() {
        assert!(coordinator_dies_at(&work, &format!("out-{n}"), &kill_at(step)), "{step}");
    }
}

/// Beside the steps above: the exchange, and the removal of the old output.
#[test]
fn coordinator_dies_while_an_output_is_replaced() {
    let work = Work::new();
    for (n, step) in ["publish.sealed", "publish.renamed", "publish.old-removed"].iter().enumerate() {
        let output = format!("out-{n}");
        local(work.path(), "wordcount", Work::args("other", &output)).ok();
        assert!(coordinator_dies_at(&work, &output, &kill_at(step)), "{step}");
    }
}

/// An acknowledged cancel is permanent; an unacknowledged one may have to be repeated.
#[test]
fn coordinator_dies_during_a_cancel() {
    let work = Work::new();
    let gate = work.path().join("gate");
    std::fs::create_dir(&gate).unwrap();
    std::fs::write(work.path().join("gated"), "gate1\n").unwrap();
    let gate = gate.to_str().unwrap();
    for (place, recorded) in [("cancel.begun", false), ("job.end-recorded", true), ("publish.abandon", true)] {
        let mut cluster = start_failing(&format!("{place}=kill"), 1);
        let id = cluster.detach(work.path(), "hostile", ["gate", "gated", "--output", "cancelled", "--gate", gate]);
        eventually("its task runs", || cluster.json(["job", "list"])[0]["tasks"]["running"] == 1);
        let mut cancel = cluster.windrow(["job", "cancel", &id, "--coordinator", &cluster.url]);
        let cancel = std::thread::spawn(move || run(&mut cancel));
        assert_eq!(cluster.coordinator_ends(|| false), Some(None), "{place}");
        cluster.start_coordinator();
        let answered = cancel.join().unwrap().code == Some(0);
        let state = || cluster.json(["job", "list"])[0]["state"].as_str().unwrap().to_string();
        if recorded || answered {
            assert_eq!(state(), "cancelled", "{place}");
        } else {
            assert_eq!(state(), "running", "{place}");
            run(&mut cluster.windrow(["job", "cancel", &id, "--coordinator", &cluster.url])).ok();
            assert_eq!(state(), "cancelled", "{place}");
        }
        let left = || std::fs::read_dir(work.path()).unwrap().flatten().map(|e| e.file_name());
        eventually("the staging folder is gone", || left().all(|n| !n.to_string_lossy().contains("cancelled")));
        eventually("its process is gone", || cluster.executors() == 0 && cluster.leftovers().is_empty());
        cluster.stop();
    }
}

#[test]
fn worker_dies_before_and_after_placing_a_part() {
    let work = Work::new();
    for (n, place) in ["publish.place=kill@2", "publish.placed=kill"].iter().enumerate() {
        let output = format!("out-{n}");
        let mut cluster = Cluster::start(0, 2);
        cluster.worker_failpoints = place.to_string();
        cluster.add_worker(2);
        let submitted = work.submit(&cluster, &output);
        assert_eq!(cluster.worker_ends(0, || false), Some(None), "{place}");
        cluster.worker_failpoints.clear();
        cluster.start_worker(0);
        submitted.join().unwrap().ok();
        work.check(&cluster, &output, place);
        cluster.stop();
    }
}

/// The effect of a failed sync is unknown, so the process must not go on.
#[test]
fn journal_disk_error_ends_the_coordinator_and_jobs_resume() {
    let work = Work::new();
    // The first four transactions are those of the start, the fifth records the worker.
    for (n, error) in ["journal.before-commit=eio@6", "journal.before-commit=enospc@7"].iter().enumerate() {
        let output = format!("out-{n}");
        let mut cluster = start_failing(error, 2);
        let submitted = work.submit(&cluster, &output);
        if cluster.coordinator_ends(|| submitted.is_finished()).is_none() {
            // On a quick machine a whole job may need fewer transactions: another one gets as far.
            let more = work.submit(&cluster, &format!("more-{n}"));
            assert_eq!(cluster.coordinator_ends(|| false), Some(Some(1)), "{error}");
            work.is_whole_or_not_there(&output, error);
            cluster.start_coordinator();
            drop((submitted.join().unwrap(), more.join().unwrap()));
            cluster.stop();
            continue;
        }
        work.is_whole_or_not_there(&output, error);
        cluster.start_coordinator();
        let submitted = submitted.join().unwrap();
        if submitted.code != Some(0) {
            // The submit was refused because it could not be recorded.
            submitted.with(1).shows_error(if error.contains("eio") { "IO_ERROR" } else { "NO_SPACE" }, &["journal"]);
            work.submit(&cluster, &output).join().unwrap().ok();
        }
        work.check(&cluster, &output, error);
        cluster.stop();
    }
}

/// The job that kills the coordinator is tried twice, whatever its client does; the other one goes on.
#[test]
fn planning_that_aborts_twice_fails_its_job_alone() {
    let (work, other) = (Work::new(), Gated::new());
    let mut cluster = Cluster::start(1, 3);
    let id = cluster.detach(other.path(), "hostile", other.args("out"));
    other.wait_for(3);
    cluster.kill_coordinator();
    assert!(cluster.start_coordinator_failing("plan.begun=abort"), "the other job is planned already");
    let submitted = work.submit(&cluster, "out");
    assert_eq!(cluster.coordinator_ends(|| false), Some(None), "the first try");
    cluster.start_coordinator_failing("plan.begun=abort");
    assert_eq!(cluster.coordinator_ends(|| false), Some(None), "the second try");
    assert!(cluster.start_coordinator_failing("plan.begun=abort"), "there is no third try");
    submitted.join().unwrap().with(1).shows_error("PLANNING_CRASHED", &["2 times"]);
    other.open();
    run(&mut cluster.windrow(["job", "wait", &id, "--coordinator", &cluster.url])).ok();
    other.check("out");
    assert!(!work.path().join("out").exists());
    cluster.stop();
}
