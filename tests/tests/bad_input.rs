//! Every mistake is reported once, with its code and a hint; the exit code is right and no output appears.

use std::path::Path;
use tempfile::TempDir;
use windrow_model::Escape;
use windrow_tests::cluster::{Cluster, Setup};
use windrow_tests::output::lines;
use windrow_tests::program::{Ended, command, eventually, happens, local, run};

/// A folder with a small input `in`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in"), "a b\nc BOOM\nd\n").unwrap();
    folder
}

/// Checks that the folder has exactly these names: no output, and no hidden files.
/// A job is over before what it staged is removed.
#[track_caller]
fn holds(folder: &Path, names: &[&str]) {
    let found = || {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut found: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        found.sort();
        found
    };
    assert!(happens(|| found() == names), "{:?} and not {names:?}", found());
}

fn wordcount(folder: &Path, args: &str) -> Ended {
    local(folder, "wordcount", args.split(' '))
}

#[test]
fn missing_inputs_are_named() {
    let folder = folder();
    wordcount(folder.path(), "in nothing --output out").with(1).shows_error("INPUT_NOT_FOUND", &["/nothing"]);
    wordcount(folder.path(), "in *.txt --output out").with(1).shows_error("INPUT_NOT_FOUND", &["*.txt"]);
    holds(folder.path(), &["in"]);
}

#[test]
fn special_files_are_not_read() {
    let folder = folder();
    let fifo = folder.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    wordcount(folder.path(), "fifo --output out").with(1).shows_error("INPUT_UNREADABLE", &["/fifo"]);
    wordcount(folder.path(), "/dev/null --output out").with(1).shows_error("INPUT_UNREADABLE", &["/dev/null"]);
    std::os::unix::fs::symlink("nowhere", folder.path().join("link")).unwrap();
    wordcount(folder.path(), "link --output out").with(1).shows_error("INPUT_UNREADABLE", &["/link"]);
    holds(folder.path(), &["fifo", "in", "link"]);
}

#[test]
fn unreadable_file_is_an_error() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "x\n").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::read(&secret).is_ok() {
        return; // The superuser may read everything.
    }
    wordcount(folder.path(), "secret --output out").with(1).shows_error("INPUT_UNREADABLE", &["/secret"]);
    holds(folder.path(), &["in", "secret"]);
}

#[test]
fn existing_output_and_inputs_are_not_overwritten() {
    let folder = folder();
    wordcount(folder.path(), "in --output out").ok();
    let before = lines(&folder.path().join("out"));
    wordcount(folder.path(), "in in --output out").with(1).shows_error("OUTPUT_EXISTS", &["/out"]);
    assert_eq!(lines(&folder.path().join("out")), before);
    wordcount(folder.path(), "in in --output out --overwrite").ok();
    assert_ne!(lines(&folder.path().join("out")), before);
    std::fs::create_dir(folder.path().join("mine")).unwrap();
    std::fs::write(folder.path().join("mine/precious"), "").unwrap();
    wordcount(folder.path(), "in --output mine --overwrite").with(1).shows_error("OUTPUT_NOT_OURS", &["/mine"]);
    wordcount(folder.path(), "mine --output mine/out").with(1).shows_error("OUTPUT_INSIDE_INPUT", &["/mine"]);
    holds(&folder.path().join("mine"), &["precious"]);
    holds(folder.path(), &["in", "mine", "out"]);
}

#[test]
fn usage_errors_exit_with_two() {
    let folder = folder();
    for args in [
        "in --output out --frobnicate",
        "in",
        "--output out",
        "in --output out --memory lots",
        "in --output out --memory 0",
        "in --output out --chunk-size 0",
        "in --output out --partitions 0",
        "in --output out --threads 0",
    ] {
        let ended = wordcount(folder.path(), args).with(2);
        assert!(ended.stderr.contains("error:") && ended.stdout.is_empty(), "{}", ended.stderr);
    }
    local(folder.path(), "grep", ["a(b", "in", "--output", "out"]).with(2).shows_error("BAD_REQUEST", &["`a(b`"]);
    holds(folder.path(), &["in"]);
}

