//! How unsuccessful runs end: one clear end, in the requested form, and no process left running.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;
use windrow_tests::cluster::Cluster;
use windrow_tests::output::lines;
use windrow_tests::program::{Daemon, binary, command, eventually, local, pids_with, processes_with, run};
use windrow_tests::{corpus, oracle};

/// A folder with a small input `in`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in"), "a b\nc BOOM\nd\n").unwrap();
    folder
}

#[test]
fn killed_run_is_reported_as_json() {
    let folder = folder();
    let bad = |what: &str| {
        local(folder.path(), "hostile", ["bad", what, "in", "--output", "out", "-o", "json"]).with(1).json()
    };
    let failed = bad("panic");
    assert_eq!(failed["error"]["code"], "USER_PANIC");
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for what in ["abort", "exit", "segfault", "recursion"] {
        let died = bad(what);
        assert_eq!(keys(&died), keys(&failed), "{what}");
        assert_eq!(keys(&died["error"]), keys(&failed["error"]), "{what}");
        assert_eq!((&died["state"], &died["error"]["code"]), (&"failed".into(), &"EXECUTOR_CRASHED".into()), "{died}");
        assert!(died["error"]["record"]["file"].as_str().unwrap().ends_with("/in"), "{died}");
        assert_eq!(died["tasks"]["running"], 0, "{died}");
    }
    // Before there is a job.
    for (what, code) in [("abort", "EXECUTOR_CRASHED"), ("this", "PLAN_INVALID")] {
        let value = local(folder.path(), "hostile", ["unplanned", what, "-o", "json"]).with(1).json();
        assert_eq!((&value["state"], &value["error"]["code"]), (&"failed".into(), &code.into()), "{value}");
    }
}

/// A `sleep` that no other process of this machine runs: its duration in seconds, and how it looks in a command line.
fn own_sleep() -> (String, String) {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    let seconds = format!("6174.{}{:03}", std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
    let arguments = format!("sleep\0{seconds}\0");
    (seconds, arguments)
}

/// Starts the `stream` example with this mapper.
fn stream(folder: &Path, mapper: &str) -> Daemon {
    Daemon::start(command("stream", folder).current_dir(folder).args(["in", "--mapper", mapper, "--output", "out"]))
}

#[test]
fn background_process_that_is_killed_is_warned_about() {
    let folder = folder();
    let (seconds, sleep) = own_sleep();
    let mapper = &format!("sleep {seconds} & cat");
    let ended = local(folder.path(), "stream", ["in", "--mapper", mapper, "--output", "out"]).ok();
    let warnings = ended.stderr.lines().filter(|line| line.starts_with("warning: ") && line.contains("`wait`")).count();
    assert_eq!((warnings, ended.stderr.contains(mapper)), (1, true), "{}", ended.stderr);
    assert_eq!(processes_with(&sleep), 0);
}

#[test]
fn interrupted_run_leaves_no_commands_running() {
    let folder = folder();
    let (seconds, sleep) = own_sleep();
    let sleeps = || processes_with(&sleep);
    let alone = |running: &Daemon| running.signal(Signal::TERM);
    // Like a terminal; the command is in a group of its own.
    let group = |running: &Daemon| {
        kill_process_group(Pid::from_raw(running.pid() as i32).unwrap(), Signal::INT).unwrap();
    };
    for interrupt in [&alone as &dyn Fn(&Daemon), &group] {
        let mut running = stream(folder.path(), &format!("sleep {seconds}; cat"));
        eventually("the command runs", || sleeps() == 1);
        interrupt(&running);
        // Readers of its stdout reach its end.
        assert_eq!(running.read_line_if_it_starts(""), None);
        eventually("it has ended", || running.has_ended().is_some());
        assert_eq!((running.has_ended(), sleeps()), (Some(Some(130)), 0));
        assert!(!folder.path().join("out").exists());
    }
}

#[test]
fn cancel_and_crash_on_a_worker_end_commands_of_pipe() {
    let folder = folder();
    let (seconds, sleep) = own_sleep();
    let sleeps = || pids_with(&sleep);
    let mapper = &format!("sleep {seconds}; cat");
    let cluster = Cluster::start(1, 1);
    let id = cluster.detach(folder.path(), "stream", ["in", "--mapper", mapper, "--output", "out"]);
    eventually("the command runs", || sleeps().len() == 1);
    let first = sleeps();
    assert!(cluster.kill_an_executor(0));
    eventually("another attempt runs", || sleeps().len() == 1 && sleeps() != first);
    run(&mut cluster.windrow(["job", "cancel", &id, "--coordinator", &cluster.url])).ok();
    eventually("its command has ended", || sleeps().is_empty());
    cluster.stop();
}

#[test]
fn successful_run_kills_nothing() {
    let folder = folder();
    let (seconds, sleep) = own_sleep();
    let mut running = stream(folder.path(), &format!("sleep {seconds} > /dev/null 2>&1 & cat"));
    eventually("it has ended", || running.has_ended().is_some());
    // The command's own group, which is not the run's.
    let left = pids_with(&sleep);
    left.iter().for_each(|pid| kill_process(*pid, Signal::KILL).unwrap());
    assert_eq!((running.has_ended(), left.len()), (Some(Some(0)), 1));
    eventually("the test leaves nothing", || processes_with(&sleep) == 0);
    assert_eq!(lines(&folder.path().join("out")), ["a b", "c BOOM", "d"]);
}

#[test]
fn pagerank_replaces_its_output_only_if_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let edges = corpus::edges(31, 40, 200);
    std::fs::write(folder.path().join("edges"), &edges).unwrap();
    let until = |more: &[&str]| {
        let args = ["edges", "--until", "1e-6", "--rounds", "3", "--partitions", "2", "--output", "out"];
        local(folder.path(), "pagerank", args.iter().chain(more))
    };
    until(&[]).ok();
    until(&[]).with(1).shows_error("OUTPUT_EXISTS", &["out"]);
    until(&["--overwrite"]).ok();
    let expected = oracle::pagerank(&edges, 3);
    let ranks = lines(&folder.path().join("out"));
    assert_eq!(ranks.len(), expected.len());
    for (node, rank) in ranks.iter().map(|line| line.split_once('\t').unwrap()) {
        let (node, rank): (u64, f64) = (node.parse().unwrap(), rank.parse().unwrap());
        assert!((rank - expected[&node]).abs() < 1e-9, "{node}: {rank}");
    }
    std::fs::write(folder.path().join("out/mine"), "").unwrap();
    let refused = until(&["--overwrite"]).with(1).shows_error("OUTPUT_NOT_OURS", &["mine"]);
    assert!(!refused.stderr.contains("round 0"), "before the first round: {}", refused.stderr);
    assert!(!folder.path().join("out.rounds").exists());
}

