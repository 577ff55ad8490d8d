//! Slow tasks at a stage's end get a second attempt: when, where, and what becomes of the two.

mod support;
use support::*;
use windrow_model::*;
use windrow_scheduler::{Action, Event, Progress};

fn revoke(worker: WorkerId, task: &Task) -> Action {
    Action::Revoke { worker, attempt: task.attempt }
}

/// Advances time until an attempt is assigned, for ten seconds at most.
fn wait(h: &mut Harness) -> Vec<String> {
    let until = h.now.plus_ms(10_000);
    while h.scheduler.next_deadline().is_some_and(|at| at <= until) {
        let assigned = assigns(&h.tick());
        if !assigned.is_empty() {
            return assigned;
        }
    }
    Vec::new()
}

/// A stage with two tasks: the first took a second, on worker 1; the other one still runs on worker 2.
fn one_is_slow(plan: Plan, options: JobOptions) -> Harness {
    one_is_slow_in(Harness::new(), plan, options)
}

fn one_is_slow_in(mut h: Harness, plan: Plan, options: JobOptions) -> Harness {
    h.join(1, 1);
    h.join(2, 1);
    h.submit_with(1, plan, &[2], options);
    assert_eq!(h.running(), ["0/0@1", "0/1@2"]);
    h.now = Time(1_000);
    h.finish(1, 0, 0);
    h
}

/// The same, and it has got its backup: the slow attempt with its worker, and the other one.
fn backed_up(plan: Plan) -> (Harness, [(WorkerId, Task); 2]) {
    let mut h = one_is_slow(plan, JobOptions::default());
    assert_eq!(wait(&mut h), ["0/1@1"]);
    let two = [h.take(1, 0, 1), h.take(1, 0, 1)];
    (h, two)
}

#[test]
fn slow_task_gets_a_backup_and_the_first_to_end_wins() {
    let (mut h, [(slow_on, slow), (fast_on, fast)]) = backed_up(map_reduce(1));
    assert_eq!(h.now, Time(2_000), "not before it has taken much longer than the other one");
    assert_eq!((slow.attempt.number, fast.attempt.number), (0, 1));
    let actions = h.done(fast_on, &fast);
    assert_eq!(actions[0], revoke(slow_on, &slow));
    assert_eq!(assigns(&actions).len(), 1, "the reduce begins");
    let (_, reduce) = h.take(1, 1, 0);
    assert_eq!(h.reads(&reduce)[1].attempt, fast.attempt);
    let status = h.status(1);
    assert_eq!((status.attempts, status.backups, status.tasks.failed), (4, 1, 0));
}

/// The fault: the attempt was assigned and lost in one step, and counted as one that died with its worker.
#[test]
fn worker_whose_lease_is_over_gets_no_backup() {
    let leases = Harness::with(windrow_scheduler::Config { lease_ms: 10_000, ..slots_only() });
    let mut h = one_is_slow_in(leases, map_reduce(1), JobOptions::default());
    // There is no step until the lease of worker 1 is over; then worker 2 is heard.
    h.now = Time(11_000);
    let beat = Event::WorkerBeat { worker: worker_id(2), progress: Vec::new(), lists_all: false, full: None };
    let actions = h.step(beat);
    assert!(h.scheduler.worker_address(worker_id(1)).is_none() && h.scheduler.worker_address(worker_id(2)).is_some());
    assert_eq!((assigns(&actions), h.status(1).backups), (Vec::new(), 0));
}

#[test]
fn of_two_simultaneous_results_one_wins() {
    for backup_first in [false, true] {
        let (mut h, mut two) = backed_up(map_reduce(1));
        if backup_first {
            two.reverse();
        }
        let [(winner_on, winner), (loser_on, loser)] = two;
        assert!(h.done(winner_on, &winner).contains(&revoke(loser_on, &loser)));
        assert_eq!(h.done(loser_on, &loser), [revoke(loser_on, &loser)], "its files go");
        assert_eq!(h.done(winner_on, &winner), [], "said twice");
        assert_eq!(h.status(1).counters.get("tasks"), 2);
        h.finish_all();
        h.commit(1);
        assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
    }
}

#[test]
fn first_granted_attempt_publishes() {
    let plan = plan(vec![
        stage("map", vec![source()], vec![edge(2)]),
        stage("reduce", vec![edge_from(&[(0, 0)])], vec![sink(0)]),
    ]);
    let mut h = Harness::new();
    h.join(1, 1);
    h.join(2, 1);
    h.submit(1, plan, &[1]);
    h.finish(1, 0, 0);
    h.now = Time(1_000);
    h.finish(1, 1, 0);
    assert_eq!(wait(&mut h).len(), 1);
    let [(slow_on, slow), (fast_on, fast)] = [h.take(1, 1, 1), h.take(1, 1, 1)];
    let granted = Action::Grant { worker: fast_on, attempt: fast.attempt };
    assert_eq!(h.done(fast_on, &fast), [revoke(slow_on, &slow), granted]);
    assert_eq!(h.done(slow_on, &slow), [revoke(slow_on, &slow)]);
    let commit = h.step(Event::Published { worker: fast_on, attempt: fast.attempt });
    let Action::CommitJob { parts, .. } = &commit[0] else { panic!("{commit:?}") };
    assert_eq!(parts[1].attempt, fast.attempt);
}

