//! A full or failing disk at each place that writes: the attempt fails with numbers, its partial files are deleted, its
//! worker goes on, and another worker runs the task.
//!
//! Failpoints simulate most full disks; one test fills a real one, where it may mount a small file system.

// Without debug assertions there are no failpoints.
#![cfg(debug_assertions)]

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use windrow_tests::cluster::{Cluster, Setup};
use windrow_tests::corpus::Random;
use windrow_tests::output::parts;
use windrow_tests::program::{Daemon, binary, eventually, local, run};

/// A place that writes, and a job that passes it.
struct Place {
    name: &'static str,
    job: &'static str,
    args: &'static [&'static str],
}

const COUNT: &[&str] = &["many", "--partitions", "4"];
/// One part, so that the same task publishes each time.
const ONE_PART: &[&str] = &["many", "--partitions", "1"];
const PLACES: [Place; 5] = [
    Place { name: "spill", job: "wordcount", args: COUNT },
    Place { name: "shuffle.write", job: "wordcount", args: COUNT },
    Place { name: "part.write", job: "wordcount", args: COUNT },
    Place { name: "publish.place", job: "wordcount", args: ONE_PART },
    // Written by the worker: segments of another one that it needs.
    Place { name: "fetched.write", job: "wordcount", args: COUNT },
];

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(21);
    let many: String = (0..250_000).map(|_| format!("{:016x}\n", random.number())).collect();
    std::fs::write(folder.path().join("many"), many).unwrap();
    std::fs::write(folder.path().join("few"), "a b\n").unwrap();
    local(folder.path(), "terasort", ["gen", "150000", "records"]).ok();
    local(folder.path(), "wordcount", ["few", "--output", "expected-few"]).ok();
    folder
}

fn expected(folder: &Path, place: &Place) -> PathBuf {
    let path = folder.join(format!("expected-{}-{}", place.job, place.args.join("-")));
    if !path.exists() {
        local(folder, place.job, place.args.iter().copied().chain(["--output", path.to_str().unwrap()])).ok();
    }
    path
}

fn args<'a>(place: &'a Place, output: &'a str) -> impl Iterator<Item = &'a str> {
    place.args.iter().copied().chain(["--chunk-size", "8MB", "--output", output])
}

#[test]
fn task_moves_from_a_full_disk_to_another_worker() {
    let folder = folder();
    for place in &PLACES {
        let expected = expected(folder.path(), place);
        let mut cluster = Cluster::start(0, 1);
        cluster.worker_memory = "2MiB".into();
        cluster.worker_failpoints = format!("{}=enospc", place.name);
        cluster.add_worker(1);
        cluster.worker_failpoints.clear();
        cluster.add_worker(1);
        let output = format!("out-{}", place.name);
        cluster.job(folder.path(), place.job, args(place, &output)).ok();
        assert!(parts(&folder.path().join(&output)) == parts(&expected), "{}", place.name);
        let job = &cluster.json(["job", "list"])[0];
        assert!(job["attempts"].as_u64() > job["tasks"]["total"].as_u64(), "{}: nothing failed: {job}", place.name);
        cluster.wait_until_clean();
        // Both workers live, and end well.
        cluster.stop();
    }
}

/// A worker whose mount of the inputs or outputs gives errors fails its attempts but not the job.
#[test]
fn input_unreadable_on_one_worker_is_read_by_another() {
    let folder = folder();
    let place = &PLACES[3];
    let expected = expected(folder.path(), place);
    for point in ["input.look", "publish.place"] {
        let mut cluster = Cluster::start(0, 1);
        cluster.worker_failpoints = format!("{point}=eio");
        cluster.add_worker(1);
        cluster.worker_failpoints.clear();
        cluster.add_worker(1);
        let output = format!("out-{point}");
        cluster.job(folder.path(), place.job, args(place, &output)).ok();
        assert!(parts(&folder.path().join(&output)) == parts(&expected), "{point}");
        let job = &cluster.json(["job", "list"])[0];
        assert!(job["attempts"].as_u64() > job["tasks"]["total"].as_u64(), "{point}: nothing failed: {job}");
        cluster.stop();
    }
}

