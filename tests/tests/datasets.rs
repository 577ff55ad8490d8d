//! Datasets: put data comes back, jobs read it on any worker, and the loss of a worker loses nothing.

use serde_json::Value;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use windrow_tests::cluster::Cluster;
use windrow_tests::output::parts;
use windrow_tests::program::{Ended, eventually, local, run};
use windrow_tests::{corpus, oracle};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) {
    std::fs::write(folder.join(name), text).unwrap();
}

/// The entry of `data ls` for a dataset.
fn listed(cluster: &Cluster, name: &str) -> Option<Value> {
    let all = cluster.json(["data", "ls"]);
    all.as_array().unwrap().iter().find(|d| d["name"] == name).cloned()
}

/// Chunk files of a worker.
fn chunks(cluster: &Cluster, worker: usize) -> usize {
    std::fs::read_dir(cluster.worker_folder(worker).join("chunks")).unwrap().count()
}

/// Every part of the job's run in one process.
fn expected(folder: &Path, input: &str) -> std::collections::BTreeMap<String, Vec<u8>> {
    local(folder, "wordcount", [input, "--partitions", "3", "--output", "expected", "--overwrite"]).ok();
    parts(&folder.join("expected"))
}

fn wordcount(cluster: &Cluster, folder: &Path, input: &str, output: &str) -> Ended {
    cluster.job(folder, "wordcount", [input, "--partitions", "3", "--output", output])
}

#[test]
fn put_dataset_is_listed_read_and_deleted() {
    let folder = folder();
    let text = corpus::text(1, 200_000);
    write(folder.path(), "a.txt", &text);
    write(folder.path(), "b.txt", "no newline at the end");
    let cluster = Cluster::start(2, 1);
    cluster.data(folder.path(), &["put", "*.txt", "texts", "--chunk-size", "20kB"]).ok();
    let found = listed(&cluster, "texts").unwrap();
    assert_eq!((&found["version"], &found["replicas"], &found["copies_min"]), (&1.into(), &2.into(), &2.into()));
    assert_eq!(found["state"], "whole");
    assert!(found["chunks"].as_u64().unwrap() > 5, "{found}");
    assert_eq!(chunks(&cluster, 0), chunks(&cluster, 1), "both have a copy of each");
    cluster.data(folder.path(), &["get", "texts", "back"]).ok();
    let back = std::fs::read_to_string(folder.path().join("back")).unwrap();
    let ended = |text: &str| if text.ends_with('\n') { text.to_string() } else { format!("{text}\n") };
    assert!(back == ended(&text) + "no newline at the end\n");
    cluster.data(folder.path(), &["get", "texts", "back"]).with(1).shows_error("OUTPUT_EXISTS", &["back"]);
    cluster.data(folder.path(), &["rm", "texts"]).ok();
    assert_eq!(listed(&cluster, "texts"), None);
    eventually("chunks without a name are deleted", || chunks(&cluster, 0) + chunks(&cluster, 1) == 0);
    cluster.stop();
}

#[test]
fn job_writes_outputs_of_several_kinds() {
    let folder = folder();
    let text = corpus::text(41, 60_000);
    let word = text.split_ascii_whitespace().next().unwrap();
    write(folder.path(), "in", &text);
    let cluster = Cluster::start(2, 2);
    let outputs = ["found", "words", "numbers"];
    // In one process; in folders; with the middle output as a dataset, which is fetched then.
    for (run, middle) in [("here-", "here-words"), ("there-", "there-words"), ("data-", "windrow://words")] {
        let mut args = vec!["several".to_string(), word.into(), "in".into(), "--chunk-size".into(), "5kB".into()];
        args.extend(["--partitions".into(), "3".into(), "--output".into(), middle.into()]);
        args.extend(["--found".into(), format!("{run}found"), "--numbers".into(), format!("{run}numbers")]);
        match run {
            "here-" => local(folder.path(), "hostile", &args).ok(),
            _ => cluster.job(folder.path(), "hostile", &args).ok(),
        };
    }
    let of = |name: String| parts(&folder.path().join(name));
    for output in outputs {
        let here = of(format!("here-{output}"));
        assert!(here.values().any(|part| !part.is_empty()), "{output}");
        assert!(here == of(format!("there-{output}")), "{output}");
        match output {
            "words" => {
                cluster.data(folder.path(), &["get", "words", "got"]).ok();
                let all: Vec<u8> = here.into_values().flatten().collect();
                assert!(std::fs::read(folder.path().join("got")).unwrap() == all);
            }
            _ => assert!(here == of(format!("data-{output}")), "{output}"),
        }
    }
    cluster.stop();
}

