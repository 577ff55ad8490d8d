//! Attempts on a worker have deadlines that are independent of the worker's reports.

mod support;
use support::*;
use windrow_model::*;
use windrow_scheduler::{Action, Cause, Config, Event, Progress};

const SECOND: u64 = 1_000;

fn beat(h: &mut Harness, n: u8, progress: Vec<Progress>, lists_all: bool) -> Vec<Action> {
    h.step(Event::WorkerBeat { worker: worker_id(n), progress, lists_all, full: None })
}

fn at(task: &Task, permille: u32, mark: u64, waits: bool) -> Progress {
    Progress { attempt: task.attempt, permille, mark, waits, records: 0 }
}

/// A worker beats once a second with the progress of `what`. Returns the first actions that follow.
fn beats(h: &mut Harness, n: u8, seconds: u64, what: impl Fn(u64) -> Vec<Progress>) -> Vec<Action> {
    for s in 0..seconds {
        h.now = h.now.plus_ms(SECOND);
        let actions = beat(h, n, what(s), true);
        if !actions.is_empty() {
            return actions;
        }
    }
    Vec::new()
}

fn with_limits(task: Option<u64>, progress: Option<u64>) -> Harness {
    let mut h = Harness::new();
    h.join(1, 1);
    h.join(2, 1);
    let options = JobOptions {
        task_timeout_ms: task.map(|s| s * SECOND),
        progress_timeout_ms: progress.map(|s| s * SECOND),
        backup_attempts: false,
        ..JobOptions::default()
    };
    h.submit_with(1, map_only(), &[1], options);
    h
}

fn state(h: &Harness, n: u8) -> WorkerState {
    h.scheduler.workers().iter().find(|w| w.id == worker_id(n)).unwrap().state
}