#[test]
fn job_without_disk_space_anywhere_fails_and_others_run() {
    let folder = folder();
    // With one worker nothing is fetched.
    for place in PLACES.iter().filter(|place| place.name != "fetched.write") {
        let mut cluster = Cluster::start(0, 1);
        cluster.worker_memory = "2MiB".into();
        // The worker's file system recovers; an executor's failpoint ends with its process. A failing pass is not
        // counted by later entries: so the first four passes fail.
        let passes = if place.name == "publish.place" { ["1"; 4] } else { ["1+", "", "", ""] };
        let points = passes.iter().filter(|p| !p.is_empty()).map(|pass| format!("{}=enospc@{pass}", place.name));
        cluster.worker_failpoints = points.collect::<Vec<_>>().join(";");
        cluster.add_worker(1);
        let output = format!("out-{}", place.name);
        let failed = cluster.job(folder.path(), place.job, args(place, &output));
        failed.with(1).shows_error("NO_SPACE", &["failed 4 times", " free"]);
        assert!(!folder.path().join(&output).exists());
        cluster.wait_until_clean();
        if place.name == "publish.place" || place.name == "spill" {
            let output = format!("after-{}", place.name);
            cluster.job(folder.path(), "wordcount", ["few", "--output", &output]).ok();
            assert!(parts(&folder.path().join(output)) == parts(&folder.path().join("expected-few")));
        }
        cluster.stop();
    }
}

#[test]
fn artifact_beyond_the_coordinators_disk_is_refused() {
    let folder = folder();
    for error in ["artifact.write=enospc@3", "artifact.sync=eio@1"] {
        let cluster = Setup { workers: 1, slots: 1, coordinator_failpoints: error, ..Setup::default() }.start();
        let output = format!("out-{error}");
        let failed = cluster.job(folder.path(), "wordcount", ["few", "--output", &output]);
        match error.contains("enospc") {
            true => drop(failed.with(1).shows_error("NO_SPACE", &[" free"])),
            false => drop(failed.with(1).shows_error("IO_ERROR", &["artifacts"])),
        }
        let stored = cluster.coordinator_folder().join("artifacts");
        assert_eq!(std::fs::read_dir(stored).unwrap().count(), 0, "{error}");
        cluster.job(folder.path(), "wordcount", ["few", "--output", &output]).ok();
        assert!(parts(&folder.path().join(output)) == parts(&folder.path().join("expected-few")));
        cluster.stop();
    }
}

/// The job fails at the commit itself, and readers see nothing of it.
#[test]
fn commit_without_disk_space_fails_and_publishes_nothing() {
    let folder = folder();
    for error in ["publish.manifest=enospc", "publish.rename=eio", "publish.sync=eio", "publish.take=eio"] {
        let cluster = Setup { workers: 1, slots: 1, coordinator_failpoints: error, ..Setup::default() }.start();
        let failed = cluster.job(folder.path(), "wordcount", ["few", "--output", "out"]);
        let code = if error.contains("enospc") { "NO_SPACE" } else { "OUTPUT_FAILED" };
        failed.with(1).shows_error(code, &["out"]);
        let left = || std::fs::read_dir(folder.path()).unwrap().flatten().map(|e| e.file_name());
        eventually("nothing is left", || left().all(|n| n != "out" && !n.to_string_lossy().starts_with('.')));
        cluster.stop();
    }
}