/// Changes bytes of a worker's chunk files, like a bad disk.
fn damage_chunks(cluster: &Cluster, worker: usize) {
    for entry in std::fs::read_dir(cluster.worker_folder(worker).join("chunks")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn damaged_copy_is_never_read_and_is_restored() {
    let folder = folder();
    write(folder.path(), "in", corpus::text(43, 100_000));
    let expected = expected(folder.path(), "in");
    let cluster = Cluster::start(2, 1);
    cluster.data(folder.path(), &["put", "in", "set", "--chunk-size", "20kB"]).ok();
    damage_chunks(&cluster, 0);
    wordcount(&cluster, folder.path(), "windrow://set", "out1").ok();
    assert!(parts(&folder.path().join("out1")) == expected);
    // Some copies were not verified, because their holder had no task for them.
    cluster.job(folder.path(), "grep", ["x", "windrow://set", "--output", "out2"]).ok();
    eventually("there are two copies again", || listed(&cluster, "set").unwrap()["state"] == "whole");
    damage_chunks(&cluster, 0);
    damage_chunks(&cluster, 1);
    wordcount(&cluster, folder.path(), "windrow://set", "out3").with(1).shows_error("CHUNK_UNAVAILABLE", &["chunk"]);
    assert!(!folder.path().join("out3").exists());
    let state = listed(&cluster, "set").unwrap()["state"].clone();
    assert!(state != "whole", "{state}");
    cluster.stop();
}

#[test]
fn offsets_in_a_dataset_name_the_dataset() {
    let folder = folder();
    write(folder.path(), "in", corpus::text(44, 40_000));
    let cluster = Cluster::start(3, 1);
    cluster.data(folder.path(), &["put", "in", "set", "--chunk-size", "5kB"]).ok();
    cluster.job(folder.path(), "grep", [".", "windrow://set", "--with-place", "--output", "out"]).ok();
    let lines: Vec<u8> = parts(&folder.path().join("out")).into_values().flatten().collect();
    let lines = String::from_utf8(lines).unwrap();
    let (mut chunk, mut offset, mut count) = (0, 0, 0);
    for line in lines.lines() {
        let (name, rest) = line.strip_prefix("windrow://set/").unwrap().split_once(':').unwrap();
        let (at, text) = rest.split_once(':').unwrap();
        if name.parse::<u64>().unwrap() != chunk {
            (chunk, offset) = (chunk + 1, 0);
        }
        let at: usize = at.parse().unwrap();
        assert_eq!(name, format!("{chunk:05}"));
        // Empty lines do not match.
        assert!(at >= offset, "{line}: {offset}");
        offset = at + text.len() + 1;
        count += 1;
    }
    assert_eq!(count, corpus::text(44, 40_000).split('\n').filter(|line| !line.is_empty()).count());
    assert!(chunk > 5);
    cluster.stop();
}

#[test]
fn datasets_keep_their_framing() {
    let folder = folder();
    let cluster = Cluster::start(1, 1);
    local(folder.path(), "terasort", ["gen", "500", "records", "--seed", "3"]).ok();
    cluster.data(folder.path(), &["put", "records", "r", "--framing", "fixed:100", "--chunk-size", "7kB"]).ok();
    cluster.data(folder.path(), &["get", "r", "back"]).ok();
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert!(read("records") == read("back"));
    assert_eq!(listed(&cluster, "r").unwrap()["replicas"], 1, "one worker, one copy");
    let sort = ["sort", "windrow://r", "--output", "sorted", "--partitions", "3"];
    cluster.job(folder.path(), "terasort", sort).ok();
    local(folder.path(), "terasort", ["validate", "sorted"]).ok();

    cluster.data(folder.path(), &["put", "records", "back", "w", "--framing", "whole"]).ok();
    cluster.data(folder.path(), &["get", "w", "files"]).ok();
    assert!(read("files/00000") == read("records") && read("files/00001") == read("back"));
    cluster.stop();
}

#[test]
fn jobs_read_datasets_from_any_holder() {
    let folder = folder();
    corpus::write_folder(&folder.path().join("in"), 2);
    let expected = expected(folder.path(), "in");
    let mut cluster = Cluster::start(1, 1);
    cluster.data(folder.path(), &["put", "in", "texts", "--chunk-size", "3kB", "--replicas", "1"]).ok();
    wordcount(&cluster, folder.path(), "windrow://texts", "one").ok();
    assert!(parts(&folder.path().join("one")) == expected);
    // The new workers hold no chunks, and run tasks all the same.
    cluster.add_worker(2);
    cluster.add_worker(2);
    wordcount(&cluster, folder.path(), "windrow://texts", "three").ok();
    assert!(parts(&folder.path().join("three")) == expected);
    // Datasets and files together, in this order.
    write(folder.path(), "more", "one more line\n");
    let both = ["^", "windrow://texts", "more", "--output", "both", "--partitions", "1"];
    cluster.job(folder.path(), "grep", both).ok();
    let lines = parts(&folder.path().join("both"));
    assert!(lines["part-00000"].ends_with(b"\none more line\n"));
    cluster.stop();
}

/// A gate, a text that reaches it, and the arguments of a job that reads the text as a dataset.
fn gated(folder: &Path, output: &str) -> (PathBuf, String, Vec<String>) {
    let gate = folder.join("gate");
    std::fs::create_dir(&gate).unwrap();
    let text = format!("gate1 a\n{}", corpus::text(3, 30_000));
    write(folder, "old", &text);
    let path = gate.to_str().unwrap().to_string();
    let args = ["gate", "windrow://texts", "--output", output, "--gate", &path].map(str::to_string).to_vec();
    (gate, text, args)
}

#[test]
fn running_job_keeps_its_dataset_version() {
    let folder = folder();
    let (gate, text, args) = gated(folder.path(), "out");
    let cluster = Cluster::start(2, 1);
    cluster.data(folder.path(), &["put", "old", "texts", "--chunk-size", "5kB"]).ok();
    let id = cluster.detach(folder.path(), "hostile", args);
    eventually("a task waits", || std::fs::read_dir(&gate).unwrap().count() >= 1);
    write(folder.path(), "new", "something else\n");
    cluster.data(folder.path(), &["put", "new", "texts"]).with(1).shows_error("DATASET_EXISTS", &["texts"]);
    cluster.data(folder.path(), &["put", "new", "texts", "--overwrite"]).ok();
    assert_eq!(listed(&cluster, "texts").unwrap()["version"], 2);
    cluster.data(folder.path(), &["rm", "texts"]).ok();
    write(&gate, "open", "");
    run(&mut cluster.windrow(["job", "wait", &id])).ok();
    assert_eq!(windrow_tests::output::lines(&folder.path().join("out")), oracle::wordcount(&text));
    eventually("its chunks are deleted then", || chunks(&cluster, 0) + chunks(&cluster, 1) == 0);
    cluster.stop();
}

#[test]
fn jobs_read_datasets_written_by_jobs() {
    let folder = folder();
    let path = folder.path();
    corpus::write_folder(&path.join("in"), 6);
    let expected = expected(path, "in");
    let mut cluster = Cluster::start(2, 1);
    let write_counts = |cluster: &Cluster, extra: &[&str]| {
        let args = ["in", "--partitions", "3", "--output", "windrow://counts"];
        cluster.job(path, "wordcount", args.into_iter().chain(extra.iter().copied()))
    };
    let ended = write_counts(&cluster, &[]).ok();
    assert!(ended.stderr.contains("windrow://counts"), "{}", ended.stderr);
    let found = listed(&cluster, "counts").unwrap();
    assert_eq!((&found["version"], &found["framing"], &found["state"]), (&1.into(), &"lines".into(), &"whole".into()));
    assert_eq!(found["copies_min"], 2, "copied before the job was done");
    cluster.data(path, &["get", "counts", "counts"]).ok();
    let all: Vec<u8> = expected.values().flatten().copied().collect();
    assert!(std::fs::read(path.join("counts")).unwrap() == all, "parts in their order");

    write_counts(&cluster, &[]).with(1).shows_error("DATASET_EXISTS", &["counts"]);
    write_counts(&cluster, &["--overwrite"]).ok();
    assert_eq!(listed(&cluster, "counts").unwrap()["version"], 2);
    assert!(chunks(&cluster, 0) <= 3, "the same parts are the same chunks");

    cluster.kill_worker(0);
    cluster.job(path, "grep", [".", "windrow://counts", "--output", "read", "--partitions", "1"]).ok();
    assert!(parts(&path.join("read"))["part-00000"] == all);
    local(path, "wordcount", ["in", "--output", "windrow://x"])
        .with(1)
        .shows_error("DATASET_NOT_FOUND", &["--cluster"]);
    cluster.stop();
}

#[test]
fn failed_job_leaves_no_dataset() {
    let folder = folder();
    write(folder.path(), "in", "a\nb BOOM\n");
    let cluster = Cluster::start(1, 1);
    let bad = ["bad", "panic", "in", "--output", "windrow://x"];
    cluster.job(folder.path(), "hostile", bad).with(1).shows_error("USER_PANIC", &["in:2"]);
    assert_eq!(listed(&cluster, "x"), None);
    cluster.data(folder.path(), &["put", "in", "x"]).ok();
    let read = ["bad", "panic", "windrow://x", "--output", "out"];
    cluster.job(folder.path(), "hostile", read).with(1).shows_error("USER_PANIC", &["windrow://x/00000:2", "b BOOM"]);
    cluster.stop();
}

#[test]
fn copies_on_a_killed_worker_are_restored() {
    let folder = folder();
    write(folder.path(), "in", corpus::text(4, 100_000));
    let expected = expected(folder.path(), "in");
    let mut cluster = Cluster::start(2, 1);
    cluster.data(folder.path(), &["put", "in", "texts", "--chunk-size", "9kB"]).ok();
    cluster.kill_worker(0);
    eventually("the loss is seen", || listed(&cluster, "texts").unwrap()["state"] == "degraded");
    wordcount(&cluster, folder.path(), "windrow://texts", "out").ok();
    assert!(parts(&folder.path().join("out")) == expected);
    cluster.add_worker(1);
    eventually("there are two copies again", || listed(&cluster, "texts").unwrap()["state"] == "whole");
    assert_eq!(chunks(&cluster, 1), chunks(&cluster, 2));
    cluster.kill_worker(1);
    wordcount(&cluster, folder.path(), "windrow://texts", "again").ok();
    assert!(parts(&folder.path().join("again")) == expected);
    cluster.kill_worker(2);
    cluster.add_worker(1);
    eventually("no copy is left", || listed(&cluster, "texts").unwrap()["state"] == "incomplete");
    wordcount(&cluster, folder.path(), "windrow://texts", "lost").with(1).shows_error("CHUNK_UNAVAILABLE", &["texts"]);
    assert!(!folder.path().join("lost").exists());
}

#[test]
fn datasets_survive_a_coordinator_restart() {
    let folder = folder();
    write(folder.path(), "in", corpus::text(5, 50_000));
    let expected = expected(folder.path(), "in");
    let mut cluster = Cluster::start(2, 1);
    cluster.data(folder.path(), &["put", "in", "texts", "--chunk-size", "9kB"]).ok();
    cluster.data(folder.path(), &["put", "in", "gone"]).ok();
    cluster.data(folder.path(), &["rm", "gone"]).ok();
    cluster.restart_coordinator();
    eventually("workers have listed their chunks", || listed(&cluster, "texts").unwrap()["copies_min"] == 2);
    assert_eq!(listed(&cluster, "gone"), None);
    wordcount(&cluster, folder.path(), "windrow://texts", "out").ok();
    assert!(parts(&folder.path().join("out")) == expected);
    cluster.stop();
}

#[test]
fn invalid_dataset_requests_are_errors() {
    let folder = folder();
    let path = folder.path();
    write(path, "in", "a b\n");
    let cluster = Cluster::start(1, 1);
    cluster.data(path, &["put", "in", "texts"]).ok();
    wordcount(&cluster, path, "windrow://nothing", "out").with(1).shows_error("DATASET_NOT_FOUND", &["nothing"]);
    local(path, "wordcount", ["windrow://texts", "--output", "out"])
        .with(1)
        .shows_error("DATASET_NOT_FOUND", &["texts"]);
    let fixed = ["sort", "windrow://texts", "--output", "out"];
    cluster.job(path, "terasort", fixed).with(1).shows_error("DATASET_FRAMING", &["texts", "lines", "fixed:100"]);
    cluster.data(path, &["put", "missing", "other"]).with(1).shows_error("INPUT_NOT_FOUND", &["missing"]);
    cluster.data(path, &["put", "in", "../x"]).with(2).shows_error("BAD_REQUEST", &["../x"]);
    cluster.data(path, &["put", "in", "other", "--framing", "fixed:3"]).with(1).shows_error("INPUT_MALFORMED", &["in"]);
    cluster.data(path, &["put", "in", "other", "--replicas", "2"]).with(2).shows_error("BAD_REQUEST", &["2 copies"]);
    cluster.data(path, &["rm", "nothing"]).with(1).shows_error("DATASET_NOT_FOUND", &["nothing"]);
    cluster.data(path, &["get", "nothing", "x"]).with(1).shows_error("DATASET_NOT_FOUND", &["nothing"]);
    cluster.data(path, &["put", "in"]).with(2);
    assert_eq!(cluster.json(["data", "ls"]).as_array().unwrap().len(), 1);
    assert!(!path.join("out").exists());
    let empty = Cluster::start(0, 1);
    empty.data(path, &["put", "in", "texts"]).with(1).shows_error("CHUNK_UNAVAILABLE", &["no worker"]);
    cluster.stop();
    empty.stop();
}

/// The coordinator is killed while the chunks of a put are on their way to the workers.
#[test]
fn put_survives_a_restart_of_the_coordinator() {
    let folder = folder();
    let text = corpus::text(77, 3_000_000);
    write(folder.path(), "in", &text);
    let mut cluster = Cluster::start(2, 1);
    let mut put = cluster.windrow(["data", "put", "in", "set", "--chunk-size", "10kB", "--coordinator", &cluster.url]);
    put.current_dir(folder.path());
    let put = std::thread::spawn(move || run(&mut put));
    eventually("some chunks are stored", || chunks(&cluster, 0) > 20);
    cluster.kill_coordinator();
    let before = chunks(&cluster, 0);
    cluster.start_coordinator();
    put.join().unwrap().ok();
    let set = listed(&cluster, "set").unwrap();
    let all = set["chunks"].as_u64().unwrap() as usize;
    assert!(before < all, "the put was not over: {before} of {all} chunks");
    assert_eq!(
        (chunks(&cluster, 0), chunks(&cluster, 1)),
        (all, all),
        "and no chunk is there that is not a part of it"
    );
    let orphans = cluster.json(["data", "ls", "--orphans"]);
    assert_eq!(orphans["chunks"].as_array().unwrap().len(), 0, "{orphans}");
    cluster.data(folder.path(), &["get", "set", "back"]).ok();
    assert!(std::fs::read(folder.path().join("back")).unwrap() == text.as_bytes());
    cluster.stop();
}