#[test]
fn invalid_plan_is_refused_before_any_task() {
    let folder = folder();
    let several = |found: &str, output: &str, numbers: &str| {
        let args = ["several", "a", "in", "--found", found, "--output", output, "--numbers", numbers];
        local(folder.path(), "hostile", args).with(1)
    };
    several("q", "q2", "q2").shows_error("PLAN_INVALID", &["two outputs have the same path", "/q2"]);
    several("q2/x/y", "q", "q2").shows_error("PLAN_INVALID", &["/q2/x/y lies inside the output", "/q2"]);
    several("windrow://d", "q", "windrow://d").shows_error("PLAN_INVALID", &["windrow://d"]);
    local(folder.path(), "hostile", ["unplanned", "this"])
        .with(1)
        .shows_error("PLAN_INVALID", &["panicked: no plan for this"]);
    // The submitter describes the plan itself, before any call.
    local(folder.path(), "hostile", ["__windrow-describe", "unplanned", "this"])
        .with(1)
        .shows_error("PLAN_INVALID", &[]);
    holds(folder.path(), &["in"]);
}

#[test]
fn refused_record_is_named() {
    let folder = folder();
    std::fs::write(folder.path().join("readings"), "x;1.0\ny;2.0\nbad line\nz;3\n").unwrap();
    for chunk in ["1B", "1MB"] {
        local(folder.path(), "stations", ["readings", "--output", "out", "--chunk-size", chunk])
            .with(1)
            .shows_error("USER_ERROR", &["readings:12", "bad line", "name;temperature"]);
        local(folder.path(), "hostile", ["bad", "panic", "in", "--output", "out", "--chunk-size", chunk])
            .with(1)
            .shows_error("USER_PANIC", &["in:4", "c BOOM", "the mapper does not like this line"]);
    }
    holds(folder.path(), &["in", "readings"]);
}

#[test]
fn crash_names_its_record_and_leaves_nothing() {
    let folder = folder();
    for (what, word) in [("abort", "SIGABRT"), ("segfault", "SIGSEGV"), ("recursion", "SIG"), ("exit", "exit(0)")] {
        for chunk in ["1B", "1MB"] {
            local(folder.path(), "hostile", ["bad", what, "in", "--output", "out", "--chunk-size", chunk])
                .with(1)
                .shows_error("EXECUTOR_CRASHED", &["in:4", "c BOOM", word]);
            holds(folder.path(), &["in"]);
        }
    }
}

#[test]
fn shrinking_input_is_reported_as_changed() {
    let folder = folder();
    let big = folder.path().join("big");
    std::fs::write(&big, format!("TRUNCATE:{}\n{}", big.escaped(), "a line of text\n".repeat(100_000))).unwrap();
    local(folder.path(), "hostile", ["bad", "truncate", "big", "--output", "out"])
        .with(1)
        .shows_error("INPUT_CHANGED", &["big"]);
    holds(folder.path(), &["big", "in"]);
}

#[test]
fn input_that_shrinks_costs_no_process_of_a_cluster() {
    let folder = folder();
    let cluster = Cluster::start(1, 2);
    let big = folder.path().join("big");
    std::fs::write(&big, format!("TRUNCATE:{}\n{}", big.escaped(), "a line of text\n".repeat(100_000))).unwrap();
    let ended =
        cluster.job(folder.path(), "hostile", ["bad", "truncate", "big", "--output", "out", "--chunk-size", "2MB"]);
    let stderr = ended.with(1).shows_error("INPUT_CHANGED", &["big:", "has become shorter than the"]).stderr;
    assert!(!stderr.contains("SIGBUS"), "{stderr}");
    let job = &cluster.json(["job", "list"])[0];
    assert_eq!(job["attempts"], 1, "{job}");
}

#[test]
fn crash_on_a_cluster_names_its_record() {
    let folder = folder();
    let cluster = Cluster::start(1, 2);
    for (what, word) in [("abort", "SIGABRT"), ("segfault", "SIGSEGV"), ("recursion", "SIG"), ("exit", "code 0")] {
        let job = ["bad", what, "in", "--output", "out", "--chunk-size", "1B"];
        cluster.job(folder.path(), "hostile", job).with(1).shows_error("EXECUTOR_CRASHED", &["in:4", "c BOOM", word]);
    }
    assert!(!folder.path().join("out").exists());
}

