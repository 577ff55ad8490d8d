//! Acknowledged records are there after a restart, and damage is noticed.

use super::tables::*;
use super::*;
use crate::journal::record::{DatasetChange, PublishedTask};
use windrow_datasets::OrphanWaits;
use windrow_model::{Code, Digest, Failure, JobState, JobStatus, RecordPlace, StoredBlob};
use windrow_scheduler::CollectedBlob;

fn record(n: u8, state: JobState) -> JobRecord {
    let bare = JobStatus::new(JobId::from_bytes([n; 16]), state);
    let status = JobStatus { name: format!("job {n}"), attempts: 1, submitted_unix_ms: 1, elapsed_ms: 2, ..bare };
    JobRecord { status, program: "P".into(), binary: Digest::of(b"b"), spec: None, collects: None }
}

#[test]
fn records_and_epochs_outlive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    {
        let mut store = DiskStore::open(&path).unwrap();
        assert_eq!(store.begin_epoch().unwrap(), Epoch(1));
        assert_eq!(store.load().unwrap(), []);
        store.write(&[record(1, JobState::Planning).into(), record(2, JobState::Failed).into()]).unwrap();
        store.write(&[record(1, JobState::Done).into()]).unwrap();
    }
    let mut store = DiskStore::open(&path).unwrap();
    assert_eq!(store.begin_epoch().unwrap(), Epoch(2));
    assert_eq!(store.load().unwrap(), [record(1, JobState::Done), record(2, JobState::Failed)]);
    store.forget(&[JobId::from_bytes([1; 16])]).unwrap();
    assert_eq!(store.load().unwrap(), [record(2, JobState::Failed)]);
}

/// A result with a small blob, and with two that are stored.
fn result(n: u8) -> KeptResult {
    let stored = |offset| CollectedBlob::Stored(StoredBlob { offset, length: 9, digest: Digest::of(b"blob") });
    let collected =
        vec![("c".to_string(), vec![CollectedBlob::Inline(vec![n])]), ("d".to_string(), vec![stored(0), stored(9)])];
    KeptResult { collected, ended_unix_ms: 5, fetched: n == 2 }
}

/// Reads and collects.
fn plan() -> windrow_model::Plan {
    use windrow_model::{Collect, Framing, Input, Output, Plan, Port, SourceSpec, Stage, StageId};
    let source = SourceSpec {
        inputs: vec!["/in".into()],
        framing: Framing::Fixed(10),
        header: false,
        sample: false,
        as_is: false,
    };
    let stage = Stage {
        label: "map".into(),
        place: "main.rs:1".into(),
        inputs: vec![Input::Source(source)],
        outputs: vec![Output::Broadcast],
        deterministic: true,
    };
    let collects = vec![Collect { name: "c".into(), from: Port { stage: StageId(0), output: 0 } }];
    Plan { stages: vec![stage], sinks: vec![], collects, sides: vec![], fingerprint: Digest::of(b"f") }
}

