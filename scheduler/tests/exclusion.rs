//! Workers on which tasks fail that succeed elsewhere get no tasks for a while.

mod support;
use support::*;
use windrow_model::*;
use windrow_scheduler::{Config, Event};

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
fn full_disk_excludes_a_worker_until_space_is_free() {
    let mut h = Harness::with(Config { lease_ms: u64::MAX, ..slots_only() });
    h.join(1, 1);
    h.join(2, 1);
    let beat = |h: &mut Harness, n: u8, full: bool| {
        h.step(Event::WorkerBeat { worker: worker_id(n), progress: vec![], lists_all: false, full: Some(full) });
    };
    beat(&mut h, 1, true);
    beat(&mut h, 2, true);
    assert_eq!((state(&h, 1), state(&h, 2)), (WorkerState::Excluded, WorkerState::Live), "the user must see the error");
    let reason = |h: &Harness, n: u8| h.scheduler.workers().into_iter().find(|w| w.id == worker_id(n)).unwrap().reason;
    assert_eq!(reason(&h, 2).as_deref(), Some("its disk is full"), "lists say so all the same");
    beat(&mut h, 2, false);
    assert_eq!(reason(&h, 2), None);
    beat(&mut h, 2, true);
    h.submit(1, map_only(), &[2]);
    assert_eq!(h.running(), ["0/0@2"]);
    // The exclusion lasts as long as the worker reports a full disk.
    for _ in 0..10 {
        h.now = h.now.plus_ms(Config::default().exclusion_ms - 1);
        beat(&mut h, 1, true);
    }
    assert_eq!(h.running(), ["0/0@2"]);
    beat(&mut h, 1, false);
    assert_eq!(h.running(), ["0/0@2", "0/1@1"]);
    // A full worker that is the only one left is better than none.
    beat(&mut h, 1, true);
    assert_eq!(state(&h, 1), WorkerState::Excluded);
    h.leave(2);
    beat(&mut h, 1, true);
    assert_eq!(state(&h, 1), WorkerState::Live);
    // An old release does not report its disk, and a worker excluded for its faults stays excluded whatever it
    // reports.
    let mut h = Harness::with(Config { lease_ms: u64::MAX, ..slots_only() });
    h.join(1, 1);
    h.join(2, 1);
    fail_on_the_first(&mut h, 10);
    beat(&mut h, 1, false);
    assert_eq!(state(&h, 1), WorkerState::Excluded);
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
