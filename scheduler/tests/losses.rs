//! Workers that die, return or fall silent, and segments that cannot be fetched.

mod support;
use std::collections::BTreeSet;
use support::*;
use windrow_model::*;
use windrow_scheduler::{Action, Cause, Config, Event, HeldAttempt};

/// a → b → c, one partition each, `a` with `maps` chunks.
fn chain() -> Plan {
    plan(vec![
        stage("a", vec![source()], vec![edge(2)]),
        stage("bb", vec![edge_from(&[(0, 0)])], vec![edge(2)]),
        stage("ccc", vec![edge_from(&[(1, 0)])], vec![sink(0)]),
    ])
}

#[test]
fn attempts_of_a_lost_worker_rerun_uncharged() {
    let mut h = Harness::new();
    h.join(1, 2);
    h.submit_with(1, map_only(), &[2], JobOptions { attempts_max: 1, ..JobOptions::default() });
    let (worker, old) = (h.assigned[0].0, h.assigned[0].1.clone());
    h.join(2, 2);
    assert_eq!(assigns(&h.leave(1)), ["0/0@2", "0/1@2"]);
    assert_eq!(h.status(1).tasks.failed, 0);
    assert_eq!(h.done(worker, &old), [Action::Revoke { worker, attempt: old.attempt }]);
    h.finish_all();
    assert_eq!(h.ended[&job_id(1)].attempts, 4);
}

#[test]
fn lost_outputs_are_recomputed_up_the_plan_and_counted_once() {
    let mut h = Harness::new();
    h.join(1, 2);
    h.submit(1, chain(), &[2]);
    h.finish(1, 0, 0);
    h.finish(1, 0, 1);
    h.finish(1, 1, 0);
    h.finish(1, 1, 1);
    assert_eq!(h.running(), ["2/0@1", "2/1@1"]);
    h.finish(1, 2, 0);
    h.join(2, 4);
    // Everything but the published part 0 was on worker 1.
    assert_eq!(assigns(&h.leave(1)), ["0/0@2", "0/1@2"]);
    let status = h.status(1);
    assert_eq!(status.stages.iter().map(|s| s.tasks.done).collect::<Vec<_>>(), [0, 0, 1]);
    assert_eq!(status.stages[0].bytes_done, 0);
    h.finish(1, 0, 0);
    assert_eq!(assigns(&h.finish(1, 0, 1)), ["1/0@2", "1/1@2"]);
    h.finish(1, 1, 0);
    assert_eq!(assigns(&h.finish(1, 1, 1)), ["2/1@2"], "part 0 stays");
    h.finish(1, 2, 1);
    h.commit(1);
    let status = &h.ended[&job_id(1)];
    assert_eq!((status.state, status.counters.get("tasks"), status.attempts), (JobState::Done, 6, 11));
}

#[test]
fn lost_outputs_are_recomputed_only_when_needed() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, chain(), &[1]);
    h.finish(1, 0, 0);
    h.join(2, 1);
    h.step(Event::WorkerDrains { worker: worker_id(1) });
    let done = (h.take(1, 1, 0), h.take(1, 1, 1));
    assert_eq!([done.0.0, done.1.0], [worker_id(1), worker_id(2)], "the first went where its segment is");
    h.step(Event::AttemptFailed { worker: done.0.0, attempt: done.0.1.attempt, failure: failure(Code::IoError) });
    h.done(done.1.0, &done.1.1);
    h.finish(1, 1, 0);
    assert_eq!(h.running(), ["2/0@2"]);
    // The map's output is gone, but both of its readers are done.
    assert_eq!(h.leave(1), []);
    assert_eq!(h.status(1).stages[0].tasks.done, 1);
    // Now they are needed again, and with them the map.
    h.join(3, 2);
    assert_eq!(assigns(&h.leave(2)), ["0/0@3"]);
    h.finish_all();
    h.commit(1);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

#[test]
fn running_readers_are_left_alone_and_waiting_ones_wait() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, map_reduce(2), &[1]);
    h.join(2, 1);
    h.finish(1, 0, 0);
    assert_eq!(h.running(), ["1/0@1", "1/1@2"]);
    h.leave(1);
    assert_eq!(h.running(), ["1/1@2"], "the map waits for the slot");
    assert_eq!(assigns(&h.finish(1, 1, 1)), ["0/0@2"], "before the reader that needs it");
    assert_eq!(assigns(&h.finish(1, 0, 0)), ["1/0@2"]);
}

