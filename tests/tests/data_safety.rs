//! Chunks of datasets survive wrong folders, old journals, bad disks and deleted files.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use windrow_tests::cluster::{Cluster, Setup};
use windrow_tests::program::{eventually, run};
use windrow_tests::{corpus, oracle};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The state that `data ls` shows for a dataset, `none` if it is not listed.
fn state(cluster: &Cluster, name: &str) -> String {
    let all = cluster.json(["data", "ls"]);
    let found = all.as_array().unwrap().iter().find(|d| d["name"] == name);
    found.map_or("none".into(), |d| d["state"].as_str().unwrap().to_string())
}

/// Chunk files of a worker, with their content.
fn chunks(cluster: &Cluster, worker: usize) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(cluster.worker_folder(worker).join("chunks")).unwrap().flatten();
    let named = files.map(|file| (file.file_name().into_string().unwrap(), file.path()));
    named.filter(|(name, _)| name.len() == 64).map(|(name, path)| (name, fs::read(path).unwrap())).collect()
}

/// Waits until `data ls` shows this notice.
#[track_caller]
fn notice(cluster: &Cluster, folder: &Path, words: &str) {
    let mut said = String::new();
    let is_said = windrow_tests::program::happens(|| {
        said = cluster.data(folder, &["ls"]).ok().stderr;
        said.contains(words)
    });
    assert!(is_said, "no `{words}` in: {said}");
}

#[test]
fn coordinator_on_an_empty_folder_deletes_no_chunk() {
    let folder = folder();
    let text = corpus::text(71, 60_000);
    fs::write(folder.path().join("in"), &text).unwrap();
    let mut cluster = Cluster::start(2, 1);
    cluster.data(folder.path(), &["put", "in", "set", "--chunk-size", "9kB"]).ok();
    let before = [chunks(&cluster, 0), chunks(&cluster, 1)];
    assert!(before[0].len() > 3);
    // The coordinator's disk is not mounted; the token comes from its file, as before.
    let aside = folder.path().join("aside");
    cluster.kill_coordinator();
    fs::rename(cluster.coordinator_folder(), &aside).unwrap();
    fs::create_dir(cluster.coordinator_folder()).unwrap();
    fs::copy(aside.join("token"), cluster.token_file()).unwrap();
    cluster.start_coordinator();
    notice(&cluster, folder.path(), "2 workers belong to another cluster");
    assert!([chunks(&cluster, 0), chunks(&cluster, 1)] == before);
    // A worker that is started now is refused with the reason; one that is in its cluster waits for it.
    cluster.kill_worker(1);
    cluster.start_worker_unheard(1);
    assert_eq!(cluster.worker_ends(1, || false), Some(Some(1)));
    assert!([chunks(&cluster, 0), chunks(&cluster, 1)] == before);

    cluster.kill_coordinator();
    fs::remove_dir_all(cluster.coordinator_folder()).unwrap();
    fs::rename(&aside, cluster.coordinator_folder()).unwrap();
    cluster.start_coordinator();
    cluster.start_worker(1);
    eventually("everything is there again", || state(&cluster, "set") == "whole");
    cluster.data(folder.path(), &["get", "set", "back"]).ok();
    assert!(fs::read_to_string(folder.path().join("back")).unwrap() == text);
    cluster.stop();
}

/// Digests of the orphans that `data ls --orphans` lists, with their lengths.
fn orphans(cluster: &Cluster) -> BTreeMap<String, u64> {
    let all = cluster.json(["data", "ls", "--orphans"]);
    let orphan = |o: &Value| (o["digest"].as_str().unwrap().to_string(), o["bytes"].as_u64().unwrap());
    all["chunks"].as_array().unwrap().iter().map(orphan).collect()
}

