use super::*;
use std::sync::{Arc, Mutex};
use windrow_model::{Code, Counters, Failure, RecordPlace, StageStatus, TaskTotals};

fn status(elapsed_ms: u64, done: u64) -> JobStatus {
    let tasks = TaskTotals { total: 10, done, running: 10 - done, failed: 0 };
    JobStatus {
        id: "job-00000000000000000000000000000007".parse().unwrap(),
        name: "words".into(),
        state: if done == 10 { JobState::Done } else { JobState::Running },
        stages: vec![StageStatus {
            label: "lines → map".into(),
            tasks,
            bytes_done: done << 20,
            bytes_total: 10 << 20,
            bytes_running: 0,
        }],
        tasks,
        attempts: 10,
        backups: 0,
        counters: Counters::default(),
        error: None,
        waiting: None,
        outputs: vec!["/data/out".into()],
        submitted_unix_ms: 0,
        elapsed_ms,
        failures: Vec::new(),
        left_out: Vec::new(),
    }
}

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);
impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn shown(progress: Progress, statuses: &[JobStatus]) -> String {
    let page = Page::default();
    let mut report = Report::to(Style { progress, json: false }, Box::new(page.clone()));
    for status in statuses {
        report.update(status);
    }
    report.finish(statuses.last().unwrap()).unwrap();
    String::from_utf8(page.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn id_comes_first_and_lines_at_most_once_a_second() {
    let mut statuses: Vec<_> = (0..40).map(|i| status(i * 100, i / 5)).collect();
    let mut done = status(4_000, 10);
    done.counters.add(windrow_model::counters::names::RECORDS_READ, 1_234_567);
    done.counters.add("bad lines", 3);
    statuses.push(done);
    let text = shown(Progress::Lines, &statuses);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "job job-00000000000000000000000000000007",
            "running; stage 0 (lines → map): 0/10 tasks, 10 running",
            "running; stage 0 (lines → map): 2/10 tasks, 8 running, 2 MiB/s, 4.0 s left",
            "running; stage 0 (lines → map): 4/10 tasks, 6 running, 2 MiB/s, 3.0 s left",
            "running; stage 0 (lines → map): 6/10 tasks, 4 running, 2 MiB/s, 2.0 s left",
            "done in 4.0 s, 10 tasks, 1,234,567 records (0 B) read",
            "  bad lines: 3",
            "  output: /data/out",
        ]
    );
}

#[test]
fn failure_names_its_cause_record_and_next_step() {
    let mut failed = status(1_500, 3);
    failed.state = JobState::Failed;
    let mut error = Failure::new(Code::UserPanic, "stage 0, task 4: index out of bounds").at(RecordPlace {
        file: "/data/in.txt".into(),
        offset: 4096,
        excerpt: "a,b,c".into(),
    });
    error.stderr_tail = "thread main panicked\nnote: x\n".into();
    failed.error = Some(error);
    let text = shown(Progress::Quiet, &[failed]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "failed after 1.5 s, 3 tasks",
            "error USER_PANIC: stage 0, task 4: index out of bounds",
            "  record at /data/in.txt:4096: a,b,c",
            "  last lines of its stderr:",
            "    | thread main panicked",
            "    | note: x",
            "  hint: the panic comes from the job's own code: look there, and at the record if one is named",
        ]
    );
}

#[test]
fn quiet_report_prints_nothing_on_success() {
    assert_eq!(shown(Progress::Quiet, &[status(10, 10)]), "");
}

#[test]
fn job_json_has_the_fields_that_scripts_read() {
    let mut job = status(5, 3);
    job.error = Some(Failure::new(Code::OutputExists, "it exists"));
    let value = job_json(&job);
    for field in ["id", "name", "state", "stages", "tasks", "attempts", "backups", "error"] {
        assert!(value.get(field).is_some(), "{field}");
    }
    assert_eq!(value["tasks"], serde_json::json!({"total": 10, "done": 3, "running": 7, "failed": 0}));
    assert_eq!(value["error"]["code"], "OUTPUT_EXISTS");
    assert_eq!(value["error"]["message"], "it exists");
    assert_eq!(value["state"], "running");
    assert!(job_json(&status(5, 10))["error"].is_null());
}

/// A job of which every list and option has a value.
fn full_status() -> JobStatus {
    let mut job = status(61_500, 3);
    job.state = JobState::Failed;
    job.backups = 2;
    job.counters.add(windrow_model::counters::names::RECORDS_READ, u64::MAX);
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
    job.failures.push(windrow_model::FailedAttempt {
        stage: windrow_model::StageId(1),
        task: 4,
        attempt: 2,
        worker: windrow_model::WorkerId(uuid::Uuid::from_u128(5)),
        host: "node-5".into(),
        code: Code::WorkerLost,
        message: "its lease ran out".into(),
        charged: false,
        after_ms: 900,
    });
    job.left_out.push(windrow_model::LeftOut {
        worker: windrow_model::WorkerId(uuid::Uuid::from_u128(6)),
        host: "node-6".into(),
        code: Code::InputNotShared,
        message: "/in is not there".into(),
    });
    job
}

fn full_workers() -> Vec<windrow_model::WorkerStatus> {
    use windrow_model::WorkerState::{Draining, Excluded, Live, Lost};
    let worker = |(n, state)| windrow_model::WorkerStatus {
        id: windrow_model::WorkerId(uuid::Uuid::from_u128(n)),
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

/// Scripts compare output byte by byte, so the files change only where a field is added.
#[test]
fn json_equals_its_golden_files() {
    let workers: Vec<_> = full_workers().iter().map(worker_json).collect();
    let values = [
        ("job.json", job_json(&full_status()), include_str!("golden/job.json")),
        ("job_running.json", job_json(&status(5, 3)), include_str!("golden/job_running.json")),
        ("workers.json", serde_json::Value::from(workers), include_str!("golden/workers.json")),
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

#[test]
fn times_and_numbers_are_readable() {
    for (ms, text) in
        [(0, "0 ms"), (999, "999 ms"), (1_049, "1.0 s"), (200_000, "3 min 20 s"), (7_500_000, "2 h 5 min")]
    {
        assert_eq!(seconds(ms), text);
    }
    assert_eq!(number(7), "7");
    assert_eq!(number(1_000), "1,000");
}
