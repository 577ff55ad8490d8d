//! Readers see no output or all of it; every step may be repeated; foreign files are never deleted.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use windrow_format::checksum::crc32c;
use windrow_format::{manifest, names};
use windrow_model::{
    AttemptId, BadRecord, Code, Epoch, Incarnation, JobId, Location, Manifest, RecordPlace, SkippedRecord, StageId,
    TaskId,
};
use windrow_store::Durability::{NoSync, Sync};
use windrow_store::{
    CompleteOutput, Durability, Output, Outputs, PartFile, Placed, Receipt, Result, Staging, Steps, Storage,
};

fn job(n: u8) -> JobId {
    JobId::from_bytes([n; 16])
}

fn attempt(n: u8, index: u32) -> AttemptId {
    let task = TaskId { job: job(n), stage: StageId(0), index };
    AttemptId { task, number: 0, epoch: Epoch(1), incarnation: Incarnation(1) }
}

/// Calls the kind of storage that holds paths.
fn with_files<T>(call: impl FnOnce(&dyn Output) -> T) -> T {
    call(Outputs::default().at(Location::of("/")).unwrap())
}

fn stage(output: &Path, job: JobId, durability: Durability) -> Result<Staging> {
    with_files(|files| files.stage(Location::Path(output), job, durability, &[]))
}

fn names_of(output: &Path, job: JobId) -> Result<Staging> {
    with_files(|files| files.staging(Location::Path(output), job))
}

fn nonce(staging: &Staging) -> String {
    with_files(|files| files.nonce(staging)).unwrap()
}

fn check_nonce(area: &Path, nonce: &str) -> Result<()> {
    with_files(|files| files.check_nonce(area, nonce))
}

fn place_part(area: &Path, attempt: &AttemptId, suffix: &str, file: &Path, durability: Durability) -> Result<()> {
    let receipt = with_files(|files| files.place(area, PartFile { attempt, suffix, file }, durability, &|| {}))?;
    assert!(receipt.is_empty(), "names are enough");
    Ok(())
}

fn abandon(staging: &Staging) -> Result<()> {
    with_files(|files| files.abandon(staging, &[]))
}

fn check_output(path: &Path, overwrite: bool, inputs: &[String], steps: &Steps) -> Result<()> {
    Outputs::default().check(Location::Path(path), overwrite, inputs, steps)
}

fn canonical_output(path: &Path) -> Result<PathBuf> {
    with_files(|files| files.canonical(Location::Path(path)))
}

/// Path of an attempt's part before the commit.
fn placed(staging: &Staging, n: u8, index: u32, suffix: &str) -> PathBuf {
    staging.area.join(names::PARTS).join(names::attempt_part(&attempt(n, index), suffix))
}

/// Commits with the first attempts as winners.
fn commit(staging: &Staging, manifest: &Manifest, overwrite: bool, durability: Durability) -> Result<()> {
    let job = manifest.job.as_bytes()[0];
    let winners: Vec<_> = (0..manifest.parts.len()).map(|i| attempt(job, i as u32)).collect();
    commit_with(staging, manifest, &winners, &[], overwrite, durability)
}