#[test]
fn older_journal_is_refused_and_admitted_by_a_restore() {
    let folder = folder();
    let path = folder.path();
    fs::write(path.join("a"), corpus::text(72, 20_000)).unwrap();
    fs::write(path.join("b"), "put after the copy was made\n").unwrap();
    let mut cluster = Cluster::start(2, 1);
    cluster.data(path, &["put", "a", "a", "--chunk-size", "9kB"]).ok();
    let (journal, old) = (cluster.coordinator_folder().join("journal.redb"), path.join("old"));
    cluster.restart_coordinator_after(|| _ = fs::copy(&journal, &old).unwrap());
    eventually("the workers are back", || state(&cluster, "a") == "whole");
    cluster.data(path, &["put", "b", "b"]).ok();
    let before = [chunks(&cluster, 0), chunks(&cluster, 1)];

    cluster.restart_coordinator_after(|| _ = fs::copy(&old, &journal).unwrap());
    notice(&cluster, path, "2 workers have seen a newer journal");
    // The copy gets to a later epoch than the workers have seen, and has another one in place of theirs.
    cluster.restart_coordinator_after(|| ());
    notice(&cluster, path, "2 workers have seen a newer journal");
    assert!([chunks(&cluster, 0), chunks(&cluster, 1)] == before);

    let restore = |cluster: &Cluster| {
        run(cluster.windrow(["coordinator", "restore", "--data-dir"]).arg(cluster.coordinator_folder()))
    };
    // A restore under a running coordinator is refused.
    restore(&cluster).with(1).shows_error("DATA_DIR_IN_USE", &[]);
    cluster.kill_coordinator();
    restore(&cluster).ok();
    cluster.start_coordinator();
    eventually("the workers are admitted", || state(&cluster, "a") == "whole");
    assert_eq!(state(&cluster, "b"), "none");
    assert!([chunks(&cluster, 0), chunks(&cluster, 1)] == before);
    // Data that the old journal does not know can be adopted.
    let found = orphans(&cluster);
    assert_eq!(found.values().copied().collect::<Vec<_>>(), [28]);
    let digest = found.keys().next().unwrap();
    cluster.data(path, &["adopt", "b", digest]).ok();
    cluster.data(path, &["get", "b", "back"]).ok();
    assert_eq!(fs::read(path.join("back")).unwrap(), fs::read(path.join("b")).unwrap());
    assert!(orphans(&cluster).is_empty());
    // From here on it is the newest journal.
    cluster.data(path, &["rm", "b"]).ok();
    eventually("the ordered deletion is done", || chunks(&cluster, 0).len() == before[0].len() - 1);
    cluster.stop();
}

/// Folders of a release without cluster ids.
fn unpack(part: &str, to: &Path) {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/folders-without-cluster-id.tar.gz");
    fs::create_dir_all(to).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(archive).arg("-C").arg(to).args(["--strip-components=2", &format!("./{part}")]);
    assert!(tar.status().unwrap().success());
}

#[test]
fn folders_without_cluster_id_join_if_chunks_are_known() {
    let folder = folder();
    let mut cluster = Cluster::start(0, 1);
    unpack("worker", &cluster.worker_folder(0));
    cluster.kill_coordinator();
    fs::remove_file(cluster.coordinator_folder().join("journal.redb")).unwrap();
    unpack("coordinator", &cluster.coordinator_folder());
    cluster.start_coordinator();
    cluster.add_worker(1);
    eventually("its datasets are there", || {
        state(&cluster, "first") == "whole" && state(&cluster, "second") == "whole"
    });
    assert_eq!(chunks(&cluster, 0).len(), 7);
    cluster.data(folder.path(), &["get", "first", "first"]).ok();
    let first: String = (1..=40).map(|i| format!("line {i} of the first dataset\n")).collect();
    assert_eq!(fs::read_to_string(folder.path().join("first")).unwrap(), first);
    assert!(orphans(&cluster).is_empty());
    // From now on the folder belongs to this cluster.
    let id = fs::read_to_string(cluster.worker_folder(0).join("cluster")).unwrap();
    assert!(id.starts_with("cluster-"), "{id}");
    cluster.stop();
}

#[test]
fn folder_with_unknown_chunks_waits_for_an_operator() {
    let folder = folder();
    let mut cluster = Cluster::start(0, 1);
    unpack("worker", &cluster.worker_folder(0));
    cluster.add_worker_unheard(1);
    notice(&cluster, folder.path(), "1 workers have folders with chunks that this journal does not know");
    let listed = cluster.json(["data", "ls", "--orphans"]);
    assert_eq!(listed["unjoined"][0]["chunks"], 7, "{listed}");
    assert_eq!(cluster.json(["worker", "list"]).as_array().unwrap().len(), 0);
    assert_eq!(chunks(&cluster, 0).len(), 7);
    let id = listed["unjoined"][0]["worker"].as_str().unwrap();
    cluster.data(folder.path(), &["adopt", "--worker", id]).ok();
    eventually("it joins", || cluster.json(["worker", "list"]).as_array().unwrap().len() == 1);
    eventually("its chunks are orphans", || orphans(&cluster).len() == 7);
    assert_eq!(chunks(&cluster, 0).len(), 7);
    cluster.stop();
}

