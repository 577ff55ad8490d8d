use super::*;
use std::sync::{Arc, Mutex};
use windrow_model::{Code, Counters, Failure, RecordPlace, StageStatus, TaskTotals};

pub(super) fn status(elapsed_ms: u64, done: u64) -> JobStatus {
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
            records: 0,
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
            "running; stage 0 (lines → map): 0/10 tasks, 10 running, 0 %",
            "running; stage 0 (lines → map): 2/10 tasks, 8 running, 20 %, 2 MiB/s, 4.0 s left",
            "running; stage 0 (lines → map): 4/10 tasks, 6 running, 40 %, 2 MiB/s, 3.0 s left",
            "running; stage 0 (lines → map): 6/10 tasks, 4 running, 60 %, 2 MiB/s, 2.0 s left",
            "done in 4.0 s, 10 tasks, 1,234,567 records (0 B) read",
            "  bad lines: 3",
            "  output: /data/out",
        ]
    );
}

/// The next status may come in an hour.
#[test]
fn job_that_waits_at_once_is_shown_as_it_is() {
    let waits = |ms, state| {
        let status = status(ms, 0);
        let waiting = Some("no worker takes new tasks: the disk of a is full".to_string());
        JobStatus { state, waiting, stages: Vec::new(), ..status }
    };
    let [mut planning, running] =
        [(0, JobState::Planning), (50, JobState::Running)].map(|(ms, state)| waits(ms, state));
    planning.waiting = None;
    let text = shown(Progress::Lines, &[planning, running.clone(), JobStatus { elapsed_ms: 60, ..running }]);
    let lines: Vec<_> = text.lines().skip(1).take(2).collect();
    assert_eq!(lines, ["planning", "running; no worker takes new tasks: the disk of a is full"]);
}

#[test]
fn bytes_and_records_of_running_tasks_count() {
    let at = |elapsed_ms, bytes_running, records| {
        let mut status = status(elapsed_ms, 1);
        (status.stages[0].bytes_running, status.stages[0].records) = (bytes_running, records);
        status
    };
    let statuses = [at(0, 0, 100), at(2_000, 2 << 20, 109), at(4_000, 4 << 20, 50_100), at(6_000, 90 << 20, 200_100)];
    let text = shown(Progress::Lines, &statuses);
    let lines: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("running; stage 0 (lines → map): 1/10 ")).collect();
    let expected = [
        "tasks, 9 running, 10 %",
        // One task of ten is done, and the others have read two tenths.
        "tasks, 9 running, 30 %, 1 MiB/s, 4.5 records/s, 7.0 s left",
        "tasks, 9 running, 50 %, 1 MiB/s, 5.0 s left",
        "tasks, 9 running, 99 %, 15 MiB/s",
    ];
    assert_eq!(lines, expected);
    // Bars are drawn by the same share.
    let text = shown(Progress::Bars, &statuses[2..3]);
    assert!(text.contains(&format!("[{}>{}] 1/10 tasks", "=".repeat(10), " ".repeat(9))), "{text}");
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