#[test]
fn unneeded_rerun_is_dropped() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, map_reduce(1), &[2]);
    h.join(2, 1);
    h.finish(1, 0, 0);
    h.finish(1, 0, 1);
    let (reader, task) = h.take(1, 1, 0);
    let holder = if reader == worker_id(1) { 2 } else { 1 };
    h.join(3, 1);
    let rerun = h.leave(holder);
    assert_eq!(assigns(&rerun).len(), 1, "its map runs again: {rerun:?}");
    h.done(reader, &task);
    let actions = h.step(Event::Published { worker: reader, attempt: task.attempt });
    assert!(matches!(&actions[..], [Action::Revoke { .. }, Action::CommitJob { .. }]), "{actions:?}");
}

#[test]
fn a_granted_attempt_that_had_not_published_is_run_again() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, map_reduce(1), &[1]);
    h.finish(1, 0, 0);
    let (worker, first) = h.take(1, 1, 0);
    h.done(worker, &first);
    h.join(2, 1);
    assert_eq!(assigns(&h.leave(1)), ["0/0@2"]);
    assert_eq!(h.step(Event::Published { worker, attempt: first.attempt }), [], "its worker was given up");
    h.finish_all();
    h.commit(1);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

#[test]
fn published_part_stays_when_its_task_runs_again() {
    let both = plan(vec![
        stage("a", vec![source()], vec![edge(1)]),
        stage("b", vec![edge_from(&[(0, 0)])], vec![sink(0), edge(1)]),
        stage("c", vec![edge_from(&[(1, 1)])], vec![sink(1)]),
    ]);
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, both, &[1]);
    h.finish(1, 0, 0);
    let (worker, first) = h.take(1, 1, 0);
    h.done(worker, &first);
    h.step(Event::Published { worker, attempt: first.attempt });
    h.join(2, 1);
    h.leave(1);
    let actions = h.finish_all();
    let grants = actions.iter().filter(|a| matches!(a, Action::Grant { .. })).count();
    assert_eq!(grants, 1, "only the last stage's: {actions:?}");
    let Some(Action::CommitJob { parts, .. }) = actions.last() else { panic!("{actions:?}") };
    assert_eq!(parts[0].attempt, first.attempt);
    assert_eq!(parts.iter().map(|p| p.part.sink).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_new_incarnation_fences_the_old_one() {
    let mut h = Harness::new();
    h.join(1, 2);
    h.submit(1, map_reduce(1), &[2]);
    h.finish(1, 0, 0);
    let (worker, old) = h.take(1, 0, 1);
    let again = h.join_as(1, 2, 2);
    assert_eq!(assigns(&again), ["0/0@1", "0/1@1"], "its output and its attempt are lost");
    assert_eq!(h.done(worker, &old), [Action::Revoke { worker, attempt: old.attempt }]);
    assert_eq!(h.join_as(1, 2, 1), [], "the old one is no more");
    h.finish_all();
    h.commit(1);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

#[test]
fn new_session_of_an_incarnation_keeps_reported_attempts() {
    let mut h = Harness::new();
    h.join(1, 2);
    h.submit(1, map_reduce(1), &[3]);
    let (worker, first) = h.take(1, 0, 0);
    h.done(worker, &first);
    let (_, second) = h.take(1, 0, 1);
    let (_, third) = h.take(1, 0, 2);
    // The report of the second had got lost, and the third had never arrived there.
    let again = h.join_holding(1, 2, 1, vec![held_done(&first), held_done(&second)]);
    assert_eq!(assigns(&again), ["0/2@1"]);
    assert_eq!(h.status(1).tasks.done, 2);
    let (_, third_again) = h.take(1, 0, 2);
    assert_eq!(third_again.attempt.number, 1);
    assert_eq!(h.done(worker, &third), [Action::Revoke { worker, attempt: third.attempt }]);
    assert_eq!(h.join_holding(1, 2, 1, vec![held_done(&first), held_done(&second), held_running(&third_again)]), []);
    h.done(worker, &third_again);
    h.finish_all();
    h.commit(1);
    assert_eq!(h.ended[&job_id(1)].attempts, 5);
}

#[test]
fn a_silent_worker_is_lost_when_its_lease_runs_out() {
    let mut h = Harness::with(Config { lease_ms: 1_000, unschedulable_after_ms: u64::MAX, ..slots_only() });
    h.join(1, 1);
    h.submit(1, map_only(), &[1]);
    h.now = Time(900);
    h.step(Event::WorkerBeat { worker: worker_id(1), progress: vec![], lists_all: false, full: None });
    assert_eq!(h.scheduler.next_deadline(), Some(Time(1_900)));
    h.tick();
    assert_eq!(h.scheduler.workers()[0].state, WorkerState::Lost);
    assert_eq!(h.scheduler.worker_address(worker_id(1)), None);
    h.step(Event::WorkerBeat { worker: worker_id(1), progress: vec![], lists_all: false, full: None });
    assert_eq!(h.scheduler.next_deadline(), None, "a lost worker must join again");
    assert!(h.status(1).waiting.is_some());
    h.assigned.clear();
    assert_eq!(assigns(&h.join(2, 1)), ["0/0@2"]);
}

#[test]
fn own_long_sleep_extends_each_lease_once() {
    let mut h = Harness::with(Config { lease_ms: 1_000, ..slots_only() });
    h.join(1, 1);
    h.now = Time(60_000);
    h.step(Event::Tick);
    assert_eq!(h.scheduler.workers()[0].state, WorkerState::Live);
    h.now = Time(120_000);
    h.step(Event::Tick);
    assert_eq!(h.scheduler.workers()[0].state, WorkerState::Lost);
}

/// Maps on worker 1, the reader on worker 2; the reader's task and the first output that it reads.
fn reader_and_lost(h: &mut Harness) -> (WorkerId, Task, OutputRef) {
    h.join(1, 1);
    h.submit(1, map_reduce(1), &[1]);
    h.step(Event::WorkerDrains { worker: worker_id(1) });
    h.join(2, 1);
    h.finish(1, 0, 0);
    next_reader(h)
}

fn next_reader(h: &mut Harness) -> (WorkerId, Task, OutputRef) {
    let (worker, task) = h.take(1, 1, 0);
    let lost = h.reads(&task)[0];
    (worker, task, lost)
}

#[test]
fn second_failed_fetch_of_a_segment_reruns_its_map() {
    let mut h = Harness::new();
    let (worker, task, lost) = reader_and_lost(&mut h);
    let report = |task: &Task, lost| Event::SegmentLost {
        worker,
        reader: task.attempt,
        lost,
        failure: failure(Code::FetchFailed),
    };
    assert_eq!(assigns(&h.step(report(&task, lost))), ["1/0@2"]);
    assert_eq!(h.step(report(&task, lost)), [], "said twice");
    let (_, task, lost) = next_reader(&mut h);
    assert_eq!(assigns(&h.step(report(&task, lost))), ["0/0@2"]);
    assert_eq!(h.status(1).tasks.failed, 0);
    assert_eq!(assigns(&h.finish(1, 0, 0)), ["1/0@2"]);
    let (_, _, again) = next_reader(&mut h);
    assert_eq!((again.worker, again.attempt.number), (worker_id(2), 1));
}

#[test]
fn a_corrupt_segment_runs_the_map_again_at_once() {
    let mut h = Harness::new();
    let (worker, task, lost) = reader_and_lost(&mut h);
    let failure = failure(Code::SegmentCorrupt);
    let actions = h.step(Event::SegmentLost { worker, reader: task.attempt, lost, failure });
    assert_eq!(assigns(&actions), ["0/0@2"]);
}

#[test]
fn outputs_that_are_damaged_once_do_not_fail_their_reader() {
    let maps = 3 * Cause::SegmentCorrupt.most();
    let mut h = Harness::new();
    h.join(1, 2);
    h.join(2, 2);
    h.submit(1, map_reduce(1), &[maps]);
    (0..maps).for_each(|t| drop(h.finish(1, 0, t)));
    let mut found = BTreeSet::new();
    while found.len() < maps as usize {
        let (worker, task) = h.take(1, 1, 0);
        let reads = h.reads(&task);
        let lost = *reads.iter().find(|s| !found.contains(&s.attempt.task.index)).unwrap();
        found.insert(lost.attempt.task.index);
        let failure = failure(Code::SegmentCorrupt);
        h.step(Event::SegmentLost { worker, reader: task.attempt, lost, failure });
        while h.assigned.iter().all(|(_, task)| task.attempt.task.stage != StageId(1)) {
            match h.assigned.first().map(|(_, task)| task.attempt.task.index) {
                Some(map) => drop(h.finish(1, 0, map)),
                None => {
                    for worker in [1, 2].map(worker_id) {
                        h.step(Event::WorkerBeat { worker, progress: vec![], lists_all: false, full: None });
                    }
                    h.tick();
                }
            }
        }
    }
    h.finish_all();
    h.commit(1);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

/// All outputs of worker 1 lie in one file, which is damaged as a whole.
#[test]
fn damaged_file_of_many_outputs_is_remade_at_once() {
    const MAPS: u32 = 100;
    const READERS: u32 = 4;
    let mut h = Harness::new();
    h.join(1, 4);
    h.submit(1, map_reduce(READERS), &[MAPS]);
    (0..MAPS).for_each(|t| drop(h.finish(1, 0, t)));
    let damaged = |lost: &OutputRef| lost.attempt.number == 0;
    let mut lost_to = 0;
    while !h.assigned.is_empty() {
        let (worker, task) = h.assigned[0].clone();
        let id = task.attempt.task;
        let found = h.reads(&task).into_iter().rfind(damaged);
        match found.filter(|_| id.stage == StageId(1)) {
            // The readers that were assigned before find one output, or each another one.
            Some(lost) => {
                h.take(1, 1, id.index);
                lost_to += 1;
                let failure = failure(Code::SegmentCorrupt);
                h.step(Event::SegmentLost { worker, reader: task.attempt, lost, failure });
            }
            None => drop(h.finish(1, id.stage.0, id.index)),
        }
    }
    h.commit(1);
    let status = &h.ended[&job_id(1)];
    assert_eq!(status.state, JobState::Done);
    // Readers fail three times at most before all is made again, each time with all of them.
    assert!(lost_to <= 3 * READERS, "{lost_to}");
    // Two outputs that were made again on that worker by themselves are made once more.
    assert!(status.attempts <= u64::from(2 * MAPS + 2 + 4 * READERS), "{}", status.attempts);
    let counted = h.uncharged.iter().filter(|(task, _)| task.stage == StageId(1));
    assert!(counted.clone().all(|(_, tally)| tally.is_empty()), "no reader is at fault: {:?}", h.uncharged);
}

/// A reader whose memory is bad finds each output damaged, also those that were made again.
#[test]
fn reader_that_finds_all_outputs_damaged_fails_the_job() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, map_reduce(1), &[2]);
    let mut attempts = 0;
    while h.ended.is_empty() {
        let Some((worker, task)) = h.assigned.first().cloned() else {
            h.step(Event::WorkerBeat { worker: worker_id(1), progress: vec![], lists_all: false, full: None });
            h.tick();
            continue;
        };
        let id = task.attempt.task;
        attempts += 1;
        assert!(attempts < 200, "it ends");
        if id.stage == StageId(0) {
            h.finish(1, 0, id.index);
            continue;
        }
        h.take(1, 1, 0);
        let lost = h.reads(&task)[0];
        h.step(Event::SegmentLost { worker, reader: task.attempt, lost, failure: failure(Code::SegmentCorrupt) });
    }
    assert_eq!(h.ended[&job_id(1)].error.as_ref().unwrap().code, Code::SegmentCorrupt);
}

#[test]
fn failed_fetch_of_an_older_output_only_retries_the_reader() {
    let wrong: [fn(&mut OutputRef); 4] = [
        |lost| lost.attempt.number = 7,
        |lost| lost.worker = worker_id(3),
        |lost| lost.output = 1,
        |lost| lost.attempt.task.index = u32::MAX,
    ];
    for wrong in wrong {
        let mut h = Harness::new();
        let (worker, task, mut lost) = reader_and_lost(&mut h);
        wrong(&mut lost);
        let failure = failure(Code::SegmentCorrupt);
        let actions = h.step(Event::SegmentLost { worker, reader: task.attempt, lost, failure });
        assert_eq!(assigns(&actions), ["1/0@2"], "{lost:?}");
    }
}

#[test]
fn a_reader_that_cannot_fetch_is_tried_on_another_worker() {
    let mut h = Harness::new();
    let (worker, task, lost) = reader_and_lost(&mut h);
    h.join(3, 1);
    let failure = failure(Code::FetchFailed);
    let actions = h.step(Event::SegmentLost { worker, reader: task.attempt, lost, failure });
    assert_eq!(assigns(&actions), ["1/0@3"]);
}

#[test]
fn returning_worker_keeps_its_attempts_and_outputs() {
    let mut h = Harness::new();
    h.join(1, 3);
    h.submit(1, map_reduce(1), &[3]);
    let (worker, first) = h.take(1, 0, 0);
    h.done(worker, &first);
    let tasks = [h.take(1, 0, 1).1, h.take(1, 0, 2).1];
    h.leave(1);
    assert_eq!(assigns(&h.join(2, 1)), ["0/0@2"]);
    let held = vec![held_done(&first), held_running(&tasks[0]), held_running(&tasks[1])];
    let again = h.join_holding(1, 3, 1, held);
    let (other, second) = (worker_id(2), AttemptId { number: 1, ..first.attempt });
    assert_eq!(again, [Action::Revoke { worker: other, attempt: second }], "the rerun may stop");
    assert_eq!(h.running(), [""; 0]);
    for task in &tasks {
        h.done(worker, task);
    }
    h.finish_all();
    h.commit(1);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

#[test]
fn outputs_offered_by_a_restarted_worker_are_used() {
    let mut h = Harness::new();
    h.join(1, 2);
    h.submit(1, map_reduce(1), &[2]);
    let maps = [h.take(1, 0, 0).1, h.take(1, 0, 1).1];
    let worker = worker_id(1);
    h.done(worker, &maps[0]);
    h.done(worker, &maps[1]);
    assert_eq!(h.running(), ["1/0@1"]);
    h.assigned.clear();
    let again = h.join_holding(1, 2, 2, vec![held_done(&maps[0]), held_done(&maps[1])]);
    assert_eq!(assigns(&again), ["1/0@1"], "no map runs again");
    let (_, reduce) = h.take(1, 1, 0);
    assert_eq!(reduce.attempt.incarnation, Incarnation(2));
    // A part of an earlier incarnation is not trusted: it may be incomplete.
    h.done(worker, &reduce);
    let again = h.join_holding(1, 2, 3, vec![held_done(&maps[0]), held_done(&maps[1]), held_done(&reduce)]);
    assert_eq!(again[0], Action::Revoke { worker, attempt: reduce.attempt });
    assert_eq!(assigns(&again), ["1/0@1"]);
}

#[test]
fn doubted_output_is_refused_when_offered_again() {
    let mut h = Harness::new();
    let (reader, task, lost) = reader_and_lost(&mut h);
    h.step(Event::SegmentLost { worker: reader, reader: task.attempt, lost, failure: failure(Code::SegmentCorrupt) });
    let map = lost.attempt;
    let holder = lost.worker;
    let held = HeldAttempt { attempt: map, report: Some(TaskReport::default()) };
    let again = h.join_holding(holder.as_bytes()[0], 1, 1, vec![held]);
    assert!(again.contains(&Action::Revoke { worker: holder, attempt: map }), "{again:?}");
}

#[test]
fn corrupt_segment_recomputes_lost_inputs_of_its_map() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, chain(), &[1]);
    h.step(Event::WorkerDrains { worker: worker_id(1) });
    h.join(2, 2);
    h.finish(1, 0, 0);
    h.finish(1, 1, 0);
    h.finish(1, 1, 1);
    assert_eq!(h.leave(1), [], "the first stage is not needed any more");
    let (worker, task) = h.take(1, 2, 0);
    let (lost, failure) = (h.reads(&task)[0], failure(Code::SegmentCorrupt));
    let actions = h.step(Event::SegmentLost { worker, reader: task.attempt, lost, failure });
    assert_eq!(assigns(&actions), ["0/0@2"]);
    h.finish_all();
    h.commit(1);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

#[test]
fn readers_see_the_output_of_the_latest_run_of_a_map() {
    let mut h = Harness::new();
    let (worker, task, lost) = reader_and_lost(&mut h);
    let failure = failure(Code::SegmentCorrupt);
    h.step(Event::SegmentLost { worker, reader: task.attempt, lost, failure });
    let (worker, map) = h.take(1, 0, 0);
    let mut empty = report(&map);
    empty.outputs[0] = edge_report(std::iter::empty(), 1);
    h.step(Event::AttemptDone { worker, attempt: map.attempt, report: empty });
    let (_, reader) = h.take(1, 1, 0);
    assert_eq!(h.reads(&reader), []);
}

/// Two workers reach the scheduler but not each other, and each has half of the maps: each reader fails to fetch from the
/// other worker. The job ends all the same, on one of them.
#[test]
fn unreachable_workers_cause_no_livelock() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.join(2, 1);
    h.submit_with(1, map_reduce(4), &[4], JobOptions { backup_attempts: false, ..JobOptions::default() });
    let mut fetch_failures = 0;
    while h.status(1).state == JobState::Running {
        let Some((worker, task)) = h.assigned.first().cloned() else {
            h.tick();
            continue;
        };
        let id = task.attempt.task;
        match h.reads(&task).into_iter().find(|lost| lost.worker != worker) {
            None => drop(h.finish(1, id.stage.0, id.index)),
            Some(lost) => {
                fetch_failures += 1;
                assert!(fetch_failures < 50, "no end to fetch_failures");
                h.take(1, id.stage.0, id.index);
                let failure = failure(Code::FetchFailed);
                h.step(Event::SegmentLost { worker, reader: task.attempt, lost, failure });
            }
        }
    }
    assert_eq!(h.status(1).state, JobState::Committing);
    println!("{fetch_failures} fetch_failures");
}

