//! A journal whose process dies at any write or sync of its file, or gets an error there: what was acknowledged is in it,
//! and nothing is in it by half.
//!
//! The process that dies is this test itself, started once more with one failpoint. It acknowledges on stdout.

// Without debug assertions there are no failpoints.
#![cfg(debug_assertions)]

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};
use windrow_coordinator::{DiskStore, Error, JobRecord, JobStore};
use windrow_model::{Code, Digest, JobId, JobState, JobStatus};

/// Where the started process keeps its journal.
const FOLDER: &str = "JOURNAL_KILLS_FOLDER";
/// Transactions; each writes two records.
const WRITES: u8 = 4;
/// More passes than any place has.
const PASSES_MAX: u32 = 2_000;

fn record(n: u8) -> JobRecord {
    let status = JobStatus {
        name: "n".repeat(3_000),
        attempts: 1,
        submitted_unix_ms: 1,
        elapsed_ms: 2,
        ..JobStatus::new(JobId::from_bytes([n; 16]), JobState::Done)
    };
    JobRecord { status, program: "P".into(), binary: Digest::of(b"b"), spec: None, collects: None }
}

fn write_all(folder: &Path) -> Result<(), Error> {
    let mut store = DiskStore::open(&folder.join("journal.redb"))?;
    println!("opened epoch {}", store.begin_epoch()?);
    for n in 0..WRITES {
        store.write(&[record(2 * n).into(), record(2 * n + 1).into()])?;
        println!("acknowledged {n}");
    }
    // One is forgotten, as at the start of a coordinator with too many.
    store.forget(&[JobId::from_bytes([0; 16])])?;
    println!("forgotten");
    // The library writes once more when it closes its file: a kill there is another case.
    drop(store);
    println!("closed");
    Ok(())
}

/// Does nothing unless it was started by the others.
#[test]
fn the_process_that_dies() {
    if let Some(folder) = std::env::var_os(FOLDER)
        && let Err(e) = write_all(Path::new(&folder))
    {
        println!("error {}", e.code());
    }
}

fn start(folder: &Path, failpoints: &str) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_process_that_dies", "--nocapture"]);
    command.env(FOLDER, folder).env(windrow_failpoint::VARIABLE, failpoints);
    command.output().unwrap()
}

/// What the next epoch finds: the ids of the records, each whole.
#[track_caller]
fn found(folder: &Path, what: &str) -> BTreeSet<u8> {
    let mut store = DiskStore::open(&folder.join("journal.redb")).unwrap_or_else(|e| panic!("{what}: {e}"));
    store.begin_epoch().unwrap();
    let records = store.load().unwrap();
    records
        .into_iter()
        .map(|r| {
            let n = r.status.id.as_bytes()[0];
            assert_eq!(r, record(n), "{what}");
            n
        })
        .collect()
}

#[track_caller]
fn check(folder: &Path, printed: &str, what: &str) {
    let acknowledged = printed.matches("acknowledged").count() as u8;
    let forgotten = printed.contains("forgotten");
    let ids = found(folder, what);
    let whole = |writes: u8, forgotten: bool| -> BTreeSet<u8> { (u8::from(forgotten)..2 * writes).collect() };
    let mut allowed = vec![whole(acknowledged, forgotten)];
    match acknowledged {
        WRITES => allowed.push(whole(WRITES, true)),
        n => allowed.push(whole(n + 1, false)),
    }
    assert!(allowed.contains(&ids), "{what}: after {acknowledged} ({printed}) there is {ids:?}");
}

/// Kills at every pass through this place until there are no more; answers how many there were.
fn kills(place: &str) -> u32 {
    for pass in 1..PASSES_MAX {
        let folder = tempfile::tempdir().unwrap();
        let what = format!("{place}=kill@{pass}");
        let output = start(folder.path(), &what);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.signal() != Some(9) {
            assert!(output.status.success() && printed.contains("closed"), "{what}: {output:?}");
            return pass - 1;
        }
        check(folder.path(), &printed, &what);
        // And the one after that writes all there is.
        let again = start(folder.path(), "");
        assert!(String::from_utf8_lossy(&again.stdout).contains("closed"), "{what}: {again:?}");
    }
    panic!("{place} has more than {PASSES_MAX} passes")
}

/// Lets every pass through this place fail, one after the other; answers how many of these errors were reported. Some need not
/// be: a file that is only being closed has everything.
fn errors(place: &str, action: &str, passes: u32) -> u32 {
    let mut failed = 0;
    for pass in 1..=passes {
        let folder = tempfile::tempdir().unwrap();
        let what = format!("{place}={action}@{pass}");
        let output = start(folder.path(), &what);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && (printed.contains("error ") || printed.contains("closed")),
            "{what}: {output:?}"
        );
        failed += u32::from(printed.contains("error "));
        check(folder.path(), &printed, &what);
    }
    failed
}

#[test]
fn journal_killed_at_any_write_has_all_acknowledged_records() {
    for place in ["journal.write", "journal.sync", "journal.synced", "journal.before-commit", "journal.made"] {
        let passes = kills(place);
        println!("{place}: {passes} kills");
        // Every transaction passes; the file itself appears once.
        assert!(passes >= if place == "journal.made" { 1 } else { u32::from(WRITES) + 2 }, "{place}: {passes}");
    }
}

#[test]
fn disk_error_fails_the_write_and_loses_no_acknowledged_record() {
    // As many as the kills above find.
    for (place, action, passes) in
        [("journal.sync", "eio", 34), ("journal.write", "enospc", 92), ("journal.before-commit", "eio", 8)]
    {
        let failed = errors(place, action, passes);
        println!("{place}: {failed} of {passes} errors reported");
        assert!(failed >= u32::from(WRITES), "{place}: {failed}");
    }
}

#[test]
fn unreadable_journal_is_an_error_and_not_damage() {
    let folder = tempfile::tempdir().unwrap();
    assert!(start(folder.path(), "").status.success());
    let before = found(folder.path(), "whole");
    let printed = String::from_utf8(start(folder.path(), "journal.read=eio@3+").stdout).unwrap();
    assert!(printed.contains(&format!("error {}", Code::IoError)), "{printed}");
    assert_eq!(found(folder.path(), "after the disk recovered"), before);
}