#[test]
fn malformed_json_line_is_named() {
    let folder = folder();
    let good = "{\"user\":\"u\",\"seconds\":3}\n";
    for (bad, name) in [("{\"user\":\n", "cut"), ("{\"user\":\"u\"}\n", "without"), ("[]\n", "other")] {
        std::fs::write(folder.path().join("visits"), format!("{good}\n{bad}{good}")).unwrap();
        let place = format!("visits:{}", good.len() + 1);
        local(folder.path(), "hostile", ["json", "visits", "--output", name])
            .with(1)
            .shows_error("RECORD_MALFORMED", &[&place]);
    }
    std::fs::write(folder.path().join("visits"), format!("{good}\n{good}")).unwrap();
    local(folder.path(), "hostile", ["json", "visits", "--output", "out"]).ok();
    assert_eq!(lines(&folder.path().join("out")), ["u\t6"]);
    holds(folder.path(), &["in", "out", "visits"]);
}

#[test]
fn text_that_is_not_utf8_is_named() {
    let folder = folder();
    std::fs::write(folder.path().join("latin"), b"good\nna\xEFve\n").unwrap();
    local(folder.path(), "hostile", ["bad", "panic", "latin", "--output", "out"])
        .with(1)
        .shows_error("RECORD_NOT_UTF8", &["latin:5"]);
    wordcount(folder.path(), "latin --output bytes").ok();
    assert_eq!(std::fs::read(folder.path().join("bytes/part-00000")).unwrap(), b"good\t1\nna\xEFve\t1\n");
    holds(folder.path(), &["bytes", "in", "latin"]);
}

#[test]
fn damaged_compressed_files_fail_the_job() {
    let folder = folder();
    let whole = zstd::encode_all(&b"one two three\n".repeat(1000)[..], 1).unwrap();
    std::fs::write(folder.path().join("cut.zst"), &whole[..whole.len() - 5]).unwrap();
    std::fs::write(folder.path().join("no.gz"), "this is not gzip\n").unwrap();
    wordcount(folder.path(), "cut.zst --output out").with(1).shows_error("INPUT_CORRUPT", &["cut.zst"]);
    wordcount(folder.path(), "no.gz --output out").with(1).shows_error("INPUT_CORRUPT", &["no.gz"]);
    holds(folder.path(), &["cut.zst", "in", "no.gz"]);
}

#[test]
fn only_job_binaries_are_submitted() {
    let folder = folder();
    let script = folder.path().join("in");
    let script = script.to_str().unwrap();
    for (binary, code) in [(script, "BAD_BINARY"), ("/bin/ls", "NOT_A_JOB")] {
        let mut submit = command("windrow", folder.path());
        run(submit.args(["submit", "--coordinator", "http://127.0.0.1:9", binary, "--", "x"]))
            .with(2)
            .shows_error(code, &[binary]);
    }
}

#[test]
fn unreachable_or_foreign_cluster_exits_with_three() {
    let folder = folder();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let unused = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    local(folder.path(), "wordcount", ["in", "--output", "out", "--cluster", &unused])
        .with(3)
        .shows_error("UNREACHABLE", &[&unused]);
    let cluster = Cluster::start(0, 1);
    // A user without the token, and one with a wrong token.
    local(folder.path(), "wordcount", ["in", "--output", "out", "--cluster", &cluster.url])
        .with(3)
        .shows_error("UNAUTHORISED", &[]);
    std::fs::write(folder.path().join("token"), "0".repeat(64)).unwrap();
    let args = ["in", "--output", "out", "--cluster", &cluster.url, "--token-file", "token"];
    local(folder.path(), "wordcount", args).with(3).shows_error("UNAUTHORISED", &[]);
    holds(folder.path(), &["in", "token"]);
    cluster.stop();
}

#[test]
fn data_folder_has_one_process() {
    let cluster = Cluster::start(1, 1);
    let data = cluster.worker_folder(0);
    let second = run(cluster.windrow(["worker", "--coordinator", &cluster.url, "--data-dir"]).arg(&data));
    second.with(1).shows_error("DATA_DIR_IN_USE", &[&data.to_string_lossy()]);
    cluster.stop();
}

#[test]
fn detached_submit_reports_an_impossible_job() {
    let folder = folder();
    let cluster = Cluster::start(1, 1);
    let submit = |args: &[&str]| {
        let mut command = cluster.windrow(["submit", "--detach", "--coordinator", &cluster.url]);
        run(command.arg(windrow_tests::program::binary("wordcount")).arg("--").args(args).current_dir(folder.path()))
    };
    for (args, code) in
        [(["nothing", "--output", "out"], "INPUT_NOT_FOUND"), (["in", "--output", "in"], "OUTPUT_INSIDE_INPUT")]
    {
        let refused = submit(&args);
        assert!(refused.stdout.starts_with("job-"), "{}", refused.stdout);
        refused.with(1).shows_error(code, &[args[0]]);
    }
    let id = submit(&["in", "--output", "out"]).ok().stdout;
    run(&mut cluster.windrow(["job", "wait", id.trim()])).ok();
    cluster.stop();
}