/// Output that the disk does not return is recomputed.
#[test]
fn unreadable_map_outputs_are_recomputed_elsewhere() {
    let folder = folder();
    let place = &PLACES[1];
    let expected = expected(folder.path(), place);
    let mut cluster = Cluster::start(0, 1);
    cluster.worker_failpoints = "serve.read=eio".into();
    cluster.add_worker(1);
    cluster.worker_failpoints.clear();
    cluster.add_worker(1);
    let args = place.args.iter().chain(&["--chunk-size", "1MB", "--output", "out"]);
    cluster.job(folder.path(), place.job, args).ok();
    assert!(parts(&folder.path().join("out")) == parts(&expected));
    let job = &cluster.json(["job", "list"])[0];
    assert!(job["attempts"].as_u64() > job["tasks"]["total"].as_u64(), "nothing was read in vain: {job}");
    cluster.stop();
}

/// Deleting a worker's scratch folder costs only its attempts.
#[test]
fn deleted_worker_files_fail_attempts_without_a_panic() {
    let folder = folder();
    let gate = folder.path().join("gate");
    std::fs::create_dir(&gate).unwrap();
    let text: String = (0..6).map(|n| format!("gate{n} a b c\n{}", "word ".repeat(400) + "\n")).collect();
    std::fs::write(folder.path().join("gated"), text).unwrap();
    let gate_args = ["gate", "gated", "--gate", gate.to_str().unwrap(), "--chunk-size", "2kB", "--output"];
    let mut cluster = Cluster::start(2, 2);
    let id = cluster.detach(folder.path(), "hostile", gate_args.iter().chain(&["out"]));
    eventually("tasks wait", || std::fs::read_dir(&gate).unwrap().count() >= 4);
    std::fs::remove_dir_all(cluster.worker_folder(0).join("jobs")).unwrap();
    std::fs::write(gate.join("open"), "").unwrap();
    run(&mut cluster.windrow(["job", "wait", &id, "--coordinator", &cluster.url])).ok();
    local(folder.path(), "hostile", gate_args.iter().chain(&["expected"])).ok();
    assert!(parts(&folder.path().join("out")) == parts(&folder.path().join("expected")));
    // It makes its folders again, also as the only worker.
    cluster.kill_worker(1);
    cluster.job(folder.path(), "wordcount", ["few", "--output", "after"]).ok();
    assert_eq!(cluster.stop_worker(0), Some(0));
    cluster.start_worker(1);
    cluster.stop();
}

/// A small file system; dropping it unmounts it.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(bytes: u64) -> Option<Mounted> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let size = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).output();
        mounted.is_ok_and(|m| m.status.success()).then(|| Mounted(folder))
    }
}
impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Adds the worker with this index; its data folder is a file system of this size. Says so if that is not possible here.
fn add_worker_on_a_disk(cluster: &mut Cluster, index: usize, bytes: u64) -> Option<Mounted> {
    let Some(mounted) = Mounted::new(bytes) else {
        println!("skipped: mounting is not allowed here");
        return None;
    };
    std::os::unix::fs::symlink(mounted.0.path(), cluster.worker_folder(index)).unwrap();
    cluster.add_worker(1);
    Some(mounted)
}

#[test]
fn worker_with_a_full_disk_gets_no_tasks_until_space() {
    let folder = folder();
    let mut cluster = Cluster::start(1, 1);
    let Some(mounted) = add_worker_on_a_disk(&mut cluster, 1, 256 << 20) else { return };
    let state = |cluster: &Cluster| cluster.worker(1).unwrap()["state"].as_str().unwrap().to_string();
    assert_eq!(state(&cluster), "live");
    let filler = mounted.0.path().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 1 << 20]).is_ok() {}
    drop(file);
    eventually("it says that there is no room", || state(&cluster) == "excluded");
    let args = ["records", "--partitions", "3", "--output", "out"];
    cluster.job(folder.path(), "terasort", ["sort"].iter().chain(&args)).ok();
    let job = &cluster.json(["job", "list"])[0];
    assert_eq!((&job["attempts"], &job["tasks"]["failed"]), (&job["tasks"]["total"], &serde_json::json!(0)), "{job}");
    std::fs::remove_file(&filler).unwrap();
    eventually("it has room again", || state(&cluster) == "live");
    cluster.stop();
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
    while std::io::Write::write(&mut file, &[1; 4096]).is_ok_and(|n| n > 0) {}
}