fn commit_with(
    staging: &Staging,
    manifest: &Manifest,
    winners: &[AttemptId],
    bad_records: &[BadRecord],
    overwrite: bool,
    durability: Durability,
) -> Result<()> {
    let none = Receipt::default();
    let winners: Vec<_> = winners.iter().map(|attempt| Placed { attempt: *attempt, receipt: &none }).collect();
    let output = CompleteOutput { manifest, winners: &winners, others: &[], bad_records, overwrite };
    with_files(|files| files.commit(staging, &output, durability))
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(self.0.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
    /// Stages parts with these contents as a worker does.
    fn stage(&self, output: &Path, n: u8, contents: &[&str]) -> (Staging, Manifest) {
        let staging = stage(output, job(n), Sync).unwrap();
        let mut parts = Vec::new();
        for (i, text) in contents.iter().enumerate() {
            let scratch = self.path("scratch");
            fs::write(&scratch, text).unwrap();
            place_part(&staging.area, &attempt(n, i as u32), "", &scratch, Sync).unwrap();
            assert!(!scratch.exists());
            parts.push(manifest::part(i as u32, "", text.len() as u64, 1, crc32c(text.as_bytes())));
        }
        (staging, manifest::build(job(n), "test", "text", parts))
    }
    fn publish(&self, output: &Path, n: u8, contents: &[&str], overwrite: bool) -> Result<()> {
        let (staging, manifest) = self.stage(output, n, contents);
        commit(&staging, &manifest, overwrite, Sync)
    }
}

fn code<T: std::fmt::Debug>(result: Result<T>) -> Code {
    result.unwrap_err().code
}

#[test]
fn output_appears_complete_with_empty_parts() {
    let place = Place::new();
    let output = place.path("deep/er/out");
    let (staging, manifest) = place.stage(&output, 1, &["a", "", "c"]);
    assert!(!output.exists());
    commit(&staging, &manifest, false, Sync).unwrap();
    assert_eq!(manifest::verify(&output).unwrap(), manifest);
    assert_eq!(fs::read_dir(&output).unwrap().count(), 4, "three parts and the manifest");
    assert_eq!(fs::read_dir(place.path("deep/er")).unwrap().count(), 1);
}

#[test]
fn every_step_may_be_repeated() {
    let place = Place::new();
    let output = place.path("out");
    let (staging, manifest) = place.stage(&output, 1, &["a", "b"]);
    let made = nonce(&staging);
    assert_eq!(stage(&output, job(1), Sync).unwrap(), staging);
    assert_eq!(names_of(&output, job(1)).unwrap(), staging);
    assert_eq!(nonce(&staging), made, "made once");
    place_part(&staging.area, &attempt(1, 1), "", &place.path("scratch"), Sync).unwrap();
    for _ in 0..3 {
        commit(&staging, &manifest, false, NoSync).unwrap();
        manifest::verify(&output).unwrap();
    }
    abandon(&staging).unwrap();
    abandon(&staging).unwrap();
    manifest::verify(&output).unwrap();
}

#[test]
fn interrupted_commit_is_finished_by_the_next() {
    let place = Place::new();
    let output = place.path("out");
    let (staging, manifest) = place.stage(&output, 1, &["a"]);
    // The commit died after `_SUCCESS` was written, before the rename; a half copy of a dead worker is left too.
    fs::remove_file(staging.area.join("nonce")).unwrap();
    fs::write(staging.area.join(".part-00000.tmp-00000000000000aa"), "ha").unwrap();
    manifest::write(&staging.area, &manifest, NoSync).unwrap();
    commit(&staging, &manifest, false, Sync).unwrap();
    assert_eq!(fs::read_dir(&output).unwrap().count(), 2);
    // The commit died after the exchange, before the old output was deleted.
    let (staging, manifest) = place.stage(&output, 2, &["b"]);
    fs::rename(placed(&staging, 2, 0, ""), staging.area.join("part-00000")).unwrap();
    manifest::write(&staging.area, &manifest, NoSync).unwrap();
    fs::rename(&output, place.path("old")).unwrap();
    fs::rename(&staging.area, &output).unwrap();
    fs::rename(place.path("old"), &staging.area).unwrap();
    commit(&staging, &manifest, true, Sync).unwrap();
    assert_eq!(place.names(), ["out"]);
    assert_eq!(fs::read_to_string(output.join("part-00000")).unwrap(), "b");
}

#[test]
fn replaced_commit_is_not_repeated() {
    let place = Place::new();
    let output = place.path("out");
    place.publish(&output, 1, &["a"], false).unwrap();
    let (staging, manifest) = place.stage(&output, 2, &["a"]);
    // Job 2 exchanges and dies; job 3 overwrites its output; job 2's commit is repeated.
    fs::remove_dir_all(&staging.area).unwrap();
    fs::rename(&output, &staging.area).unwrap();
    place.publish(&output, 3, &["c"], false).unwrap();
    commit(&staging, &manifest, true, Sync).unwrap();
    assert_eq!(manifest::verify(&output).unwrap().job, job(3));
    assert_eq!(place.names(), ["out"]);
}

#[test]
fn missing_or_damaged_parts_stop_the_commit() {
    let place = Place::new();
    let output = place.path("out");
    let (staging, manifest) = place.stage(&output, 1, &["a", "b"]);
    fs::write(placed(&staging, 1, 1, ""), "longer").unwrap();
    assert_eq!(code(commit(&staging, &manifest, false, NoSync)), Code::OutputFailed);
    fs::remove_file(staging.area.join("part-00001")).unwrap();
    assert_eq!(code(commit(&staging, &manifest, false, NoSync)), Code::OutputFailed);
    assert!(!output.exists() && staging.area.exists());
    abandon(&staging).unwrap();
    assert!(place.names().is_empty());
    assert_eq!(code(commit(&staging, &manifest, false, NoSync)), Code::OutputFailed);
}

#[test]
fn output_that_appears_meanwhile_is_not_replaced() {
    let place = Place::new();
    let output = place.path("out");
    let made: [fn(&Path); 3] = [
        |p| fs::create_dir(p).unwrap(),
        |p| fs::write(p, "mine").unwrap(),
        |p| {
            fs::create_dir(p).unwrap();
            fs::write(p.join("mine"), "").unwrap();
        },
    ];
    for make in made {
        let (staging, manifest) = place.stage(&output, 1, &["a"]);
        make(&output);
        assert_eq!(code(commit(&staging, &manifest, false, NoSync)), Code::OutputExists);
        assert!(output.exists() && staging.area.exists());
        if output.is_dir() { fs::remove_dir_all(&output).unwrap() } else { fs::remove_file(&output).unwrap() }
    }
}

#[test]
fn overwrite_replaces_windrow_outputs_and_empty_folders_only() {
    let place = Place::new();
    let output = place.path("out");
    place.publish(&output, 1, &["one"], true).unwrap();
    place.publish(&output, 2, &["two", "more"], true).unwrap();
    place.publish(&output, 3, &["three"], true).unwrap();
    assert_eq!(manifest::verify(&output).unwrap().job, job(3));
    assert_eq!(fs::read_dir(&output).unwrap().count(), 2);
    assert_eq!(place.names(), ["out"]);
    fs::remove_dir_all(&output).unwrap();
    fs::create_dir(&output).unwrap();
    place.publish(&output, 4, &["four"], true).unwrap();
    fs::remove_file(output.join("_SUCCESS")).unwrap();
    let (staging, manifest) = place.stage(&output, 5, &["five"]);
    assert_eq!(code(commit(&staging, &manifest, true, NoSync)), Code::OutputNotOurs);
    assert_eq!(fs::read_to_string(output.join("part-00000")).unwrap(), "four");
}

#[test]
fn output_behind_a_link_is_written_to_its_target() {
    let place = Place::new();
    fs::create_dir(place.path("disk")).unwrap();
    place.publish(&place.path("disk/run"), 1, &["one"], false).unwrap();
    symlink("disk/run", place.path("latest")).unwrap();
    place.publish(&place.path("latest"), 2, &["two"], true).unwrap();
    assert!(place.path("latest").symlink_metadata().unwrap().is_symlink());
    assert_eq!(manifest::verify(&place.path("disk/run")).unwrap().job, job(2));
    assert_eq!(fs::read_dir(place.path("disk")).unwrap().count(), 1);
}

#[test]
fn part_is_placed_once_and_only_in_its_staging() {
    let place = Place::new();
    let (staging, _) = place.stage(&place.path("out"), 1, &["a"]);
    let scratch = place.path("scratch");
    fs::write(&scratch, "again").unwrap();
    place_part(&staging.area, &attempt(1, 0), "", &scratch, NoSync).unwrap();
    assert_eq!(fs::read_to_string(placed(&staging, 1, 0, "")).unwrap(), "again");
    assert_eq!(code(place_part(&staging.area, &attempt(1, 1), ".gz", &scratch, NoSync)), Code::IoError);
    fs::write(&scratch, "late").unwrap();
    abandon(&staging).unwrap();
    assert_eq!(code(place_part(&staging.area, &attempt(1, 0), "", &scratch, NoSync)), Code::OutputFailed);
    assert!(!staging.area.exists() && scratch.exists());
}

/// A fenced attempt that does not know it yet has produced another part.
#[test]
fn commit_takes_the_winners_part_despite_late_attempts() {
    let place = Place::new();
    let output = place.path("out");
    let (staging, manifest) = place.stage(&output, 1, &["won"]);
    let late = AttemptId { number: 1, ..attempt(1, 0) };
    let put = |text: &str| {
        fs::write(place.path("scratch"), text).unwrap();
        place_part(&staging.area, &late, "", &place.path("scratch"), NoSync)
    };
    put("lost").unwrap();
    commit(&staging, &manifest, false, NoSync).unwrap();
    assert_eq!(code(put("later")), Code::OutputFailed);
    assert_eq!(fs::read_to_string(output.join("part-00000")).unwrap(), "won");
    assert_eq!(fs::read_dir(&output).unwrap().count(), 2);
    manifest::verify(&output).unwrap();
}

#[test]
fn part_from_another_file_system_is_copied() {
    let Ok(shm) = tempfile::tempdir_in("/dev/shm") else { return };
    let place = Place::new();
    let staging = stage(&place.path("out"), job(1), NoSync).unwrap();
    let scratch = shm.path().join("sink-0");
    for durability in [Sync, NoSync] {
        fs::write(&scratch, "far").unwrap();
        place_part(&staging.area, &attempt(1, 7), ".gz", &scratch, durability).unwrap();
        assert_eq!(fs::read_to_string(placed(&staging, 1, 7, ".gz")).unwrap(), "far");
        assert_eq!(fs::read_dir(staging.area.join(names::PARTS)).unwrap().count(), 1);
        assert!(!scratch.exists());
    }
}

#[test]
fn folder_without_the_nonce_is_refused() {
    let place = Place::new();
    let staging = stage(&place.path("out"), job(1), NoSync).unwrap();
    check_nonce(&staging.area, &nonce(&staging)).unwrap();
    assert_eq!(code(check_nonce(&staging.area, "other")), Code::OutputNotShared);
    assert_eq!(code(check_nonce(&place.path("elsewhere"), "other")), Code::OutputNotShared);
}

#[test]
fn existing_output_is_refused_at_submit() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    fs::create_dir(place.path("empty")).unwrap();
    fs::create_dir(place.path("full")).unwrap();
    fs::write(place.path("full/mine"), "").unwrap();
    fs::create_dir(place.path("spark")).unwrap();
    fs::write(place.path("spark/_SUCCESS"), "").unwrap();
    place.publish(&place.path("ours"), 1, &["a"], false).unwrap();
    for more in ["notes", "part-00001", ".hidden", "sub"] {
        let output = place.path(&format!("ours-{more}"));
        place.publish(&output, 1, &["a"], false).unwrap();
        match more {
            "sub" => fs::create_dir(output.join(more)).unwrap(),
            _ => fs::write(output.join(more), "").unwrap(),
        }
    }
    symlink("nowhere", place.path("dangling")).unwrap();
    symlink("ours", place.path("link")).unwrap();
    symlink("self", place.path("self")).unwrap();
    for name in ["file", "empty", "full", "spark", "ours", "dangling", "link", "dangling/", "full/"] {
        assert_eq!(code(check_output(&place.path(name), false, &[], &Steps::default())), Code::OutputExists, "{name}");
    }
    let with_more = ["ours-notes", "ours-part-00001", "ours-.hidden", "ours-sub"];
    for name in ["file", "full", "spark", "dangling"].into_iter().chain(with_more) {
        assert_eq!(code(check_output(&place.path(name), true, &[], &Steps::default())), Code::OutputNotOurs, "{name}");
    }
    for name in ["empty", "ours", "link", "new", "new/deeper"] {
        check_output(&place.path(name), true, &[], &Steps::default()).unwrap();
    }
    check_output(&place.path("new"), false, &[], &Steps::default()).unwrap();
    for name in ["self", "self/out", "file/out"] {
        assert!(check_output(&place.path(name), false, &[], &Steps::default()).is_err(), "{name}");
    }
}

