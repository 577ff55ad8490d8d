//! The JSON of every view, compared with golden files.

use super::tests::status;
use super::{job_json, view_json};
use serde_json::Value;
use windrow_model::view::*;
use windrow_model::*;

/// A job of which every list and option has a value.
fn full_status() -> JobStatus {
    let mut job = status(61_500, 3);
    job.state = JobState::Failed;
    job.backups = 2;
    job.counters.add(counters::names::RECORDS_READ, u64::MAX);
    job.counters.add("a \"quoted\" name", 1);
    job.waiting = Some("no worker has room".into());
    let mut error = Failure::new(Code::UserError, "line\none \u{1b}[31m").at(RecordPlace {
        file: <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"/in/bad\xff\\x41").into(),
        offset: 4096,
        excerpt: "a,b".into(),
    });
    error.stderr_tail = "note: x\n".into();
    job.error = Some(error);
    job.submitted_unix_ms = 1_790_000_000_000;
    job.failures.push(FailedAttempt {
        stage: StageId(1),
        task: 4,
        attempt: 2,
        worker: WorkerId(uuid::Uuid::from_u128(5)),
        host: "node-5".into(),
        code: Code::WorkerLost,
        message: "its lease ran out".into(),
        charged: false,
        after_ms: 900,
    });
    job.left_out.push(LeftOut {
        worker: WorkerId(uuid::Uuid::from_u128(6)),
        host: "node-6".into(),
        code: Code::InputNotShared,
        message: "/in is not there".into(),
    });
    job
}

fn full_workers() -> Vec<WorkerStatus> {
    use WorkerState::{Draining, Excluded, Live, Lost};
    let worker = |(n, state)| WorkerStatus {
        id: WorkerId(uuid::Uuid::from_u128(n)),
        address: format!("http://127.0.0.{n}:4711"),
        host: format!("node-{n}"),
        state,
        slots: 4,
        running: n as u32,
        memory_bytes: 8 << 30,
        version: "0.1.0".into(),
        reason: (state != Live).then(|| "tasks failed on it".into()),
    };
    [(1, Live), (2, Excluded), (3, Draining), (4, Lost)].map(worker).to_vec()
}

fn worker(n: u128) -> WorkerId {
    WorkerId(uuid::Uuid::from_u128(n))
}

fn attempt(number: u32) -> AttemptId {
    AttemptId {
        task: TaskId { job: JobId(uuid::Uuid::from_u128(7)), stage: StageId(1), index: 4 },
        number,
        epoch: Epoch(1),
        incarnation: Incarnation(2),
    }
}

fn full_orphans() -> Orphans {
    let chunk = |n: u8, holders, trashed| Orphan {
        digest: Digest([n; 32]),
        length: 700,
        holders,
        trashed,
        for_ms: 3_600_000,
        kept_ms: 7_200_000,
    };
    Orphans {
        chunks: vec![chunk(1, vec![worker(1), worker(2)], Vec::new()), chunk(2, Vec::new(), vec![worker(1)])],
        left_off: 9,
        unjoined: vec![UnjoinedWorker { worker: worker(3), host: "node-3".into(), chunks: 12 }],
    }
}

fn scrub(n: u128) -> ScrubStatus {
    ScrubStatus {
        worker: worker(n),
        bytes_done: 700,
        bytes_total: u64::MAX,
        passes: 2,
        last_unix_ms: 1_790_000_000_000,
        damaged: 1,
        gone: 0,
    }
}

/// A dataset with a chunk or without one, and the least number of copies of it.
fn dataset(chunks: u64, copies_min: u32) -> DatasetStatus {
    DatasetStatus {
        name: "logs".into(),
        version: 3,
        framing: Framing::Fixed(100),
        bytes: 700,
        chunks,
        replicas: 2,
        copies_min,
    }
}

/// One of each result of a command.
fn results() -> Vec<Value> {
    let failure = Failure::new(Code::OutputExists, "it exists");
    vec![
        view_json(&ErrorView { error: (&failure).into() }),
        view_json(&SubmittedView::from(JobId(uuid::Uuid::from_u128(7)))),
        view_json(&ExplainedView { explain: "stage 0: lines \u{2192} map\n" }),
        view_json(&PutView { name: "logs", version: 3, chunks: 7, bytes: 700, replicas: 2 }),
        view_json(&BackupView { folder: path_text(std::path::Path::new("/backup")), journal_bytes: 4096 }),
        view_json(&RestoredView { datasets: 2, jobs: 5, running: 1 }),
        view_json(&NewCrateView { name: "words", next: &["cd words".into(), "cargo test".into()] }),
    ]
}

/// Scripts compare output byte by byte, so the files change only where a field is added.
#[test]
fn json_equals_its_golden_files() {
    fn list<V: serde::Serialize>(views: impl IntoIterator<Item = V>) -> Value {
        view_json(&views.into_iter().collect::<Vec<_>>())
    }
    let written = b"a \"line\"\nbad \xff\n";
    let logs = [LogView::new(attempt(1), Some(worker(1)), written), LogView::new(attempt(2), None, b"")];
    let datasets = [dataset(0, 0), dataset(7, 0), dataset(7, 1), dataset(7, 2)];
    let values = [
        ("job.json", job_json(&full_status()), include_str!("golden/job.json")),
        ("job_running.json", job_json(&status(5, 3)), include_str!("golden/job_running.json")),
        ("workers.json", list(full_workers().iter().map(WorkerView::from)), include_str!("golden/workers.json")),
        ("datasets.json", list(datasets.iter().map(DatasetView::from)), include_str!("golden/datasets.json")),
        ("orphans.json", view_json(&OrphansView::from(&full_orphans())), include_str!("golden/orphans.json")),
        ("scrubs.json", list([scrub(1), scrub(2)].iter().map(ScrubView::from)), include_str!("golden/scrubs.json")),
        ("logs.json", list(logs), include_str!("golden/logs.json")),
        ("results.json", list(results()), include_str!("golden/results.json")),
    ];
    for (name, value, golden) in values {
        let text = format!("{value:#}\n");
        if std::env::var_os("WINDROW_GENERATE").is_some() {
            std::fs::write(format!("{}/src/report/golden/{name}", env!("CARGO_MANIFEST_DIR")), text).unwrap();
        } else {
            assert_eq!(text, golden, "{name}");
        }
    }
}