#[test]
fn backup_needs_slow_progress_not_long_time() {
    let mut h = one_is_slow(map_reduce(1), JobOptions::default());
    let (worker, task) = h.take(1, 0, 1);
    let progress = |permille| vec![Progress { attempt: task.attempt, permille, mark: 0, waits: false, records: 0 }];
    // Old, but nearly done.
    h.now = Time(9_000);
    h.step(Event::WorkerBeat { worker, progress: progress(950), lists_all: false, full: None });
    assert_eq!(assigns(&h.tick()), [""; 0]);
    // It makes no progress.
    h.now = Time(60_000);
    assert_eq!(
        assigns(&h.step(Event::WorkerBeat { worker, progress: progress(950), lists_all: false, full: None })),
        ["0/1@1"]
    );
}

#[test]
fn backup_needs_a_free_worker_and_no_waiting_task() {
    let mut h = Harness::new();
    h.join(1, 2);
    h.submit(1, map_reduce(1), &[2]);
    h.now = Time(1_000);
    h.finish(1, 0, 0);
    assert_eq!(wait(&mut h), [""; 0], "only its own worker is free");
    h.join(2, 1);
    h.submit(2, map_only(), &[3]);
    assert_eq!(wait(&mut h), [""; 0], "slots are for those that wait");
    h.step(Event::Cancelled { job: job_id(2) });
    assert_eq!(wait(&mut h), ["0/1@2"]);
}

#[test]
fn backups_can_be_disabled_by_job_and_stage() {
    let off = JobOptions { backup_attempts: false, ..JobOptions::default() };
    assert_eq!(wait(&mut one_is_slow(map_reduce(1), off)), [""; 0]);
    let mut random = map_reduce(1);
    random.stages[0].deterministic = false;
    assert_eq!(wait(&mut one_is_slow(random, JobOptions::default())), [""; 0]);
    let one_slot = JobOptions { slots_max: Some(1), ..JobOptions::default() };
    let mut h = Harness::new();
    h.join(1, 1);
    h.join(2, 1);
    h.submit_with(1, map_reduce(1), &[2], one_slot);
    h.now = Time(1_000);
    h.finish(1, 0, 0);
    assert_eq!(wait(&mut h), [""; 0], "it has its slot");
}

#[test]
fn failure_beside_a_running_attempt_is_uncharged() {
    for code in [Code::UserPanic, Code::WorkerLost, Code::InputChanged] {
        for backup_fails in [false, true] {
            let (mut h, mut two) = backed_up(map_reduce(1));
            if backup_fails {
                two.reverse();
            }
            let [(fails_on, fails), (goes_on_on, goes_on)] = two;
            let event = Event::AttemptFailed { worker: fails_on, attempt: fails.attempt, failure: failure(code) };
            assert_eq!(h.step(event.clone()), [], "{code}");
            assert_eq!(h.step(event), [], "{code}: said twice");
            assert_eq!((h.status(1).tasks.failed, h.status(1).tasks.running), (0, 1));
            assert_eq!(assigns(&h.done(goes_on_on, &goes_on)).len(), 1, "{code}: the reduce begins");
        }
    }
}

#[test]
fn four_charged_failures_fail_the_job_despite_backups() {
    let (mut h, two) = backed_up(map_reduce(1));
    for (worker, task) in two {
        h.step(Event::AttemptFailed { worker, attempt: task.attempt, failure: failure(Code::UserPanic) });
    }
    assert_eq!(h.status(1).tasks.failed, 1, "the last one had no other beside it");
    (0..3).for_each(|_| drop(h.fail(1, 0, 1, Code::UserPanic)));
    assert_eq!(h.ended[&job_id(1)].error.as_ref().map(|e| e.code), Some(Code::UserPanic));
}

#[test]
fn loss_of_either_worker_keeps_the_other_attempt() {
    for lost in [1, 2] {
        let (mut h, two) = backed_up(map_reduce(1));
        h.join(3, 1);
        let first_task_again = if lost == 1 { vec!["0/0@3".to_string()] } else { vec![] };
        assert_eq!(assigns(&h.leave(lost)), first_task_again, "worker 1 had what was done");
        let (worker, task) = two.into_iter().find(|(w, _)| *w != worker_id(lost)).unwrap();
        h.done(worker, &task);
        h.finish_all();
        h.commit(1);
        assert_eq!(h.ended[&job_id(1)].state, JobState::Done, "worker {lost}");
    }
}