#[test]
fn output_in_an_input_is_refused_for_any_spelling() {
    let place = Place::new();
    fs::create_dir_all(place.path("in/sub")).unwrap();
    fs::write(place.path("in/a"), "").unwrap();
    fs::create_dir(place.path("other")).unwrap();
    symlink("in", place.path("link")).unwrap();
    let text = |name: &str| place.path(name).to_str().unwrap().to_string();
    let refused = [
        ("in/out", "in"),
        ("in", "in"),
        ("in/x/y/out", "in"),
        ("link/out", "in"),
        ("in/out", "link"),
        ("other/../in/out", "in"),
        ("nowhere/../in/out", "in"),
        ("in/a", "in/a"),
        ("in/sub/out", "i*"),
        ("in/sub", "in/*"),
        ("in", "in/a"),
    ];
    for (output, input) in refused {
        let result = check_output(&place.path(output), true, &[text(input)], &Steps::default());
        assert_eq!(code(result), Code::OutputInsideInput, "{output} in {input}");
    }
    for (output, input) in
        [("out", "in"), ("in/out", "in/a"), ("in2/out", "in"), ("in/../out", "in"), ("out", "missing")]
    {
        check_output(&place.path(output), false, &[text(input)], &Steps::default()).unwrap();
    }
    check_output(&place.path("out"), false, &["windrow://in".into()], &Steps::default()).unwrap();
}