#[test]
fn job_without_workers_waits_and_can_be_cancelled() {
    let folder = folder();
    let cluster = Cluster::start(0, 1);
    let id = cluster.detach(folder.path(), "wordcount", ["in", "--output", "out"]);
    eventually("the job says what it waits for", || {
        let job = cluster.json(["job", "get", &id]);
        job["waiting"].as_str().is_some_and(|what| what.contains("worker"))
    });
    run(&mut cluster.windrow(["job", "wait", "--timeout", "1ms", &id])).with(5);
    run(&mut cluster.windrow(["job", "cancel", &id])).ok();
    run(&mut cluster.windrow(["job", "wait", &id])).with(4);
    assert!(!folder.path().join("out").exists());
    cluster.stop();
}

/// The first job gets a worker in time, the second one finds none.
#[test]
fn starved_job_fails_with_a_hint() {
    let folder = folder();
    let mut cluster = Setup { coordinator_args: &["--wait-for-workers", "5s"], ..Setup::default() }.start();
    let id = cluster.detach(folder.path(), "wordcount", ["in", "--output", "out"]);
    cluster.add_worker(1);
    run(&mut cluster.windrow(["job", "wait", &id])).ok();
    cluster.kill_worker(0);
    let failed = cluster.job(folder.path(), "wordcount", ["in", "--output", "none"]);
    failed.with(1).shows_error("UNSCHEDULABLE", &["for 5 s", "windrow worker", "--wait-for-workers"]);
    holds(folder.path(), &["in", "out"]);
    cluster.stop();
}

#[test]
fn cluster_survives_jobs_that_crash_executors() {
    let folder = folder();
    let cluster = Cluster::start(1, 2);
    for (what, code) in [
        ("panic", "USER_PANIC"),
        ("abort", "EXECUTOR_CRASHED"),
        ("segfault", "EXECUTOR_CRASHED"),
        ("exit", "EXECUTOR_CRASHED"),
    ] {
        cluster.job(folder.path(), "hostile", ["bad", what, "in", "--output", what]).with(1).shows_error(code, &[]);
        assert!(!folder.path().join(what).exists());
    }
    cluster.job(folder.path(), "stations", ["in", "--output", "refused"]).with(1).shows_error("USER_ERROR", &["in:0"]);
    cluster
        .job(folder.path(), "wordcount", ["nothing", "--output", "x"])
        .with(1)
        .shows_error("INPUT_NOT_FOUND", &["nothing"]);
    // A flood of words on stdout and stderr does no harm.
    cluster.job(folder.path(), "hostile", ["bad", "stdout", "in", "--output", "flood"]).ok();
    assert_eq!(lines(&folder.path().join("flood")), ["BOOM\t1", "a\t1", "b\t1", "c\t1", "d\t1"]);
    cluster.wait_until_clean();
    cluster.stop();
}

#[test]
fn file_that_looks_binary_is_named_in_one_warning() {
    let folder = folder();
    let wide: Vec<u8> = "ein Wort\nund noch eins\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(folder.path().join("wide"), wide).unwrap();
    std::fs::write(folder.path().join("binary"), b"\x01\0\x02 some\nthing\n".repeat(10_000)).unwrap();
    let args = ["wide", "binary", "in", "--chunk-size", "10kB", "--output"];
    let ended = local(folder.path(), "wordcount", args.into_iter().chain(["out"])).ok();
    let warnings: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert_eq!(warnings.len(), 2, "{}", ended.stderr);
    for words in
        ["wide is read as text, and looks like text in UTF-16", "binary is read as text, and looks like binary"]
    {
        assert!(warnings.iter().any(|warning| warning.contains(words)), "{}", ended.stderr);
    }
    let insisted = args.into_iter().chain(["raw", "--compression", "none"]);
    let ended = local(folder.path(), "wordcount", insisted).ok();
    assert!(!ended.stderr.contains("looks like"), "{}", ended.stderr);
}
