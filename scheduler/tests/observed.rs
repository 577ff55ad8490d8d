//! What lists and logs show beside states: reasons, failed attempts, bytes of running tasks.

mod support;
use support::*;
use windrow_model::*;
use windrow_scheduler::{Event, Progress};

fn reason(h: &Harness, n: u8) -> Option<String> {
    h.scheduler.workers().into_iter().find(|w| w.id == worker_id(n)).unwrap().reason
}

#[test]
fn excluded_drained_and_lost_workers_have_a_reason() {
    let mut h = Harness::new();
    (1..=3).for_each(|n| drop(h.join(n, 1)));
    assert_eq!(reason(&h, 1), None);
    let beat = |full| Event::WorkerBeat { worker: worker_id(1), progress: vec![], lists_all: false, full: Some(full) };
    h.step(beat(true));
    assert_eq!(reason(&h, 1).as_deref(), Some("its disk is full"));
    h.step(beat(false));
    assert_eq!(reason(&h, 1), None);
    h.step(Event::WorkerDrains { worker: worker_id(2) });
    assert!(reason(&h, 2).is_some_and(|r| r.contains("drain")));
    h.step(Event::WorkerLeft { worker: worker_id(3) });
    assert_eq!(reason(&h, 3).as_deref(), Some("its session ended"));
    let states: Vec<_> = h.changes.iter().map(|(worker, state, _)| (*worker, *state)).collect();
    use WorkerState::*;
    assert_eq!(states, [(worker_id(1), Excluded), (worker_id(1), Live), (worker_id(3), Lost)]);
}

#[test]
fn failed_attempts_of_a_job_that_succeeds_are_listed() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit_with(1, map_only(), &[1], JobOptions { attempts_max: 100, ..JobOptions::default() });
    h.now = Time(7);
    for _ in 0..FailedAttempt::LISTED_MAX + 1 {
        h.fail(1, 0, 0, Code::UserError);
    }
    h.finish_all();
    let status = &h.ended[&job_id(1)];
    assert_eq!(status.state, JobState::Done);
    let attempts: Vec<u32> = status.failures.iter().map(|f| f.attempt).collect();
    assert_eq!(attempts, (1..=FailedAttempt::LISTED_MAX as u32).collect::<Vec<_>>(), "the latest ones");
    let last = status.failures.last().unwrap();
    assert_eq!((last.worker, last.code, last.charged, last.after_ms), (worker_id(1), Code::UserError, true, 7));
    assert!(last.host.contains("host1") && last.message.contains("it broke"), "{last:?}");
}

#[test]
fn bytes_and_records_of_running_tasks_follow_reports() {
    let mut h = Harness::new();
    h.join(1, 2);
    h.submit(1, map_only(), &[2]);
    let total = h.status(1).stages[0].bytes_total;
    let (worker, first) = h.assigned[0].clone();
    let tell = |h: &mut Harness, permille| {
        let progress =
            vec![Progress { attempt: first.attempt, permille, mark: 0, waits: false, records: u64::from(permille) }];
        h.step(Event::WorkerBeat { worker, progress, lists_all: false, full: None });
        (h.status(1).stages[0].bytes_running, h.status(1).stages[0].bytes_done)
    };
    assert_eq!(tell(&mut h, 0), (0, 0));
    assert_eq!(tell(&mut h, 500), (total / 4, 0));
    assert_eq!(tell(&mut h, 60_000), (total / 2, 0), "no more than its input");
    assert_eq!(h.status(1).stages[0].records, 60_000);
    h.finish(1, 0, 0);
    assert_eq!(h.status(1).stages[0].records, 0, "as the report of the finished attempt says");
    assert_eq!(tell(&mut h, 500), (0, total / 2), "late reports change nothing");
    assert_eq!(h.status(1).stages[0].records, 0);
    h.fail(1, 0, 1, Code::UserError);
    assert_eq!(h.status(1).stages[0].bytes_running, 0);
}
