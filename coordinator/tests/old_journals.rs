//! A journal of each format, as a release wrote it, opens in this one. The files are kept as text: a line with offset and content for
//! each 64 bytes that are not all zero, and their length at the end.

#![allow(clippy::disallowed_methods, reason = "tests read the files that they made")]

use std::path::{Path, PathBuf};
use windrow_coordinator::{DatasetChange, DiskStore, JobRecord, JobStore, KeptResult, PublishedTask, Record};
use windrow_model::*;
use windrow_scheduler::{CollectedBlob, RestoredSplit, RestoredTask, StageChunks};

const PIECE: usize = 64;

fn fixture(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/journal-{format}.txt"))
}

fn unpack(text: &str, to: &Path) {
    let mut bytes = Vec::new();
    for line in text.lines() {
        let (at, hex) = line.split_once(' ').unwrap_or((line, ""));
        let at: usize = at.parse().unwrap();
        bytes.resize(at, 0);
        bytes.extend((0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()));
    }
    std::fs::write(to, bytes).unwrap();
}

fn pack(bytes: &[u8]) -> String {
    let pieces = bytes.chunks(PIECE).enumerate().filter(|(_, piece)| piece.iter().any(|b| *b != 0));
    let hex = |piece: &[u8]| piece.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let lines: String = pieces.map(|(i, piece)| format!("{} {}\n", i * PIECE, hex(piece))).collect();
    format!("{lines}{}\n", bytes.len())
}

fn record(n: u8, state: JobState, error: Option<Failure>) -> JobRecord {
    let status = JobStatus {
        id: JobId::from_bytes([n; 16]),
        name: format!("job {n}"),
        state,
        stages: vec![],
        tasks: TaskTotals { total: 3, done: 2, ..Default::default() },
        attempts: 4,
        backups: 0,
        counters: Counters::default(),
        error,
        waiting: None,
        outputs: vec![format!("/data/out-{n}")],
        submitted_unix_ms: 1_700_000_000_000,
        elapsed_ms: 2,
        failures: Vec::new(),
        left_out: Vec::new(),
    };
    JobRecord { status, program: "P".into(), binary: Digest::of(b"b"), spec: None, collects: None }
}

fn records() -> [JobRecord; 3] {
    let place = RecordPlace { file: "/data/in".into(), offset: 9, excerpt: "bad".into() };
    let failure = Failure::new(Code::UserPanic, "panicked: no").at(place);
    let planning = record(3, JobState::Planning, None);
    [record(1, JobState::Done, None), record(2, JobState::Failed, Some(failure)), planning]
}

fn dataset() -> Dataset {
    let chunks = vec![DatasetChunk { digest: Digest::of(b"c"), length: 300 }];
    Dataset { name: "books".into(), version: 2, framing: Framing::Fixed(100), replicas: 2, chunks }
}

fn spec() -> JobSpec {
    let source = SourceSpec {
        inputs: vec!["/data/in".into()],
        framing: Framing::Delimiter(b'\n'),
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
    let plan = Plan { stages: vec![stage], sinks: vec![], collects, sides: vec![], fingerprint: Digest::of(b"f") };
    JobSpec {
        id: JobId::from_bytes([3; 16]),
        name: "job 3".into(),
        program: "P".into(),
        params: "{}".into(),
        plan,
        binary: Digest::of(b"b"),
        options: Default::default(),
    }
}

fn split() -> RestoredSplit {
    let chunks = vec![Chunk { part: 4, ..Default::default() }];
    let stages = vec![StageChunks { stage: StageId(0), chunks }];
    RestoredSplit { epoch: Epoch(7), input_bytes: 11, auto_partitions: 1, stages }
}

fn published() -> PublishedTask {
    let task = TaskId { job: JobId::from_bytes([3; 16]), stage: StageId(0), index: 0 };
    let attempt = AttemptId { task, number: 3, epoch: Epoch(1), incarnation: Incarnation(2) };
    let report = TaskReport { run_ms: 8, ..TaskReport::default() };
    let task = RestoredTask { worker: WorkerId::from_bytes([5; 16]), attempt, report };
    PublishedTask { task, chunks: vec![], receipts: vec![] }
}

/// Rows of this format that were written first do not say when their job ended.
fn result() -> KeptResult {
    let collected = vec![("c".to_string(), vec![CollectedBlob::Inline(vec![7])])];
    KeptResult { collected, ended_unix_ms: 0, fetched: false }
}

/// Writes the file of the present format, for a change that raises the number. Files of older formats are not changed.
#[test]
#[ignore = "makes a file that is kept"]
fn make_the_file_of_this_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    let mut store = DiskStore::open(&path).unwrap();
    store.begin_epoch().unwrap();
    let mut all: Vec<Record> = records().map(Record::from).to_vec();
    all.push(Record::Dataset(DatasetChange::Put(dataset())));
    all.push(Record::Spec(Box::new(spec())));
    all.push(Record::Split(spec().id, Box::new(split())));
    all.push(Record::Published(Box::new(published())));
    all.push(Record::Collected(JobId::from_bytes([1; 16]), Box::new(result())));
    all.push(Record::Worker(WorkerId::from_bytes([5; 16]), true));
    store.write(&all).unwrap();
    store.begin_epoch().unwrap();
    drop(store);
    std::fs::write(fixture(2), pack(&std::fs::read(&path).unwrap())).unwrap();
}

#[test]
fn journals_of_every_format_open_with_all_that_is_in_them() {
    for format in [1, 2] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.redb");
        unpack(&std::fs::read_to_string(fixture(format)).unwrap(), &path);
        // Twice: the first time may bring it to the present format.
        for epoch in [3, 4] {
            let mut store = DiskStore::open(&path).unwrap_or_else(|e| panic!("format {format}: {e}"));
            assert_eq!(store.begin_epoch().unwrap(), Epoch(epoch), "format {format}");
            assert_eq!(store.load().unwrap(), records(), "format {format}");
            assert_eq!(store.load_datasets().unwrap(), [dataset()], "format {format}");
            let running = store.load_running().unwrap();
            if format == 1 {
                assert!(running.is_empty() && store.load_collected().unwrap().is_empty());
                continue;
            }
            assert_eq!(running.len(), 1);
            assert_eq!((&*running[0].spec, &running[0].split), (&spec(), &Some(split())));
            assert_eq!(running[0].published, [published()]);
            let collected = (JobId::from_bytes([1; 16]), result());
            assert_eq!(store.load_collected().unwrap(), [collected]);
            assert_eq!(store.load_workers().unwrap(), [WorkerId::from_bytes([5; 16])]);
        }
    }
}
