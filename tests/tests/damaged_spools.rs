//! The file of many small outputs on a worker is damaged as a whole after its maps are done and before any reader begins.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use windrow_tests::cluster::{Cluster, Setup};
use windrow_tests::output::parts;
use windrow_tests::program::{eventually, local, run};

/// Bytes of each map's only line.
const LINE_BYTES: usize = 1_000;

/// A line of one word again and again, so that its map writes one record, to one partition.
fn line(word: u32) -> String {
    let mut line = format!("w{word:08} ").repeat(LINE_BYTES / 10);
    line.replace_range(LINE_BYTES - 1.., "\n");
    line
}

/// The spools of a worker.
fn spools(cluster: &Cluster, worker: usize) -> Vec<PathBuf> {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => below(&entry.path(), found),
                _ if entry.file_name().to_string_lossy().starts_with("spool-") => found.push(entry.path()),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    below(&cluster.worker_folder(worker).join("jobs"), &mut found);
    found
}

/// Runs a job of this many maps on two workers, changes the bytes of all spools before the last map ends, and returns the
/// finished job, whose output is right.
#[track_caller]
fn damaged(maps: u32, in_place: bool, change: fn(&mut [u8])) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    fs::create_dir(&gate).unwrap();
    let lines: String = (0..maps).map(line).collect();
    fs::write(folder.path().join("in"), format!("gate1\n{lines}")).unwrap();
    let gate_arg = gate.to_str().unwrap();
    let args = |output| {
        let args = ["gate", "in", "--output", output, "--gate", gate_arg, "--partitions", "3", "--no-backup-attempts"];
        args.into_iter().chain(["--chunk-size", "1kB"])
    };
    let cluster = Setup { workers: 2, slots: 2, in_place, ..Setup::default() }.start();
    let id = cluster.detach(folder.path(), "hostile", args("out"));
    let mut job = Value::Null;
    eventually("all maps are done but the one at the gate", || {
        job = cluster.json(["job", "get", &id]);
        let map = &job["stages"][0]["tasks"];
        map["done"].as_u64() >= Some(1) && map["done"].as_u64() == map["total"].as_u64().map(|total| total - 1)
    });
    let spools: Vec<PathBuf> = (0..2).flat_map(|worker| spools(&cluster, worker)).collect();
    assert!(!spools.is_empty());
    for spool in spools {
        let mut bytes = fs::read(&spool).unwrap();
        change(&mut bytes);
        fs::write(&spool, bytes).unwrap();
    }
    fs::write(gate.join("open"), "").unwrap();
    run(&mut cluster.windrow(["job", "wait", &id, "--coordinator", &cluster.url])).ok();
    let job = cluster.json(["job", "get", &id]);
    local(folder.path(), "hostile", args("expected")).ok();
    assert!(parts(&folder.path().join("out")) == parts(&folder.path().join("expected")));
    cluster.stop();
    job
}

/// Every image becomes a copy of the first one, which has the same length, and another partition for most of them. A reader
/// that trusted them would find no records.
fn copy_the_first(bytes: &mut [u8]) {
    let magic = bytes.windows(8).position(|window| window == b"windrowS").expect("an image ends with this");
    let image = bytes[..magic + 8].to_vec();
    assert!(bytes.len().is_multiple_of(image.len()), "images of one length, but {} of {}", image.len(), bytes.len());
    for place in bytes.chunks_mut(image.len()) {
        place.copy_from_slice(&image);
    }
}

#[test]
fn image_in_the_place_of_another_is_made_again() {
    for in_place in [true, false] {
        let job = damaged(12, in_place, copy_the_first);
        assert!(job["attempts"].as_u64() > job["tasks"]["total"].as_u64(), "{job}");
    }
}

/// Hundreds of outputs are lost by one event. Readers find them one by one; the job must not.
#[test]
fn spool_of_zeros_costs_a_bounded_number_of_attempts() {
    for in_place in [true, false] {
        let job = damaged(300, in_place, |bytes| bytes.fill(0));
        let (attempts, tasks) = (job["attempts"].as_u64().unwrap(), job["tasks"]["total"].as_u64().unwrap());
        // The maps of one worker run again, then those of the other with what was made again there.
        assert!(attempts > 300 + tasks && attempts <= 3 * tasks, "{attempts} of {tasks}: {job}");
        assert_eq!(job["failures"].as_array().map(Vec::len), Some(0), "{job}");
    }
}
