//! Jobs that fail at bad records, and jobs that leave them out.

use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;
use windrow_tests::cluster::Cluster;
use windrow_tests::output::{lines, sorted};
use windrow_tests::program::{local, run};

/// `in`, with `bad` bad lines among many good ones; and `good` without them.
fn folder(bad: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (mut all, mut good) = (String::new(), String::new());
    for n in 0..400 {
        let line = format!("w{} x{}\n", n % 7, n % 11);
        all += &line;
        good += &line;
        if n % 100 == 50 && n / 100 < bad {
            all += &format!("never BOOM {n}\n");
        }
    }
    std::fs::write(folder.path().join("in"), all).unwrap();
    std::fs::write(folder.path().join("good"), good).unwrap();
    local(folder.path(), "wordcount", ["good", "--output", "expected"]).ok();
    folder
}

/// Offset and code of each record in the output's list of bad records, checked against the input.
#[track_caller]
fn set_aside(folder: &Path, output: &str) -> Vec<(u64, String)> {
    let text = std::fs::read_to_string(folder.join(output).join("_bad_records.jsonl")).unwrap();
    let input = std::fs::read_to_string(folder.join("in")).unwrap();
    let one = |line: &str| {
        let bad: Value = serde_json::from_str(line).unwrap();
        let offset = bad["offset"].as_u64().unwrap();
        let record = input[offset as usize..].lines().next().unwrap();
        assert!(record.contains("BOOM") && bad["record"] == record, "{bad}");
        assert!(bad["file"].as_str().unwrap().ends_with("/in") && bad["message"].as_str().is_some(), "{bad}");
        (offset, bad["code"].as_str().unwrap().to_string())
    };
    text.lines().map(one).collect()
}

#[test]
fn local_run_leaves_out_bad_records_up_to_its_limit() {
    let folder = folder(3);
    let path = folder.path();
    let mut seen = Vec::new();
    for chunk in ["1B", "100B", "1MiB"] {
        let args = ["bad", "panic", "in", "--skip-bad-records", "3", "--chunk-size", chunk, "--output", chunk];
        local(path, "hostile", args).ok();
        assert_eq!(sorted(&path.join(chunk)), sorted(&path.join("expected")), "{chunk}");
        seen.push(set_aside(path, chunk));
    }
    assert!(seen.iter().all(|bad| *bad == seen[0] && bad.len() == 3), "{seen:?}");
    assert!(seen[0].iter().all(|(_, code)| code == "USER_PANIC"));
    let args = ["bad", "panic", "in", "--skip-bad-records", "2", "--output", "out"];
    local(path, "hostile", args).with(1).shows_error("USER_PANIC", &["more than 2 bad records", "/in"]);
    assert!(!path.join("out").exists());
    // Without bad records there is no list.
    local(path, "hostile", ["bad", "panic", "good", "--skip-bad-records", "2", "--output", "none"]).ok();
    assert!(!path.join("none/_bad_records.jsonl").exists());
}

#[test]
fn rows_that_do_not_parse_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(
        path.join("visits"),
        "{\"user\":\"a\",\"seconds\":1}\n{\"user\":}\n{\"user\":\"a\",\"seconds\":2}\n",
    )
    .unwrap();
    local(path, "hostile", ["json", "visits", "--skip-bad-records", "1", "--output", "out"]).ok();
    assert_eq!(lines(&path.join("out")), ["a\t3"]);
    let text = std::fs::read_to_string(path.join("out/_bad_records.jsonl")).unwrap();
    let bad: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((bad["offset"].as_u64(), bad["code"].as_str()), (Some(25), Some("RECORD_MALFORMED")));
}

#[test]
fn cluster_leaves_out_records_that_kill_their_process() {
    let folder = folder(2);
    let path = folder.path();
    let cluster = Cluster::start(2, 1);
    let submit = |what: &str, skip: &str, output: &str| {
        let mut command = cluster.windrow(["submit", "--coordinator", &cluster.url]);
        command.args(["--skip-bad-records", skip, "--progress-timeout", "2s", "--chunk-size", "1kB"]);
        command.arg(windrow_tests::program::binary("hostile")).args(["--", "bad", what, "in", "--output", output]);
        run(command.current_dir(path))
    };
    let ways = [
        ("panic", "USER_PANIC"),
        ("segfault", "EXECUTOR_CRASHED"),
        ("exit", "EXECUTOR_CRASHED"),
        ("hang", "TASK_TIMEOUT"),
    ];
    for (what, code) in ways {
        submit(what, "2", what).ok();
        assert_eq!(sorted(&path.join(what)), sorted(&path.join("expected")), "{what}");
        let bad = set_aside(path, what);
        assert!(bad.len() == 2 && bad.iter().all(|(_, c)| c == code), "{what}: {bad:?}");
    }
    submit("hang", "0", "out").with(1).shows_error("TASK_TIMEOUT", &["made no progress", "/in", "BOOM"]);
    submit("segfault", "1", "out").with(1).shows_error("EXECUTOR_CRASHED", &["more than 1 bad records"]);
    cluster.stop();
}