#[test]
fn two_failed_readers_move_all_outputs_of_a_worker() {
    let mut h = Harness::new();
    (1..=3).for_each(|n| drop(h.join(n, 2)));
    h.submit_with(1, map_reduce(4), &[6], JobOptions { backup_attempts: false, ..JobOptions::default() });
    (0..6).for_each(|t| drop(h.finish(1, 0, t)));
    let holder = worker_id(1);
    let readers: Vec<(WorkerId, Task)> = h.assigned.iter().filter(|(w, _)| *w != holder).cloned().collect();
    let fail_fetch = |h: &mut Harness, (worker, task): &(WorkerId, Task), nth: usize| {
        let reads = h.reads(task);
        let lost = *reads.iter().filter(|s| s.worker == holder).nth(nth).expect("it made two maps");
        let (reader, failure) = (task.attempt, failure(Code::FetchFailed));
        h.step(Event::SegmentLost { worker: *worker, reader, lost, failure })
    };
    fail_fetch(&mut h, &readers[0], 0);
    assert_eq!(h.status(1).stages[0].tasks.done, 6, "once may be chance");
    // Another reader on another worker, about another map.
    let other = readers.iter().find(|(w, _)| *w != readers[0].0).expect("three workers read");
    fail_fetch(&mut h, other, 1);
    assert_eq!(h.status(1).stages[0].tasks.done, 4, "both of its maps");
    let state = h.scheduler.workers().iter().find(|w| w.id == holder).map(|w| w.state);
    assert_eq!(state, Some(WorkerState::Excluded));
    h.finish_all();
    h.commit(1);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

/// Readers that started before a worker's restart look for its outputs at the old address.
#[test]
fn readers_of_an_old_incarnation_do_not_blame_the_new() {
    let mut h = Harness::new();
    (1..=3).for_each(|n| drop(h.join(n, 2)));
    h.submit_with(1, map_reduce(4), &[6], JobOptions { backup_attempts: false, ..JobOptions::default() });
    let maps: Vec<(WorkerId, Task)> = h.assigned.clone();
    (0..6).for_each(|t| drop(h.finish(1, 0, t)));
    let holder = worker_id(1);
    let readers: Vec<(WorkerId, Task)> = h.assigned.iter().filter(|(w, _)| *w != holder).cloned().collect();
    h.now = h.now.plus_ms(1);
    let kept = maps.iter().filter(|(w, _)| *w == holder).map(|(_, task)| held_done(task)).collect();
    h.assigned.retain(|(w, _)| *w != holder);
    h.join_holding(1, 2, 2, kept);
    for (worker, task) in &readers {
        let reads = h.reads(task);
        let lost = *reads.iter().find(|s| s.worker == holder).expect("it made two maps");
        let (reader, failure) = (task.attempt, failure(Code::FetchFailed));
        h.step(Event::SegmentLost { worker: *worker, reader, lost, failure });
    }
    let state = h.scheduler.workers().iter().find(|w| w.id == holder).map(|w| w.state);
    assert_eq!(state, Some(WorkerState::Live));
}