#[test]
fn attempt_that_its_worker_does_not_end_is_given_up() {
    let mut h = with_limits(Some(20), None);
    let (worker, task) = h.assigned[0].clone();
    let actions = beats(&mut h, 1, 100, |s| vec![at(&task, 999, s, false)]);
    assert_eq!(h.now, Time(31 * SECOND), "20 s from the first beat that says it runs, and 10 more");
    assert_eq!(actions[0], Action::Revoke { worker, attempt: task.attempt });
    assert_eq!(assigns(&actions), ["0/0@2"]);
    assert_eq!((state(&h, 1), h.status(1).tasks.failed), (WorkerState::Excluded, 1));
    h.finish_all();
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

#[test]
fn attempt_without_progress_is_given_up_and_no_other() {
    let mut h = with_limits(None, Some(20));
    let task = h.assigned[0].1.clone();
    assert_eq!(beats(&mut h, 1, 500, |s| vec![at(&task, 0, s, false)]), []);
    let actions = beats(&mut h, 1, 500, |_| vec![at(&task, 999, 7, false)]);
    assert_eq!(assigns(&actions), ["0/0@2"]);
    assert_eq!(h.now, Time(531 * SECOND));
    assert_eq!(h.failures.len(), 1);
}

/// The progress that a beat reports for an attempt at some second.
type Lie = fn(&Task, u64) -> Progress;

#[test]
fn lies_about_progress_do_not_keep_an_attempt() {
    let lies: [(&str, Lie); 4] = [
        ("more than all", |task, _| at(task, 5_000, 7, false)),
        ("ever more than all", |task, s| at(task, 1_000 + s as u32, 7, false)),
        ("forwards and back", |task, s| at(task, 500 + 400 * (s % 2) as u32, 7, false)),
        ("backwards", |task, s| at(task, 900 - s as u32, 7, false)),
    ];
    for (name, lie) in lies {
        let mut h = with_limits(None, Some(20));
        let task = h.assigned[0].1.clone();
        let actions = beats(&mut h, 1, 100, |s| vec![lie(&task, s)]);
        assert_eq!(assigns(&actions), ["0/0@2"], "{name}");
        assert!(h.now <= Time(33 * SECOND), "{name}: {:?}", h.now);
    }
}

#[test]
fn progress_of_an_attempt_elsewhere_is_ignored() {
    let mut h = with_limits(None, Some(20));
    let task = h.assigned[0].1.clone();
    for s in 0..60 {
        h.now = h.now.plus_ms(SECOND);
        // Worker 2 reports progress of worker 1's stuck attempt, and of attempts that do not exist.
        let mut other = task.clone();
        other.attempt.number += 7;
        let lies = vec![at(&task, s, u64::from(s), false), at(&other, s, u64::from(s), false)];
        assert_eq!(beat(&mut h, 2, lies, true), []);
        let actions = beat(&mut h, 1, vec![at(&task, 0, 7, false)], true);
        if !actions.is_empty() {
            assert_eq!(assigns(&actions), ["0/0@2"]);
            return;
        }
    }
    panic!("the attempt is kept by the word of another worker");
}

#[test]
fn four_workers_that_do_not_end_their_attempts_fail_the_job() {
    let mut h = with_limits(Some(1), None);
    for _ in 0..4 {
        let (worker, task) = h.assigned.remove(0);
        beats(&mut h, worker.as_bytes()[0], 100, |_| vec![at(&task, 999, 0, false)]);
    }
    let error = h.ended[&job_id(1)].error.clone().unwrap();
    assert_eq!(error.code, Code::TaskTimeout);
    assert!(error.message.contains("its worker did not end it"), "{error}");
}

#[test]
fn worker_without_progress_reports_is_not_trusted() {
    let mut h = with_limits(Some(20), None);
    for _ in 0..29 {
        h.now = h.now.plus_ms(SECOND);
        assert_eq!(beat(&mut h, 1, vec![], false), []);
    }
    h.now = h.now.plus_ms(SECOND);
    assert_eq!(assigns(&beat(&mut h, 1, vec![], false)), ["0/0@2"]);
}

#[test]
fn attempt_that_waits_for_its_inputs_does_not_run_yet() {
    let mut h = with_limits(Some(5), Some(5));
    let task = h.assigned[0].1.clone();
    assert_eq!(beats(&mut h, 1, 600, |_| vec![at(&task, 0, 0, true)]), []);
    let actions = beats(&mut h, 1, 4_000, |_| vec![at(&task, 0, 0, true)]);
    assert_eq!(h.now, Time(Config::default().begin_ms), "but not for ever");
    assert_eq!(assigns(&actions), ["0/0@1"], "the task is not charged, and may go anywhere");
    assert_eq!(
        (h.status(1).tasks.failed, h.uncharged[&task.attempt.task].counts.clone()),
        (0, vec![(Cause::NotBegun, 1)])
    );
}

#[test]
fn assignment_that_does_not_arrive_is_sent_again() {
    let mut h = with_limits(None, None);
    let (worker, task) = h.assigned[0].clone();
    let actions = beats(&mut h, 1, 100, |_| vec![]);
    assert_eq!(h.now, Time(Config::default().delivery_ms));
    assert_eq!(actions[0], Action::Revoke { worker, attempt: task.attempt });
    assert_eq!(
        (assigns(&actions).len(), h.uncharged[&task.attempt.task].counts.clone()),
        (1, vec![(Cause::Undelivered, 1)])
    );
    // One late beat of a coordinator that slept proves nothing.
    let task = h.assigned[0].1.clone();
    h.now = h.now.plus_ms(3_600 * SECOND);
    assert_eq!(beat(&mut h, 1, vec![], true), []);
    assert_eq!(beat(&mut h, 1, vec![at(&task, 0, 0, false)], true), []);
}

#[test]
fn grant_that_is_not_answered_is_given_up() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, map_reduce(1), &[1]);
    h.finish(1, 0, 0);
    let (worker, task) = h.take(1, 1, 0);
    h.done(worker, &task);
    let actions = beats(&mut h, 1, 5_000, |_| vec![]);
    assert_eq!(h.now, Time(Config::default().publish_ms));
    assert_eq!(actions[0], Action::Revoke { worker, attempt: task.attempt });
    assert_eq!((assigns(&actions), h.status(1).tasks.failed), (vec!["1/0@1".into()], 1));
}