fn status(cluster: &Cluster, id: &str) -> serde_json::Value {
    cluster.json(["job", "get", id])
}

#[test]
fn job_waits_while_the_only_disk_is_full() {
    let folder = folder();
    let mut cluster = Cluster::start(0, 1);
    let Some(mounted) = add_worker_on_a_disk(&mut cluster, 0, 128 << 20) else { return };
    let filler = mounted.0.path().join("filler");
    fill(&filler);
    eventually("it says that there is no room", || cluster.worker(0).unwrap()["state"] == "excluded");
    let id = cluster.detach(folder.path(), "wordcount", ["few", "--output", "out"]);
    eventually("the job says why it waits", || {
        status(&cluster, &id)["waiting"].as_str().is_some_and(|why| why.contains("is full"))
    });
    assert_eq!(status(&cluster, &id)["attempts"], 0);
    std::fs::remove_file(&filler).unwrap();
    run(&mut cluster.windrow(["job", "wait", &id, "--coordinator", &cluster.url])).ok();
    let job = status(&cluster, &id);
    assert_eq!((&job["attempts"], &job["tasks"]["failed"]), (&job["tasks"]["total"], &serde_json::json!(0)), "{job}");
    assert!(parts(&folder.path().join("out")) == parts(&folder.path().join("expected-few")));
    cluster.stop();
}

#[test]
fn attempts_that_meet_a_full_disk_are_not_charged() {
    let folder = folder();
    let gate = folder.path().join("gate");
    std::fs::create_dir(&gate).unwrap();
    std::fs::write(folder.path().join("gated"), format!("gate0 a b c\n{}", "word ".repeat(400) + "\n")).unwrap();
    let mut cluster = Cluster::start(0, 1);
    let Some(mounted) = add_worker_on_a_disk(&mut cluster, 0, 128 << 20) else { return };
    let args = ["gate", "gated", "--gate", gate.to_str().unwrap(), "--output", "out"];
    let id = cluster.detach(folder.path(), "hostile", args);
    eventually("the task waits", || std::fs::read_dir(&gate).unwrap().count() >= 1);
    let filler = mounted.0.path().join("filler");
    fill(&filler);
    std::fs::write(gate.join("open"), "").unwrap();
    let failures = |job: &serde_json::Value| job["failures"].as_array().unwrap().clone();
    eventually("the attempt fails", || !failures(&status(&cluster, &id)).is_empty());
    std::fs::remove_file(&filler).unwrap();
    run(&mut cluster.windrow(["job", "wait", &id, "--coordinator", &cluster.url])).ok();
    let job = status(&cluster, &id);
    assert_eq!(job["tasks"]["failed"], 0, "{job}");
    for failure in failures(&job) {
        assert_eq!((&failure["code"], &failure["charged"]), (&"NO_SPACE".into(), &false.into()), "{failure}");
    }
    cluster.stop();
}

/// A worker on a full disk did not start: it could not note its incarnation.
#[test]
fn worker_starts_on_a_full_disk_and_serves() {
    let folder = folder();
    let mut cluster = Cluster::start(0, 1);
    let Some(mounted) = add_worker_on_a_disk(&mut cluster, 0, 128 << 20) else { return };
    cluster.data(folder.path(), &["put", "records", "kept", "--framing", "fixed:100"]).ok();
    cluster.data(folder.path(), &["put", "few", "gone"]).ok();
    let filler = mounted.0.path().join("filler");
    let reason = |cluster: &Cluster| cluster.worker(0).filter(|w| w["state"] != "lost").map(|w| w["reason"].clone());
    // Again and again, each time with what the start before has freed taken away.
    for _ in 0..3 {
        fill(&filler);
        cluster.kill_worker(0);
        cluster.start_worker(0);
        eventually("lists say that the disk is full", || reason(&cluster).is_some_and(|r| r == "its disk is full"));
    }
    cluster.data(folder.path(), &["get", "kept", "back"]).ok();
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert!(read("back") == read("records"));
    // What is deleted makes no room for a task, and needs none.
    cluster.data(folder.path(), &["rm", "gone"]).ok();
    std::fs::remove_file(&filler).unwrap();
    eventually("it has room again", || reason(&cluster).is_some_and(|r| r.is_null()));
    cluster.job(folder.path(), "wordcount", ["few", "--output", "after"]).ok();
    cluster.stop();
}