#[test]
fn folder_has_one_canonical_name() {
    let place = Place::new();
    fs::create_dir(place.path("real")).unwrap();
    symlink("real", place.path("link")).unwrap();
    symlink("real/later", place.path("dangling")).unwrap();
    let real = canonical_output(&place.path("real/later")).unwrap();
    for name in ["link/later", "real/./later/", "link/../real/later", "x/../real/later", "real/later/y/..", "dangling"]
    {
        assert_eq!(canonical_output(&place.path(name)).unwrap(), real, "{name}");
    }
    let relative = canonical_output(Path::new("some/out")).unwrap();
    assert_eq!(relative, std::env::current_dir().unwrap().canonicalize().unwrap().join("some/out"));
}

#[test]
fn bad_record_of_two_stages_is_listed_once() {
    let place = Place::new();
    let output = place.path("out");
    let (staging, manifest) = place.stage(&output, 1, &["a"]);
    let bad = |stage, offset| BadRecord {
        task: TaskId { job: job(1), stage: StageId(stage), index: 0 },
        record: SkippedRecord { range: 0, offset },
        place: RecordPlace { file: "/in".into(), offset, excerpt: "x".into() },
        key: None,
        code: Code::UserPanic,
        message: format!("in stage {stage}"),
    };
    let records = [bad(0, 7), bad(1, 7), bad(1, 9), bad(2, 7)];
    commit_with(&staging, &manifest, &[attempt(1, 0)], &records, false, NoSync).unwrap();
    let listed = fs::read_to_string(output.join(names::BAD_RECORDS)).unwrap();
    let listed: Vec<serde_json::Value> = listed.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let listed_fields: Vec<_> =
        listed.iter().map(|l| (l["offset"].as_u64(), l["stages"].to_string(), l["message"].as_str())).collect();
    assert_eq!(
        listed_fields,
        [(Some(7), "[0,1,2]".to_string(), Some("in stage 0")), (Some(9), "[1]".to_string(), Some("in stage 1"))]
    );
}