#[test]
fn records_of_a_running_job_are_kept_until_its_end() {
    use windrow_model::{AttemptId, BadRecord, Incarnation, JobSpec, SkippedRecord, StageId, TaskId, TaskReport};
    use windrow_scheduler::{Cause, Loss, RestoredSplit, RestoredTask, StageChunks, Tally};
    let id = |n: u8| JobId::from_bytes([n; 16]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    let running = |n: u8| {
        let task = TaskId { job: id(n), stage: StageId(0), index: 0 };
        let attempt = AttemptId { task, number: 3, epoch: Epoch(1), incarnation: Incarnation(2) };
        let place = RecordPlace { file: "/in".into(), offset: 9, excerpt: String::new() };
        let record = SkippedRecord { range: 0, offset: 9 };
        let chunk = windrow_model::Chunk { part: 4, skip: vec![record], ..Default::default() };
        RunningJob {
            spec: Box::new(JobSpec {
                id: id(n),
                name: "n".into(),
                program: "P".into(),
                params: "{}".into(),
                plan: plan(),
                binary: Digest::of(b"b"),
                options: Default::default(),
            }),
            split: Some(RestoredSplit {
                epoch: Epoch(7),
                input_bytes: 11,
                auto_partitions: 19_224,
                stages: vec![StageChunks { stage: StageId(0), chunks: vec![chunk] }],
            }),
            published: vec![PublishedTask {
                task: RestoredTask {
                    worker: WorkerId::from_bytes([5; 16]),
                    attempt,
                    report: TaskReport { run_ms: 8, ..TaskReport::default() },
                },
                chunks: vec![(1, windrow_model::DatasetChunk { digest: Digest::of(b"c"), length: 3 })],
                receipts: vec![(0, windrow_store::Receipt::new(b"upload 7".to_vec()).unwrap())],
            }],
            bad_records: vec![BadRecord { task, record, place, key: None, code: Code::UserPanic, message: "m".into() }],
            failures: vec![(task, 3)],
            uncharged: vec![(
                task,
                Tally {
                    counts: vec![(Cause::WorkerLost, 2), (Cause::FetchFailed, 7)],
                    losses: vec![Loss { worker: WorkerId::from_bytes([5; 16]), attempt, alone: n == 2 }],
                },
            )],
            datasets_done: true,
            tries: 0,
        }
    };
    {
        let mut store = DiskStore::open(&path).unwrap();
        for n in [1, 2] {
            let job = running(n);
            let mut records = vec![Record::Spec(job.spec), Record::Split(id(n), Box::new(job.split.unwrap()))];
            records.push(record(n, JobState::Planning).into());
            records.extend(job.published.into_iter().map(|p| Record::Published(Box::new(p))));
            records.extend(job.bad_records.into_iter().map(|b| Record::BadRecord(Box::new(b))));
            let task = job.failures[0].0;
            records.extend([Record::Failures(task, 2), Record::Failures(task, 3)]);
            let other = TaskId { index: 1, ..task };
            let (task, tally) = job.uncharged[0].clone();
            records.extend([Record::Uncharged(other, tally.clone()), Record::Uncharged(task, tally)]);
            records.push(Record::Uncharged(other, Tally::default()));
            records.push(Record::Outputs(id(n), vec![]));
            records.push(Record::Collected(id(n), Box::new(result(n))));
            records.push(Record::Worker(WorkerId::from_bytes([n; 16]), true));
            store.write(&records).unwrap();
        }
        store.write(&[Record::Worker(WorkerId::from_bytes([1; 16]), false)]).unwrap();
    }
    let mut store = DiskStore::open(&path).unwrap();
    assert_eq!(store.load_running().unwrap(), [running(1), running(2)]);
    assert_eq!(store.load_workers().unwrap(), [WorkerId::from_bytes([2; 16])]);
    store.write(&[record(1, JobState::Done).into()]).unwrap();
    assert_eq!(store.load_running().unwrap(), [running(2)]);
    let collected = |n: u8| (id(n), result(n));
    assert_eq!(store.load_collected().unwrap(), [collected(1), collected(2)]);
    store.write(&[Record::ResultForgotten(id(1))]).unwrap();
    assert_eq!(store.load_collected().unwrap(), [collected(2)]);
    store.forget(&[id(2)]).unwrap();
    assert_eq!(store.load_collected().unwrap(), []);
    assert_eq!(store.load_running().unwrap(), []);
    assert!(
        [PUBLISHED, FAILURES, UNCHARGED, BAD, SPLITS, OUTPUTS]
            .iter()
            .all(|table| store.entries(*table).unwrap().is_empty())
    );
}

#[test]
fn job_with_a_path_that_is_no_text_is_recorded() {
    use std::os::unix::ffi::OsStringExt;
    let dir = tempfile::tempdir().unwrap();
    let mut store = DiskStore::open(&dir.path().join("journal.redb")).unwrap();
    let mut failed = record(1, JobState::Failed);
    let file = std::ffi::OsString::from_vec(b"/in/\xff".to_vec()).into();
    failed.status.error =
        Some(Failure::new(Code::UserPanic, "boom").at(RecordPlace { file, offset: 3, excerpt: String::new() }));
    store.write(&[failed.into()]).unwrap();
    assert_eq!(store.load().unwrap().len(), 1);
}

#[test]
fn datasets_outlive_the_process_with_their_last_change() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    let dataset = |name: &str, version| Dataset {
        name: name.into(),
        version,
        framing: windrow_model::Framing::Fixed(100),
        replicas: 2,
        chunks: vec![windrow_model::DatasetChunk { digest: Digest::of(b"c"), length: 300 }],
    };
    let put = |name, version| Record::Dataset(DatasetChange::Put(dataset(name, version)));
    {
        let mut store = DiskStore::open(&path).unwrap();
        assert_eq!(store.load_datasets().unwrap(), []);
        store.write(&[put("a", 1), put("b", 1), put("a", 2)]).unwrap();
        store.write(&[Record::Dataset(DatasetChange::Removed("b".into())), put("c", 7)]).unwrap();
    }
    let mut store = DiskStore::open(&path).unwrap();
    assert_eq!(store.load_datasets().unwrap(), [dataset("a", 2), dataset("c", 7)]);
}