#[test]
fn incomplete_output_is_not_validated() {
    let folder = tempfile::tempdir().unwrap();
    local(folder.path(), "terasort", ["gen", "900", "records"]).ok();
    local(folder.path(), "terasort", ["sort", "records", "--partitions", "3", "--output", "out"]).ok();
    let validate = |name: &str| local(folder.path(), "terasort", ["validate", name]);
    assert!(validate("out").ok().stdout.starts_with("900 records in order"));
    let [success, part] = ["_SUCCESS", "part-00001"].map(|name| folder.path().join("out").join(name));
    let kept = std::fs::read(&part).unwrap();
    std::fs::remove_file(&part).unwrap();
    validate("out").with(1).shows_error("OUTPUT_FAILED", &["out/part-00001"]);
    std::fs::write(&part, &kept[..kept.len() - 100]).unwrap();
    validate("out").with(1).shows_error("OUTPUT_FAILED", &["out/part-00001"]);
    std::fs::write(&part, kept).unwrap();
    std::fs::remove_file(success).unwrap();
    let unlisted = validate("out").ok();
    assert!(unlisted.stdout.starts_with("900 records in order") && unlisted.stderr.contains("_SUCCESS"));
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    validate("empty").with(1).shows_error("USER_ERROR", &["empty", "_SUCCESS"]);
    validate("nodir").with(1).shows_error("USER_ERROR", &["nodir"]);
}

#[test]
fn query_reports_errors_but_not_a_closed_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let documents: String = (0..100_000).map(|n| format!("{n}\tword\n")).collect();
    std::fs::write(folder.path().join("in"), documents).unwrap();
    local(folder.path(), "inverted_index", ["in", "--output", "out"]).ok();
    let found = local(folder.path(), "inverted_index", ["query", "out", "word", "word"]).ok();
    assert_eq!(found.stdout.lines().count(), 100_000);
    local(folder.path(), "inverted_index", ["query", "nodir", "word"]).with(1).shows_error("OUTPUT_FAILED", &["nodir"]);
    let help = local(folder.path(), "inverted_index", ["query", "--help"]).ok().stdout;
    assert!(help.contains("WORDS") && !help.contains("--output"), "{help}");

    let mut query = command("inverted_index", folder.path());
    query.current_dir(folder.path()).args(["query", "out", "word"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut query = query.spawn().unwrap();
    // Most of its output is never read.
    drop(query.stdout.take());
    let mut stderr = String::new();
    query.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((query.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn cluster_warns_of_unused_flags_and_shows_last_events() {
    let folder = folder();
    let cluster = Cluster::start(1, 1);
    let submit = |name: &str, args: &[&str]| {
        let mut submit = cluster.windrow(["submit", "--coordinator", &cluster.url]);
        run(submit.arg(binary(name)).arg("--").args(args).current_dir(folder.path()))
    };
    let flags = ["in", "--output", "out", "--threads", "2", "--memory", "64MB", "-o", "json"];
    let done = submit("wordcount", &flags).ok();
    for flag in ["--threads", "--memory", "-o json"] {
        assert!(done.stderr.contains(&format!("warning: {flag} after `--` has no effect")), "{}", done.stderr);
    }
    for (input, output, code) in [
        ("in", "out", "OUTPUT_EXISTS"),
        ("nothing", "x", "INPUT_NOT_FOUND"),
        ("windrow://no", "x", "DATASET_NOT_FOUND"),
    ] {
        let failed = submit("wordcount", &[input, "--output", output]).with(1).shows_error(code, &[]);
        assert!(!failed.stderr.contains("committing") && !failed.stderr.contains("warning"), "{}", failed.stderr);
    }
    submit("hostile", &["unplanned", "this"]).with(1).shows_error("PLAN_INVALID", &["no plan for this"]);
    let jobs = cluster.json(["job", "list"]);
    for job in jobs.as_array().unwrap() {
        let cancelled =
            run(&mut cluster.windrow(["job", "cancel", "--coordinator", &cluster.url, job["id"].as_str().unwrap()]))
                .ok();
        let state = job["state"].as_str().unwrap();
        assert!(cancelled.stderr.contains(&format!("has ended already: {state}")), "{}", cancelled.stderr);
    }
    assert_eq!(jobs.as_array().unwrap().len(), 4);
    cluster.stop();
}