#[test]
fn truly_full_disk_costs_attempts_but_no_worker() {
    let folder = folder();
    let mut cluster = Setup { coordinator_args: &["--wait-for-workers", "2m"], ..Setup::default() }.start();
    cluster.worker_memory = "2MiB".into();
    // Space for the binaries of two jobs, and for some small tasks. A disk counts as full until two 64ths of it are free.
    let [sort, count] = ["terasort", "wordcount"].map(|name| std::fs::metadata(binary(name)).unwrap().len());
    let binaries = sort + count;
    let Some(mounted) = add_worker_on_a_disk(&mut cluster, 0, binaries + binaries / 32 + (5 << 20)) else { return };
    cluster.job(folder.path(), "wordcount", ["few", "--output", "few-before"]).ok();
    let sort = ["sort", "records", "--partitions", "3", "--output"];
    let failed = cluster.job(folder.path(), "terasort", sort.iter().chain(&["out"]));
    failed.with(1).shows_error("NO_SPACE", &["failed 4 times", " free", mounted.0.path().to_str().unwrap()]);
    cluster.wait_until_clean();
    cluster.job(folder.path(), "wordcount", ["few", "--output", "few-out"]).ok();
    // A second worker has space.
    cluster.add_worker(1);
    cluster.job(folder.path(), "terasort", sort.iter().chain(&["out"])).ok();
    local(folder.path(), "terasort", sort.iter().chain(&["expected"])).ok();
    assert!(parts(&folder.path().join("out")) == parts(&folder.path().join("expected")));
    cluster.stop();
}

/// The limit on file sizes (`ulimit -f`) fails the write with its name, and does not kill the process.
#[test]
fn limit_on_file_size_is_an_error_of_the_write() {
    let folder = folder();
    let home = folder.path().join("home");
    let limited = |kib: u32, program: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -f {kib} && exec \"$@\""), "sh"]).arg(binary(program));
        command.env("WINDROW_HOME", &home).env("XDG_CONFIG_HOME", &home).current_dir(folder.path());
        command.process_group(0);
        command
    };
    let local = run(limited(64, "wordcount").args(["many", "--output", "limited"]));
    local.with(1).shows_error("IO_ERROR", &["File too large", "`ulimit -f`"]);
    assert!(!folder.path().join("limited").exists());
    // The binary of the job exceeds this coordinator's limit.
    let mut coordinator = limited(8 << 10, "windrow");
    coordinator.args(["coordinator", "--listen", "127.0.0.1:0", "--data-dir", "coordinator"]);
    let mut coordinator = Daemon::start(&mut coordinator);
    let url = coordinator.read_line("coordinator ");
    let ask = |args: &[&str]| {
        let mut command = windrow_tests::program::command("windrow", &home);
        run(command.env("WINDROW_COORDINATOR", &url).args(args).current_dir(folder.path()))
    };
    let job = binary("wordcount");
    let submitted = ask(&["submit", job.to_str().unwrap(), "--", "few", "--output", "out"]);
    submitted.with(1).shows_error("IO_ERROR", &["File too large", "`ulimit -f`"]);
    ask(&["job", "list"]).ok();
    assert_eq!(coordinator.stop(), Some(0));
}