/// Format 1 had the same tables, without those of running jobs.
#[test]
fn older_journal_is_read_and_newer_one_refused_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    let at = |format: u64| {
        let store = DiskStore::open(&path).unwrap();
        let set = |txn: &redb::WriteTransaction| {
            txn.open_table(META)?.insert("format", format)?;
            Ok(())
        };
        store.transaction(set).unwrap();
    };
    DiskStore::open(&path).unwrap().write(&[record(1, JobState::Done).into()]).unwrap();
    at(1);
    assert_eq!(DiskStore::open(&path).unwrap().load().unwrap(), [record(1, JobState::Done)]);
    assert_eq!(DiskStore::open(&path).unwrap().number("format").unwrap(), Some(FORMAT));
    at(FORMAT + 1);
    for _ in 0..2 {
        let error = DiskStore::open(&path).unwrap_err();
        assert!(error.to_string().contains("formats up to"), "{error}");
    }
    assert!(!path.with_extension("damaged").exists(), "it is not damaged");
}

/// The fault: each number that a start reads was a transaction with its syncs.
#[test]
fn start_writes_one_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    DiskStore::open(&path).unwrap().begin_epoch().unwrap();
    let mut store = DiskStore::open(&path).unwrap();
    assert_eq!(store.written.get(), 0, "the tables are there");
    store.begin_epoch().unwrap();
    store.identity().unwrap();
    store.load().unwrap();
    store.load_running().unwrap();
    store.load_collected().unwrap();
    store.load_datasets().unwrap();
    store.load_workers().unwrap();
    assert_eq!(store.written.get(), 1, "the epoch");
}

#[test]
fn file_that_is_no_journal_is_refused_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    let garbage = vec![7u8; 10_000];
    std::fs::write(&path, &garbage).unwrap();
    let error = DiskStore::open(&path).unwrap_err();
    assert_eq!(error.code(), Code::JournalCorrupt, "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), garbage);
}

/// Opens a damaged copy: either everything is there, or it is refused, and refused again.
#[track_caller]
fn all_or_refused(folder: &Path, bytes: &[u8], expected: &[JobRecord], what: &str) -> bool {
    let path = folder.join("journal.redb");
    let _ = std::fs::remove_file(path.with_extension("damaged"));
    std::fs::write(&path, bytes).unwrap();
    match DiskStore::open(&path) {
        Ok(mut store) => {
            assert_eq!(store.load().unwrap(), expected, "{what}");
            true
        }
        Err(error) => {
            assert_eq!(error.code(), Code::JournalCorrupt, "{what}: {error}");
            assert_eq!(DiskStore::open(&path).unwrap_err().code(), Code::JournalCorrupt, "{what}: again");
            false
        }
    }
}