#[test]
fn orphans_expire_into_trash_and_return_when_adopted() {
    let folder = folder();
    let coordinator_args = &["--orphans-kept", "1s", "--orphans-per-hour", "5"];
    let mut cluster = Setup { coordinator_args, ..Setup::default() }.start();
    unpack("worker", &cluster.worker_folder(0));
    let before = chunks(&cluster, 0);
    cluster.add_worker_unheard(1);
    notice(&cluster, folder.path(), "1 workers have folders with chunks that this journal does not know");
    let listed = cluster.json(["data", "ls", "--orphans"]);
    cluster.data(folder.path(), &["adopt", "--worker", listed["unjoined"][0]["worker"].as_str().unwrap()]).ok();
    let trash = cluster.worker_folder(0).join("chunks-trash");
    let in_trash = || fs::read_dir(&trash).map_or(0, |files| files.count());
    eventually("as many as may in an hour are in the trash", || in_trash() == 5);
    assert_eq!(chunks(&cluster, 0).len(), 2);
    eventually("and all are listed", || orphans(&cluster).len() == 7);
    let digests: Vec<&str> = before.keys().map(String::as_str).collect();
    cluster.data(folder.path(), &[&["adopt", "found"], &digests[..]].concat()).ok();
    eventually("they come back", || state(&cluster, "found") == "whole");
    assert!(chunks(&cluster, 0) == before);
    assert_eq!(in_trash(), 0);
    cluster.data(folder.path(), &["get", "found", "back"]).ok();
    assert_eq!(fs::read(folder.path().join("back")).unwrap(), before.into_values().collect::<Vec<_>>().concat());
    cluster.stop();
}

/// A file that a test deletes or changes under a running worker.
fn chunk_file(cluster: &Cluster, worker: usize, digest: &str) -> PathBuf {
    cluster.worker_folder(worker).join("chunks").join(digest)
}

#[test]
fn chunk_without_any_copy_fails_its_reader_at_once() {
    let folder = folder();
    fs::write(folder.path().join("in"), corpus::text(73, 60_000)).unwrap();
    let cluster = Cluster::start(2, 1);
    cluster.data(folder.path(), &["put", "in", "set", "--chunk-size", "9kB"]).ok();
    let gone = chunks(&cluster, 0).into_keys().next().unwrap();
    [0, 1].iter().for_each(|worker| fs::remove_file(chunk_file(&cluster, *worker, &gone)).unwrap());
    let job = cluster.job(folder.path(), "wordcount", ["windrow://set", "--output", "out"]);
    job.with(1).shows_error("CHUNK_UNAVAILABLE", &[&gone]);
    assert_eq!(state(&cluster, "set"), "incomplete");
    cluster.stop();
}

#[test]
fn chunk_lost_before_its_task_runs_is_read_elsewhere() {
    let folder = folder();
    let path = folder.path();
    let gate = path.join("gate");
    fs::create_dir(&gate).unwrap();
    let text = format!("gate1 a\n{}", corpus::text(77, 60_000));
    fs::write(path.join("in"), &text).unwrap();
    let cluster = Cluster::start(2, 1);
    cluster.data(path, &["put", "in", "texts", "--chunk-size", "9kB"]).ok();
    // It keeps its chunks, and gets no task.
    run(cluster.windrow(["worker", "drain", "--coordinator", &cluster.url]).arg(cluster.worker_id(1))).ok();
    let id = cluster.detach(
        path,
        "hostile",
        ["gate", "windrow://texts", "--output", "out", "--gate", gate.to_str().unwrap()],
    );
    eventually("a task waits at the gate", || fs::read_dir(&gate).unwrap().count() >= 1);
    // Beside that task another one is queued, whose input was verified before.
    chunks(&cluster, 0).keys().for_each(|digest| fs::remove_file(chunk_file(&cluster, 0, digest)).unwrap());
    fs::write(gate.join("open"), "").unwrap();
    run(&mut cluster.windrow(["job", "wait", &id])).ok();
    assert_eq!(windrow_tests::output::lines(&path.join("out")), oracle::wordcount(&text));
    cluster.stop();
}

#[test]
fn read_of_a_missing_chunk_restores_its_copy() {
    let folder = folder();
    let text = corpus::text(74, 60_000);
    fs::write(folder.path().join("in"), &text).unwrap();
    let cluster = Cluster::start(2, 1);
    cluster.data(folder.path(), &["put", "in", "set", "--chunk-size", "9kB"]).ok();
    let before = chunks(&cluster, 0);
    before.keys().for_each(|digest| fs::remove_file(chunk_file(&cluster, 0, digest)).unwrap());
    cluster.job(folder.path(), "wordcount", ["windrow://set", "--output", "out"]).ok();
    assert_eq!(windrow_tests::output::lines(&folder.path().join("out")), oracle::wordcount(&text));
    // A reader asks each worker in turn, and a worker without its chunk reports that to the coordinator.
    cluster.data(folder.path(), &["get", "set", "back"]).ok();
    eventually("every copy is there again", || chunks(&cluster, 0) == before);
    eventually("and is known to be", || state(&cluster, "set") == "whole");
    cluster.stop();
}