#[test]
fn output_lost_with_the_winner_is_made_again() {
    let (mut h, [_, (fast_on, fast)]) = backed_up(map_reduce(1));
    h.done(fast_on, &fast);
    assert_eq!(h.running(), ["1/0@1"], "where most of its input lies");
    h.leave(1);
    h.finish_all();
    h.commit(1);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

#[test]
fn a_backup_that_cannot_fetch_leaves_the_first_attempt_alone() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.join(2, 1);
    h.submit(1, map_reduce(2), &[1]);
    h.finish(1, 0, 0);
    h.now = Time(1_000);
    h.finish(1, 1, 0);
    assert_eq!(wait(&mut h).len(), 1);
    let [(slow_on, slow), (backup_on, backup)] = [h.take(1, 1, 1), h.take(1, 1, 1)];
    let (reader, lost) = (backup.attempt, h.reads(&backup)[0]);
    h.step(Event::SegmentLost { worker: backup_on, reader, lost, failure: failure(Code::FetchFailed) });
    assert_eq!(h.status(1).stages[1].tasks.running, 1);
    assert_eq!(h.done(slow_on, &slow), [Action::Grant { worker: slow_on, attempt: slow.attempt }]);
}

#[test]
fn a_cancel_stops_both() {
    let (mut h, two) = backed_up(map_reduce(1));
    let actions = h.step(Event::Cancelled { job: job_id(1) });
    assert!(two.iter().all(|(worker, task)| actions.contains(&revoke(*worker, task))), "{actions:?}");
    assert!(h.scheduler.workers().iter().all(|w| w.running == 0));
}

#[test]
fn draining_worker_gets_no_backup() {
    let mut h = one_is_slow(map_reduce(1), JobOptions::default());
    h.step(Event::WorkerDrains { worker: worker_id(1) });
    assert_eq!(wait(&mut h), [""; 0]);
    h.join(3, 1);
    h.step(Event::WorkerDrains { worker: worker_id(2) });
    assert_eq!(wait(&mut h), ["0/1@3"]);
}

#[test]
fn both_attempts_continue_after_a_restart() {
    let (h, [(slow_on, slow), (fast_on, fast)]) = backed_up(map_reduce(1));
    let restored = windrow_scheduler::RestoredJob { published: h.recorded, ..restored_job(map_reduce(1), &[2]) };
    let mut h = Harness::in_epoch(slots_only(), 2);
    h.step(Event::Restored { job: Box::new(restored) });
    h.step(Event::Awaited { workers: vec![worker_id(1), worker_id(2)], ms: 1_000 });
    assert_eq!(h.join_holding(2, 1, 1, vec![held_running(&slow)]), []);
    assert_eq!(h.join_holding(1, 1, 1, vec![held_running(&fast)]), []);
    assert_eq!((h.status(1).tasks.running, h.status(1).attempts), (1, 2));
    assert!(h.done(fast_on, &fast).contains(&revoke(slow_on, &slow)));
}

#[test]
fn backups_are_bounded_for_each_task_and_each_job() {
    let mut h = one_is_slow(map_reduce(1), JobOptions::default());
    (3..9).for_each(|n| drop(h.join(n, 1)));
    for _ in 0..2 {
        assert_eq!(wait(&mut h).len(), 1);
        let (worker, task) = h.assigned.pop().unwrap();
        h.step(Event::AttemptFailed { worker, attempt: task.attempt, failure: failure(Code::WorkerLost) });
    }
    assert_eq!(wait(&mut h), [""; 0], "two for one task");

    let mut h = Harness::new();
    (1..=9).for_each(|n| drop(h.join(n, 8)));
    h.submit(1, map_reduce(1), &[60]);
    h.now = Time(1_000);
    (0..40).for_each(|t| drop(h.finish(1, 0, t)));
    let mut running = h.assigned.len();
    assert_eq!(running, 20);
    h.now = Time(60_000);
    h.step(Event::Tick);
    running = h.assigned.len() - running;
    assert_eq!(running, 7, "a tenth of the slots");
    assert_eq!(h.status(1).backups, 7);
}

#[test]
fn a_bad_record_is_found_by_the_failures_that_count() {
    let options = JobOptions { skip_bad_records: 1, ..JobOptions::default() };
    let mut h = one_is_slow(map_reduce(1), options);
    assert_eq!(wait(&mut h), ["0/1@1"]);
    let place = RecordPlace { file: "/in/file".into(), offset: 107, excerpt: String::new() };
    let fail = |h: &mut Harness| {
        let (worker, task) = h.take(1, 0, 1);
        let failure = failure(Code::UserPanic).at(place.clone());
        h.step(Event::AttemptFailed { worker, attempt: task.attempt, failure })
    };
    let set_aside = |actions: &[Action]| actions.iter().any(|a| matches!(a, Action::SetAside { .. }));
    assert_eq!(fail(&mut h), [], "the other attempt goes on");
    assert!(!set_aside(&fail(&mut h)), "named once");
    let actions = fail(&mut h);
    assert!(set_aside(&actions), "named twice: {actions:?}");
    h.finish_all();
    h.commit(1);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}