/// A journal as a kill or an orderly end leaves it: every acknowledged record is in it.
fn journal(folder: &Path, killed: bool) -> (Vec<u8>, Vec<JobRecord>) {
    let path = folder.join("whole.redb");
    let mut store = DiskStore::open(&path).unwrap();
    for n in 0..60 {
        store.write(&[record(n, JobState::Planning).into()]).unwrap();
        store.write(&[record(n, JobState::Done).into()]).unwrap();
    }
    let expected = store.load().unwrap();
    if !killed {
        drop(store);
        return (std::fs::read(&path).unwrap(), expected);
    }
    let bytes = std::fs::read(&path).unwrap();
    drop(store);
    (bytes, expected)
}

#[test]
fn journal_cut_anywhere_is_whole_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    for killed in [true, false] {
        let place = dir.path().join(killed.to_string());
        std::fs::create_dir(&place).unwrap();
        let (bytes, expected) = journal(&place, killed);
        assert!(all_or_refused(&place, &bytes, &expected, "untouched"));
        for at in (0..40).map(|i| bytes.len() * i / 40).chain([1, 63, 64, 511, bytes.len() - 1]) {
            all_or_refused(&place, &bytes[..at], &expected, &format!("cut at {at}, killed: {killed}"));
        }
    }
}

#[test]
fn flipped_bit_is_harmless_or_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut refused, mut random) = (0, 0x9E37_79B9_7F4A_7C15u64);
    let flips: usize = std::env::var("WINDROW_JOURNAL_FLIPS").map_or(120, |n| n.parse().expect("a number"));
    for killed in [true, false] {
        let place = dir.path().join(killed.to_string());
        std::fs::create_dir(&place).unwrap();
        let (bytes, expected) = journal(&place, killed);
        // Most of the file is free: half of the flips go to where something is.
        let used: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i] != 0).collect();
        for n in 0..flips {
            random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            let some = (random >> 20) as usize;
            let at = if n % 2 == 0 { used[some % used.len()] } else { some % bytes.len() };
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (random >> 61);
            let what = format!("bit flipped in byte {at}, killed: {killed}");
            refused += usize::from(!all_or_refused(&place, &damaged, &expected, &what));
        }
    }
    assert!(refused > 0, "no flip was noticed");
}

fn dataset(name: &str, chunks: &[u8]) -> Dataset {
    use windrow_model::{DatasetChunk, Framing};
    let chunks = chunks.iter().map(|n| DatasetChunk { digest: Digest([*n; 32]), length: 1 }).collect();
    Dataset { name: name.into(), version: 1, framing: Framing::Whole, replicas: 1, chunks }
}

#[test]
fn cluster_id_epochs_and_deletions_outlive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    let cluster;
    {
        let mut store = DiskStore::open(&path).unwrap();
        store.begin_epoch().unwrap();
        cluster = store.identity().unwrap().cluster;
        let put = |name, chunks| Record::Dataset(DatasetChange::Put(dataset(name, chunks)));
        store
            .write(&[put("a", &[1, 2]), Record::Outputs(JobId::from_bytes([1; 16]), vec![dataset("b", &[3])])])
            .unwrap();
        store.write(&[Record::Dataset(DatasetChange::Removed("a".into()))]).unwrap();
        store.write(&[Record::Dropped(vec![Digest([1; 32]), Digest([2; 32])])]).unwrap();
        // One of them is in a dataset again.
        store.write(&[put("c", &[2])]).unwrap();
    }
    let mut store = DiskStore::open(&path).unwrap();
    assert_eq!(store.begin_epoch().unwrap(), Epoch(2));
    let identity = store.identity().unwrap();
    assert_eq!((identity.cluster, identity.revision), (cluster, 4));
    assert_eq!(identity.dropped, [Digest([1; 32])]);
    let epochs: Vec<_> =
        identity.lineage.0.iter().map(|(epoch, record)| (epoch.0, record.revision, record.restored)).collect();
    assert_eq!(epochs, [(1, 0, false), (2, 4, false)]);
    let nonces: std::collections::BTreeSet<u64> = identity.lineage.0.values().map(|record| record.nonce).collect();
    assert_eq!(nonces.len(), 2);
}