#[test]
fn folders_made_for_an_abandoned_output_go_with_it() {
    let place = Place::new();
    let output = place.path("new/deep/out");
    let staging = stage(&output, job(1), NoSync).unwrap();
    abandon(&staging).unwrap();
    assert!(place.names().is_empty(), "{:?}", place.names());
    // A second job that stages beside it keeps the shared folders, and existing ones stay.
    fs::create_dir(place.path("old")).unwrap();
    let first = stage(&place.path("old/new/a"), job(1), NoSync).unwrap();
    let second = stage(&place.path("old/new/b"), job(2), NoSync).unwrap();
    abandon(&first).unwrap();
    assert!(second.area.is_dir());
    abandon(&second).unwrap();
    assert!(place.path("old").is_dir());
}

/// A plan without sources that writes these outputs.
fn plan_of_outputs(place: &Place, paths: &[&str]) -> windrow_model::Plan {
    let sink = |path: &str| windrow_model::SinkSpec {
        path: place.path(path).to_str().unwrap().into(),
        format: "text".into(),
        suffix: String::new(),
        framing: windrow_model::Framing::Whole,
        overwrite: false,
    };
    windrow_model::Plan {
        stages: vec![],
        sinks: paths.iter().map(|path| sink(path)).collect(),
        collects: vec![],
        sides: vec![],
        fingerprint: windrow_model::Digest([0; 32]),
    }
}