#[test]
fn scrub_restores_damaged_and_missing_copies() {
    let folder = folder();
    fs::write(folder.path().join("in"), corpus::text(75, 60_000)).unwrap();
    let mut cluster = Cluster::start(1, 1);
    cluster.worker_args = ["--scrub-period", "1s"].map(str::to_string).to_vec();
    cluster.add_worker(1);
    cluster.data(folder.path(), &["put", "in", "set", "--chunk-size", "9kB"]).ok();
    let whole = chunks(&cluster, 1);
    let mut files = whole.keys().map(|digest| chunk_file(&cluster, 1, digest));
    fs::remove_file(files.next().unwrap()).unwrap();
    let damaged = files.next().unwrap();
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[100] ^= 4;
    fs::remove_file(&damaged).unwrap();
    fs::write(&damaged, bytes).unwrap();
    eventually("both are made again", || chunks(&cluster, 1) == whole);
    eventually("and are known to be", || state(&cluster, "set") == "whole");
    let id = cluster.worker_id(1).to_string();
    eventually("the findings are listed", || {
        let scrubs = cluster.json(["data", "scrub"]);
        let own = scrubs.as_array().unwrap().iter().find(|s| s["worker"] == id.as_str()).cloned().unwrap_or_default();
        own["damaged"].as_u64() >= Some(1) && own["passes"].as_u64() >= Some(2)
    });
    assert_eq!(fs::read_dir(cluster.worker_folder(1).join("chunks-damaged")).unwrap().count(), 0);
    cluster.stop();
}

#[test]
fn backup_during_jobs_holds_all_acknowledged_data() {
    let folder = folder();
    let path = folder.path();
    let gate = path.join("gate");
    fs::create_dir(&gate).unwrap();
    let text = format!("gate1 a\n{}", corpus::text(76, 30_000));
    fs::write(path.join("in"), &text).unwrap();
    let mut cluster = Cluster::start(2, 1);
    cluster.data(path, &["put", "in", "texts", "--chunk-size", "5kB"]).ok();
    cluster.job(path, "wordcount", ["in", "--output", "windrow://counts"]).ok();
    let args = ["gate", "windrow://texts", "--output", "out", "--gate", gate.to_str().unwrap()];
    let id = cluster.detach(path, "hostile", args);
    eventually("a task waits", || fs::read_dir(&gate).unwrap().count() >= 1);
    let backup = path.join("backup");
    let take =
        |cluster: &Cluster| run(cluster.windrow(["coordinator", "backup", "--coordinator", &cluster.url]).arg(&backup));
    take(&cluster).ok();
    take(&cluster).with(1).shows_error("OUTPUT_EXISTS", &["backup"]);
    let jobs = cluster.json(["job", "list"]).as_array().unwrap().len();
    assert_eq!(jobs, 2);

    // The coordinator's machine is lost.
    cluster.kill_coordinator();
    fs::remove_dir_all(cluster.coordinator_folder()).unwrap();
    let mut restore = cluster.windrow(["coordinator", "restore", "--data-dir"]);
    run(restore.arg(cluster.coordinator_folder()).arg(&backup)).ok();
    cluster.start_coordinator();
    assert_eq!(cluster.json(["job", "list"]).as_array().unwrap().len(), jobs);
    eventually("the datasets are there", || {
        state(&cluster, "texts") == "whole" && state(&cluster, "counts") == "whole"
    });
    fs::write(gate.join("open"), "").unwrap();
    run(&mut cluster.windrow(["job", "wait", &id])).ok();
    assert_eq!(windrow_tests::output::lines(&path.join("out")), oracle::wordcount(&text));
    assert!(orphans(&cluster).is_empty());

    let mut damaged = fs::read(backup.join("journal.dump")).unwrap();
    damaged[1_000] ^= 1;
    fs::write(backup.join("journal.dump"), damaged).unwrap();
    let mut restore = cluster.windrow(["coordinator", "restore", "--data-dir"]);
    run(restore.arg(path.join("other")).arg(&backup)).with(1);
    assert!(!path.join("other/journal.redb").exists());
    cluster.stop();
}