#[test]
fn restored_journal_begins_above_every_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("journal.redb"), dir.path().join("copy.redb"));
    let mut store = DiskStore::open(&path).unwrap();
    store.begin_epoch().unwrap();
    store.write(&[record(1, JobState::Done).into(), Record::Dropped(vec![Digest([1; 32])])]).unwrap();
    store.write(&[Record::Dataset(DatasetChange::Put(dataset("a", &[2])))]).unwrap();
    let cluster = store.identity().unwrap().cluster;
    let mut rows = Vec::new();
    let take = store.snapshot().unwrap();
    // What is written after it is not in it.
    store.write(&[record(2, JobState::Done).into()]).unwrap();
    take(&mut |table, key, value| {
        rows.push((table.to_string(), key.to_vec(), value.to_vec()));
        Ok(())
    })
    .unwrap();
    DiskStore::import(&copy, &rows).unwrap();
    let mut copied = DiskStore::open(&copy).unwrap();
    assert_eq!(copied.load().unwrap(), [record(1, JobState::Done)]);
    let other = copied.mark_restored(5_000_000, Some(ClusterId::from_bytes([9; 16])));
    assert!(other.is_err(), "it is another cluster's");
    copied.mark_restored(5_000_000, Some(cluster)).unwrap();
    assert_eq!(copied.begin_epoch().unwrap(), Epoch(5_000_001));
    let identity = copied.identity().unwrap();
    assert_eq!((identity.cluster, identity.revision, identity.dropped), (cluster, 1, vec![]));
    assert!(identity.lineage.is_restored());
    // A clock that is wrong does no harm.
    copied.mark_restored(7, None).unwrap();
    assert!(copied.begin_epoch().unwrap() > Epoch(5_000_001 + 1_000_000));
    // A worker has seen a later epoch: the next one is above it, and restored, too.
    copied.write(&[Record::RestoreAbove(Epoch(90_000_000))]).unwrap();
    assert_eq!(copied.begin_epoch().unwrap(), Epoch(90_000_001));
    assert!(copied.identity().unwrap().lineage.is_restored());
    assert_eq!(copied.begin_epoch().unwrap(), Epoch(90_000_002));
    assert!(!copied.identity().unwrap().lineage.is_restored());
    // Behind the last number there is none: it does not begin anew at zero, below all that workers have seen.
    copied.write(&[Record::RestoreAbove(Epoch(u64::MAX))]).unwrap();
    assert!(copied.begin_epoch().is_err() && copied.mark_restored(7, None).is_err());
    let unknown = [("table of a later release".to_string(), vec![], vec![])];
    assert!(DiskStore::import(&dir.path().join("no.redb"), &unknown).is_err());
}

#[test]
fn waits_of_orphans_outlive_a_restart_but_no_restore() {
    use windrow_datasets::{OrphanChanges, Wait};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    let digest = |n| Digest([n; 32]);
    let changes =
        |clock_ms, hour, waits| Record::Orphans(Box::new(OrphanChanges { clock_ms, hour, waits, reserves: None }));
    {
        let mut store = DiskStore::open(&path).unwrap();
        store.begin_epoch().unwrap();
        assert_eq!(store.identity().unwrap().orphans, OrphanWaits::default());
        let found = [1, 2, 3].map(|n| (digest(n), Some(Wait::Since(n.into()))));
        store.write(&[changes(50, Some((40, 7)), found.to_vec())]).unwrap();
        store.write(&[changes(60, None, vec![(digest(1), None), (digest(2), Some(Wait::Paused(9)))])]).unwrap();
    }
    let mut store = DiskStore::open(&path).unwrap();
    store.begin_epoch().unwrap();
    let waits = vec![(digest(2), Wait::Paused(9)), (digest(3), Wait::Since(3))];
    assert_eq!(store.identity().unwrap().orphans, OrphanWaits { clock_ms: 60, hour: None, waits });
    // What was an orphan when the copy was made may have been a dataset's since.
    store.mark_restored(7, None).unwrap();
    store.begin_epoch().unwrap();
    assert_eq!(store.identity().unwrap().orphans, OrphanWaits { clock_ms: 60, ..OrphanWaits::default() });
}
