//! A job is the same job in one process, with `--cluster` and by `windrow submit`.

use std::path::Path;
use windrow_tests::cluster::Cluster;
use windrow_tests::corpus::Random;
use windrow_tests::output::{lines, parts};
use windrow_tests::program::{binary, command, local, run};

/// Beyond the size of a frame.
const SIDE_BYTES: usize = 70_000_000;

#[test]
fn side_value_of_any_size_reaches_every_task() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in"), "a\n").unwrap();
    let args =
        |output: &'static str| ["side", "in", "--side-bytes", "70000000", "--output", output].map(str::to_string);
    let wrote = |output: &str| assert_eq!(lines(&folder.path().join(output)), [format!("a\t{SIDE_BYTES}")]);
    local(folder.path(), "printer", args("here")).ok();
    wrote("here");
    let cluster = Cluster::start(1, 1);
    cluster.job(folder.path(), "printer", args("there")).ok();
    wrote("there");
    let mut submit = cluster.windrow(["submit", "--coordinator", &cluster.url]);
    run(submit.arg(binary("printer")).arg("--").args(args("submitted")).current_dir(folder.path())).ok();
    wrote("submitted");
    cluster.stop();
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn explain_has_no_side_effects() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in"), "a\n").unwrap();
    std::fs::create_dir(folder.path().join("r.0")).unwrap();
    let rounds = ["rounds", "in", "--output", "r", "--marker", "m", "--explain"];
    let nowhere = "http://127.0.0.1:1";
    for more in [&[][..], &["--cluster", nowhere], &["-o", "json"]] {
        let explained = local(folder.path(), "printer", rounds.iter().chain(more)).ok();
        let text = match more {
            ["-o", "json"] => explained.json()["explain"].as_str().unwrap().to_string(),
            _ => explained.stdout,
        };
        assert!(text.contains("stage 0") && text.contains("/r.0") && !text.contains("/r.1"), "{text}");
        assert!(explained.stderr.contains("the driver ends here"), "{}", explained.stderr);
    }
    let plain = local(folder.path(), "wordcount", ["in", "--output", "o", "--explain"]).ok().stdout;
    let mut submit = command("windrow", folder.path());
    submit.args(["submit", "--coordinator", nowhere]).arg(binary("wordcount"));
    submit.args(["--", "in", "--output", "o", "--explain"]).current_dir(folder.path());
    assert_eq!(run(&mut submit).ok().stdout, plain);
    assert_eq!(names_in(folder.path()), ["in", "r.0"]);
}

#[test]
fn flags_without_effect_are_named_with_an_alternative() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in"), "a\n").unwrap();
    let cluster = Cluster::start(1, 1);
    let there = cluster.job(folder.path(), "wordcount", ["in", "--output", "o", "--threads", "2", "--durable"]).ok();
    for warning in ["--threads has no effect with --cluster: `windrow submit --max-slots`", "--durable has no effect"] {
        assert!(there.stderr.contains(warning), "no `{warning}` in {}", there.stderr);
    }
    let here = local(folder.path(), "wordcount", ["in", "--output", "h", "--token-file", "t", "--threads", "2"]).ok();
    assert!(here.stderr.contains("--token-file has no effect without --cluster"), "{}", here.stderr);
    assert!(!here.stderr.contains("--threads has"), "{}", here.stderr);
    cluster.stop();
}

/// The groups of `tests/src/operations.rs`.
const OPERATIONS: [&str; 6] = ["whole", "joins", "folds", "places", "sketches", "broadcasts"];

#[test]
fn operations_write_the_same_bytes_after_failed_attempts() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(31);
    for file in ["a", "b"] {
        let text: String = (0..500).map(|_| format!("{} {}\n", random.word(), random.below(1000))).collect();
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    let cluster = Cluster::start(2, 1);
    for group in OPERATIONS {
        let run = |output: &str, chunk_size: &str| {
            let more = ["--partitions", "3", "--chunk-size", chunk_size, "--output", output].map(str::to_string);
            [group, "a", "b"].map(str::to_string).into_iter().chain(more).collect::<Vec<_>>()
        };
        let results = |output: &str| {
            let names = names_in(&folder.path().join(output));
            names.iter().map(|name| parts(&folder.path().join(output).join(name))).collect::<Vec<_>>()
        };
        std::fs::create_dir(folder.path().join(group)).unwrap();
        let [here, there] = ["here", "there"].map(|place| {
            std::fs::create_dir(folder.path().join(group).join(place)).unwrap();
            format!("{group}/{place}")
        });
        local(folder.path(), "operations", run(&here, "1MB")).ok();
        // A task that reads, and one of each result, fails at first.
        let marks = folder.path().join(group).join("marks");
        std::fs::create_dir(&marks).unwrap();
        let mut fails = run(&there, "2kB");
        fails.extend(["--fail-once".to_string(), marks.to_str().unwrap().to_string()]);
        cluster.job(folder.path(), "operations", fails).ok();
        let (here, there) = (results(&here), results(&there));
        assert_eq!(names_in(&marks).len(), here.len() + 1, "{group}");
        assert!(here.len() > 1 && here.iter().all(|parts| parts.values().any(|bytes| !bytes.is_empty())), "{group}");
        if group == "broadcasts" {
            let text = |i: usize| String::from_utf8(here[i].values().flatten().copied().collect()).unwrap();
            assert_eq!(text(4).replace("by broadcast", "by shuffle"), text(5));
        }
        for (i, (here, there)) in here.iter().zip(&there).enumerate() {
            assert!(here == there, "result {i} of {group}: {here:?} and {there:?}");
        }
    }
    cluster.wait_until_clean();
    cluster.stop();
}