fn prepared(plan: &windrow_model::Plan) -> windrow_store::Result<windrow_store::Prepared> {
    let (options, datasets) = (windrow_model::JobOptions::default(), Default::default());
    let storage = Storage { datasets: &datasets, outputs: &Outputs::default() };
    windrow_store::prepare(job(1), plan, &options, 1, NoSync, storage, &Steps::default())
}

#[test]
fn outputs_that_are_one_folder_by_links_are_refused() {
    let place = Place::new();
    symlink(".", place.path("here")).unwrap();
    for paths in [["a", "here/a"], ["here/a", "a/b"], ["a/b", "here/here/a"]] {
        let refused = prepared(&plan_of_outputs(&place, &paths));
        assert_eq!(code(refused.map(drop)), Code::OutputInUse, "{paths:?}");
        assert_eq!(place.names(), ["here"]);
    }
    let apart = prepared(&plan_of_outputs(&place, &["a", "here/ab"])).unwrap();
    apart.stagings.iter().for_each(|(_, staging)| abandon(staging).unwrap());
}

#[test]
fn folder_made_for_two_outputs_goes_with_the_last() {
    let place = Place::new();
    fs::write(place.path("in"), "x").unwrap();
    let prepared = prepared(&plan_of_outputs(&place, &["new/a", "new/b"])).unwrap();
    assert_eq!(prepared.stagings.len(), 2);
    prepared.stagings.iter().for_each(|(_, staging)| abandon(staging).unwrap());
    assert_eq!(place.names(), ["in"]);
}

#[test]
fn committed_output_keeps_the_folders_that_were_made_for_it() {
    let place = Place::new();
    let output = place.path("new/out");
    let (staging, manifest) = place.stage(&output, 1, &["x"]);
    commit(&staging, &manifest, false, NoSync).unwrap();
    abandon(&staging).unwrap();
    assert_eq!(names_in(&output), ["_SUCCESS", "part-00000"]);
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
