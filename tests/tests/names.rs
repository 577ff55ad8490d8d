//! Paths and names that are empty, not UTF-8, or forge other output.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use windrow_tests::cluster::Cluster;
use windrow_tests::output::lines;
use windrow_tests::program::{Ended, binary, command, eventually, local, run};

#[test]
fn empty_paths_are_usage_errors_and_touch_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in"), "secret words\n").unwrap();
    for (name, args) in [
        ("wordcount", &["", "--output", "out"][..]),
        ("wordcount", &["in", "", "--output", "out"]),
        ("wordcount", &["in", "--output", "", "--overwrite"]),
        ("wordcount", &["in", "--output", "out", "--scratch", ""]),
        ("wordcount", &["in", "--output", "out", "--token-file", ""]),
        ("wordcount", &["in", "--output", "out", "--cluster", ""]),
        ("join", &["--customers", "", "--orders", "in", "--output", "out"]),
        ("stream", &["in", "--mapper", "", "--output", "out"]),
        ("stream", &["in", "--mapper", " ", "--output", "out"]),
        ("stream", &["in", "--mapper", "cat", "--reducer", "", "--output", "out"]),
        ("windrow", &["coordinator", "--data-dir", ""]),
        ("windrow", &["worker", "--coordinator", "", "--data-dir", "w"]),
        ("windrow", &["up", "--data-dir", ""]),
        ("windrow", &["data", "put", "", "x"]),
        ("windrow", &["data", "put", "in", ""]),
        ("windrow", &["data", "get", "x", ""]),
        ("windrow", &["--config", "", "job", "list"]),
    ] {
        let ended = local(folder.path(), name, args).with(2);
        assert!(ended.stderr.contains("error"), "{args:?}: {}", ended.stderr);
    }
    // `submit` asks the binary, which refuses in the same way, before a coordinator is needed.
    for args in [["", "--output", "out"], ["in", "--output", ""]] {
        let mut submit = command("windrow", folder.path());
        submit.args(["submit", "--coordinator", "http://127.0.0.1:1"]).arg(binary("wordcount")).arg("--").args(args);
        run(submit.current_dir(folder.path())).with(2).shows_error("BAD_REQUEST", &["path is empty"]);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was made");
}

#[test]
fn folder_of_skipped_files_is_an_error_like_an_empty_glob() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    std::fs::write(folder.path().join("in/_x"), "a\n").unwrap();
    std::fs::write(folder.path().join("in/.y"), "a\n").unwrap();
    let failed = local(folder.path(), "wordcount", ["in", "--output", "out"]);
    failed.with(1).shows_error("INPUT_NOT_FOUND", &["every file in it is skipped"]);
    local(folder.path(), "wordcount", ["in/_x", "--output", "out"]).ok();
}

#[test]
fn files_with_non_utf8_names_have_distinct_keys() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = folder.path().join("in");
    std::fs::create_dir(&inputs).unwrap();
    let write = |name: &[u8], text: &str| std::fs::write(inputs.join(OsStr::from_bytes(name)), text).unwrap();
    write(b"bad\xff", "1");
    write(b"bad\xfe", "22");
    write(br"bad\xff", "333");
    let shown = |folder: &Path| -> Vec<String> {
        let mut lines = lines(folder);
        lines.iter_mut().for_each(|line| *line = line.rsplit('/').next().unwrap().to_string());
        lines.sort();
        lines
    };
    // The sink escapes backslashes once more.
    let whole = [r"bad\\x5cxff	3", r"bad\\xfe	2", r"bad\\xff	1"];
    local(folder.path(), "printer", ["whole", "in", "--output", "whole"]).ok();
    assert_eq!(shown(&folder.path().join("whole")), whole);
    let cluster = Cluster::start(1, 1);
    cluster.job(folder.path(), "printer", ["whole", "in", "--output", "there"]).ok();
    assert_eq!(shown(&folder.path().join("there")), whole);
    local(folder.path(), "grep", ["[0-9]", "in", "--with-place", "--output", "places"]).ok();
    assert_eq!(shown(&folder.path().join("places")), [r"bad\x5cxff:0:333", r"bad\xfe:0:22", r"bad\xff:0:1"]);
    // A record of such a file is named by its own file, in text and in JSON.
    std::fs::write(inputs.join(OsStr::from_bytes(b"bad\xff")), "panic at the disco\n").unwrap();
    let failed = local(folder.path(), "printer", ["says", "in", "--output", "says", "-o", "json"]).with(1);
    assert!(failed.json()["error"]["record"]["file"].as_str().unwrap().ends_with(r"in/bad\xff"), "{}", failed.stdout);
    assert!(failed.stderr.contains(r"in/bad\xff:0"), "{}", failed.stderr);
    cluster.stop();
}

/// Text that imitates a line of Windrow's, and colours it.
const FORGED: &str = "x\nFAKE done in 4 s\u{1b}[31m\r\u{9b}2J";

