//! Workers on which tasks fail that succeed elsewhere get no tasks for a while.

mod support;
use support::*;
use windrow_model::*;
use windrow_scheduler::{Cause, Config, Event};

fn state(h: &Harness, n: u8) -> WorkerState {
    h.scheduler.workers().iter().find(|w| w.id == worker_id(n)).unwrap().state
}

/// Tasks fail on worker 1 and succeed elsewhere until this number is reached; one slot each, two workers.
fn fail_on_the_first(h: &mut Harness, tasks: u32) {
    h.submit(1, map_only(), &[tasks]);
    for _ in 0..tasks * 3 {
        let Some((worker, task)) = h.assigned.first().cloned() else { return };
        h.assigned.remove(0);
        if worker == worker_id(1) {
            let failure = failure(Code::IoError);
            h.step(Event::AttemptFailed { worker, attempt: task.attempt, failure });
        } else {
            h.done(worker, &task);
        }
    }
}

#[test]
fn worker_failing_tasks_that_succeed_elsewhere_is_excluded() {
    let mut h = Harness::with(Config { lease_ms: u64::MAX, ..slots_only() });
    h.join(1, 1);
    h.join(2, 1);
    fail_on_the_first(&mut h, 10);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
    assert_eq!((state(&h, 1), state(&h, 2)), (WorkerState::Excluded, WorkerState::Live));
    h.submit(2, map_only(), &[2]);
    assert_eq!(h.running(), ["0/0@2"], "it gets nothing");
    let before = h.now;
    h.tick();
    assert_eq!(h.now.since_ms(before), Config::default().exclusion_ms);
    assert_eq!(state(&h, 1), WorkerState::Live);
    assert_eq!(h.running(), ["0/0@2", "0/1@1"]);
}

#[test]
fn worker_at_a_limit_of_its_system_is_excluded() {
    let mut h = Harness::with(Config { lease_ms: u64::MAX, ..slots_only() });
    h.join(1, 1);
    h.join(2, 1);
    h.submit(1, map_only(), &[2]);
    h.fail(1, 0, 0, Code::ResourceLimit);
    assert_eq!((state(&h, 1), state(&h, 2)), (WorkerState::Excluded, WorkerState::Live));
    let reason = h.changes.last().unwrap().2.clone().unwrap();
    assert!(reason.contains("limit of its system"), "{reason}");
    h.finish_all();
    let status = &h.ended[&job_id(1)];
    assert_eq!((status.state, status.tasks.failed), (JobState::Done, 0));
}

#[test]
fn only_worker_at_a_limit_is_tried_again_within_a_bound() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, map_only(), &[1]);
    let mut tries = 0;
    while h.ended.is_empty() {
        if h.assigned.is_empty() {
            h.tick();
            continue;
        }
        assert_eq!(state(&h, 1), WorkerState::Live, "it is the only one");
        h.fail(1, 0, 0, Code::ResourceLimit);
        tries += 1;
    }
    assert_eq!(tries, Cause::ResourceLimit.most());
    assert!(h.now > Time(20_000), "the tries are spread over some time: {:?}", h.now);
    let status = &h.ended[&job_id(1)];
    assert_eq!(status.tasks.failed, 0, "no attempt is charged");
    let error = status.error.clone().unwrap();
    assert!(error.code == Code::ResourceLimit && error.message.contains("without a charge"), "{error}");
}

#[test]
fn late_report_of_a_limit_excludes_no_worker() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.join(2, 1);
    h.submit(1, map_only(), &[1]);
    let (worker, task) = h.take(1, 0, 0);
    h.done(worker, &task);
    h.step(Event::AttemptFailed { worker, attempt: task.attempt, failure: failure(Code::ResourceLimit) });
    assert_eq!(state(&h, 1), WorkerState::Live);
}

#[test]
fn task_failing_everywhere_excludes_no_worker() {
    let mut h = Harness::new();
    (1..=3).for_each(|n| drop(h.join(n, 1)));
    for job in 1..=6 {
        h.submit(job, map_only(), &[1]);
        for _ in 0..4 {
            h.fail(job, 0, 0, Code::ExecutorCrashed);
        }
        assert_eq!(h.ended[&job_id(job)].state, JobState::Failed);
    }
    assert!((1..=3).all(|n| state(&h, n) == WorkerState::Live));
}

#[test]
fn last_worker_is_never_excluded() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.join(2, 1);
    fail_on_the_first(&mut h, 10);
    assert_eq!(state(&h, 1), WorkerState::Excluded);
    h.leave(2);
    assert_eq!(state(&h, 1), WorkerState::Live, "better than none");
    h.submit(2, map_only(), &[1]);
    assert_eq!(h.running(), ["0/0@1"]);
}