/// Checks that there are no control characters except ends of lines, and only Windrow's own lines.
#[track_caller]
fn shows_nothing_forged(ended: &Ended) {
    for text in [&ended.stdout, &ended.stderr] {
        let control = text.chars().find(|c| c.is_control() && !"\n\t".contains(*c));
        assert_eq!(control, None, "{text:?}");
        let forged = text.lines().find(|line| line.starts_with("FAKE") || line.trim_start().starts_with("FAKE"));
        assert_eq!(forged, None, "{text}");
    }
}

#[test]
fn names_and_messages_forge_no_lines() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        name.to_string()
    };
    let good = file(&format!("good{FORGED}"), "a\n");
    file("panic", "panic boom\\nFAKE done in 4 s\\e[31m\n");
    file("error", "error boom\\nFAKE done in 4 s\\e[31m\n");
    let mut shown = Vec::new();
    let cluster = Cluster::start(1, 1);
    let job = |args: &[&str]| local(folder.path(), "printer", args);
    shown.push(job(&["says", &good, "--output", &format!("out{FORGED}")]).ok());
    shown.push(
        job(&["says", &good, "--output", &format!("out{FORGED}")]).with(1).shows_error("OUTPUT_EXISTS", &[r"\nFAKE"]),
    );
    shown.push(
        job(&["says", &format!("missing{FORGED}"), "--output", "x"])
            .with(1)
            .shows_error("INPUT_NOT_FOUND", &[r"\nFAKE"]),
    );
    shown.push(job(&["says", &good, "--output", "x", "--explain"]).ok());
    shown.push(job(&["says", &good, &format!("--{FORGED}")]).with(2));
    shown.push(job(&[FORGED]).with(2));
    let windrow =
        |args: &[&str]| run(cluster.windrow(args).args(["--coordinator", &cluster.url]).current_dir(folder.path()));
    for what in ["panic", "error"] {
        shown.push(job(&["says", what, "--output", "x"]).with(1));
        shown.push(cluster.job(folder.path(), "printer", ["says", what, "--output", "x"]).with(1));
    }
    let printer = binary("printer");
    let submitted = |input: &str, output: &str| {
        let mut submit = cluster.windrow(["submit", "--coordinator", &cluster.url, "--name", FORGED]);
        run(submit.arg(&printer).args(["--", "says", input, "--output", output]).current_dir(folder.path()))
    };
    shown.push(submitted(&good, &format!("there{FORGED}")).ok());
    shown.push(submitted("panic", "x").with(1));
    shown.push(windrow(&["job", "list"]).ok());
    for job in cluster.json(["job", "list"]).as_array().unwrap() {
        let id = job["id"].as_str().unwrap();
        shown.push(windrow(&["job", "get", id]).ok());
        shown.push(windrow(&["job", "cancel", id]).ok());
        shown.push(windrow(&["job", "wait", id]));
    }
    shown.push(windrow(&["worker", "list"]).ok());
    shown.push(windrow(&["data", "put", &format!("missing{FORGED}"), "x"]).with(1));
    shown.push(windrow(&["data", "put", &good, FORGED]).with(2));
    shown.push(windrow(&["data", "put", &good, "x"]).ok());
    shown.push(windrow(&["data", "get", "x", &format!("got{FORGED}")]).ok());
    shown.push(windrow(&["data", "get", "x", &format!("got{FORGED}")]).with(1));
    shown.push(windrow(&["data", "rm", FORGED]).with(1));
    shown.push(windrow(&["job", "get", FORGED]).with(2));
    shown.push(windrow(&["submit", &format!("no-binary{FORGED}")]).with(2));
    shown.push(windrow(&["--config", &format!("no-file{FORGED}"), "job", "list"]).with(2));
    shown.iter().for_each(|ended| shows_nothing_forged(ended));
    assert!(
        shown.iter().filter(|ended| format!("{}{}", ended.stdout, ended.stderr).contains("FAKE done")).count() > 15
    );
    // JSON is exact.
    let names = cluster.json(["job", "list"]);
    assert!(names.as_array().unwrap().iter().any(|job| job["name"] == FORGED), "{names}");
    cluster.stop();
}

#[test]
fn empty_parent_folders_of_a_failed_job_go_with_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in"), "panic now\n").unwrap();
    let args = |output: &'static str| ["says", "in", "--output", output];
    local(folder.path(), "printer", args("new/deep/out")).with(1);
    assert!(!folder.path().join("new").exists());
    let crash: [OsString; 5] = ["bad", "abort", "in", "--output", "new/deep/out"].map(OsString::from);
    std::fs::write(folder.path().join("in"), "BOOM\n").unwrap();
    local(folder.path(), "hostile", crash).with(1);
    assert!(!folder.path().join("new").exists());
    let cluster = Cluster::start(1, 1);
    std::fs::write(folder.path().join("in"), "panic now\n").unwrap();
    cluster.job(folder.path(), "printer", args("new/deep/out")).with(1);
    eventually("the staging folder is gone", || !folder.path().join("new").exists());
    std::fs::create_dir(folder.path().join("old")).unwrap();
    cluster.job(folder.path(), "printer", args("old/out")).with(1);
    assert!(folder.path().join("old").exists());
    cluster.stop();
}
