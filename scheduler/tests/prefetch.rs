//! Prefetched attempts: which task is queued, what happens to queued attempts, and that queueing is never charged.

mod support;
use support::*;
use windrow_model::*;
use windrow_scheduler::{Action, Config, Event, Progress};

/// One attempt per slot may be queued.
fn harness() -> Harness {
    Harness::with(Config { lease_ms: u64::MAX, prefetch_per_slot: 1, ..Config::default() })
}

fn two_workers(tasks: u32) -> Harness {
    let mut h = harness();
    h.join(1, 1);
    h.join(2, 1);
    h.submit(1, map_only(), &[tasks]);
    h
}

/// `stage/index@worker` of revoked attempts, in order.
fn revokes(actions: &[Action]) -> Vec<String> {
    let of = |a: &Action| match a {
        Action::Revoke { worker, attempt } => {
            let TaskId { stage, index, .. } = attempt.task;
            Some(format!("{stage}/{index}@{}", worker.as_bytes()[0]))
        }
        _ => None,
    };
    actions.iter().filter_map(of).collect()
}

fn fetch_failed(h: &mut Harness, n: u8, stage: u32, index: u32) -> Vec<Action> {
    let (worker, task) = h.take(n, stage, index);
    let (reader, lost) = (task.attempt, h.reads(&task)[0]);
    h.step(Event::SegmentLost { worker, reader, lost, failure: failure(Code::FetchFailed) })
}

#[test]
fn slots_are_filled_before_any_prefetch() {
    let mut h = two_workers(8);
    assert_eq!(h.running(), ["0/0@1", "0/1@2", "0/2@1", "0/3@2"]);
    assert_eq!(assigns(&h.finish(1, 0, 0)), ["0/4@1"], "the one that waited begins by itself, and the next one waits");
    let status = h.status(1);
    assert_eq!((status.tasks.running, status.attempts), (2, 3), "who waits neither runs nor counts as an attempt yet");
    assert_eq!(h.scheduler.workers().iter().map(|w| w.running).collect::<Vec<_>>(), [1, 1]);
    h.finish_all();
    assert_eq!(h.status(1).attempts, 8);
}

#[test]
fn free_slot_is_used_before_any_prefetch() {
    let mut h = harness();
    h.join(1, 1);
    h.join(2, 2);
    h.submit(1, map_only(), &[3]);
    assert_eq!(h.running(), ["0/0@1", "0/1@2", "0/2@2"]);
    assert_eq!(h.status(1).tasks.running, 3);
}

#[test]
fn queued_attempt_moves_to_a_free_slot() {
    let mut h = two_workers(3);
    assert_eq!(h.running(), ["0/0@1", "0/1@2", "0/2@1"]);
    let actions = h.finish(1, 0, 1);
    assert_eq!((revokes(&actions), assigns(&actions)), (vec!["0/2@1".into()], vec!["0/2@2".into()]));
    assert_eq!((h.status(1).tasks.running, h.status(1).attempts), (2, 3), "it had not begun");
    // The same for a new worker.
    let mut h = two_workers(4);
    let actions = h.join(3, 3);
    assert_eq!(assigns(&actions), ["0/3@3", "0/2@3"], "first the one that was assigned last");
    assert_eq!(revokes(&actions), ["0/3@2", "0/2@1"]);
    h.finish_all();
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

#[test]
fn queued_attempt_avoids_workers_it_failed_on() {
    let mut h = two_workers(4);
    h.fail(1, 0, 1, Code::FetchFailed);
    assert_eq!(
        h.running(),
        ["0/0@1", "0/2@1", "0/3@2"],
        "the next one runs on worker 2, and the failed one is for worker 1"
    );
    let actions = h.finish(1, 0, 0);
    assert_eq!(assigns(&actions), ["0/1@1"], "it waits there behind the one that has the slot");
    let actions = h.finish(1, 0, 3);
    assert_eq!((revokes(&actions), assigns(&actions)), (vec![], vec![]));
    h.finish_all();
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

#[test]
fn queued_attempt_that_failed_everywhere_may_move() {
    let mut h = two_workers(6);
    h.fail(1, 0, 0, Code::FetchFailed);
    h.finish(1, 0, 1);
    h.finish(1, 0, 3);
    assert_eq!(h.running(), ["0/0@2", "0/2@1", "0/4@1", "0/5@2"]);
    assert_eq!(assigns(&h.fail(1, 0, 0, Code::FetchFailed)), ["0/0@2"], "it waits where it failed, as everywhere");
    h.finish(1, 0, 2);
    let actions = h.finish(1, 0, 4);
    assert_eq!((revokes(&actions), assigns(&actions)), (vec!["0/0@2".into()], vec!["0/0@1".into()]));
}

#[test]
fn higher_priority_gets_the_slot_before_queued_attempts() {
    let mut h = two_workers(20);
    let high = JobOptions { priority: 1, ..JobOptions::default() };
    assert_eq!(assigns(&h.submit_with(2, map_only(), &[1], high)), [""; 0]);
    let actions = h.finish(1, 0, 1);
    assert_eq!((revokes(&actions), assigns(&actions)), (vec!["0/3@2".into()], vec!["0/0@2".into(), "0/3@2".into()]));
    assert_eq!(h.status(2).tasks.running, 1);
}

#[test]
fn job_with_fewer_attempts_gets_the_next_slots() {
    let mut h = harness();
    h.join(1, 2);
    h.join(2, 2);
    h.submit(1, map_only(), &[40]);
    h.submit(2, map_only(), &[40]);
    let slots = |h: &Harness| [h.status(1).tasks.running, h.status(2).tasks.running];
    assert_eq!(slots(&h), [4, 0]);
    let (mut moved, mut next) = (0, [0u32, 0]);
    for _ in 0..30 {
        // The oldest attempt ends first.
        let id = h.assigned[0].1.attempt.task;
        let n = id.job.as_bytes()[0];
        next[n as usize - 1] += 1;
        moved += revokes(&h.finish(n, 0, id.index)).len();
    }
    assert!(slots(&h).iter().all(|n| *n > 0), "{:?}", slots(&h));
    assert!(next[0].abs_diff(next[1]) <= 8, "{next:?}");
    assert!(moved <= 4, "{moved} were taken back: equal jobs leave each other alone");
}

#[test]
fn earlier_stage_precedes_queued_attempts_of_later_ones() {
    let two_sources = plan(vec![
        stage("early", vec![source()], vec![edge(1)]),
        stage("late", vec![source()], vec![edge(1)]),
        stage("end", vec![edge_from(&[(0, 0), (1, 0)])], vec![sink(0)]),
    ]);
    let mut h = harness();
    h.join(1, 1);
    h.join(2, 1);
    h.submit(1, two_sources, &[2, 6]);
    assert_eq!(h.running(), ["0/0@1", "0/1@2", "1/0@1", "1/1@2"]);
    let actions = h.fail(1, 0, 1, Code::FetchFailed);
    assert_eq!((revokes(&actions), assigns(&actions)), (vec![], vec!["1/2@2".into()]), "it failed on this worker");
    let actions = h.finish(1, 0, 0);
    assert_eq!((revokes(&actions), &assigns(&actions)[0]), (vec!["1/0@1".into()], &"0/1@1".to_string()));
}

#[test]
fn queued_attempts_count_towards_the_slot_limit() {
    let mut h = harness();
    h.join(1, 2);
    h.submit(2, map_only(), &[10]);
    h.submit_with(1, map_only(), &[10], JobOptions { slots_max: Some(1), ..JobOptions::default() });
    for _ in 0..8 {
        let id = h.assigned[0].1.attempt.task;
        h.finish(id.job.as_bytes()[0], 0, id.index);
        let of = h.assigned.iter().filter(|(_, t)| t.attempt.task.job == job_id(1)).count();
        assert!(of <= 1, "{of} attempts");
    }
    assert!(h.status(1).tasks.done > 0);
}

#[test]
fn loss_of_a_queued_attempt_is_uncharged() {
    type Happens = fn(&mut Harness) -> Vec<Action>;
    let lost: Happens = |h| h.leave(2);
    let drains: Happens = |h| h.step(Event::WorkerDrains { worker: worker_id(2) });
    let full: Happens =
        |h| h.step(Event::WorkerBeat { worker: worker_id(2), progress: vec![], lists_all: false, full: Some(true) });
    for (what, happens) in [("lost", lost), ("drains", drains), ("full", full)] {
        let mut h = two_workers(40);
        // Four times: an attempt that had begun would be delayed by then.
        for _ in 0..4 {
            let on = |h: &Harness| h.running().iter().filter(|r| r.ends_with("@2")).count();
            assert_eq!(on(&h), 2, "{what}");
            happens(&mut h);
            assert_eq!(on(&h), usize::from(what != "lost"), "{what}: what has begun may end");
            h.assigned.retain(|(w, _)| *w != worker_id(2));
            h.step(Event::WorkerLeft { worker: worker_id(2) });
            assert_eq!(h.status(1).tasks.failed, 0, "{what}");
            h.join(2, 1);
        }
        h.finish_all();
        while !h.ended.contains_key(&job_id(1)) {
            h.tick();
            h.finish_all();
        }
        assert_eq!(h.ended[&job_id(1)].state, JobState::Done, "{what}");
    }
}

/// Two of six readers run, and one is queued behind each.
fn readers_on_two_workers() -> Harness {
    let mut h = harness();
    h.join(1, 1);
    h.join(2, 1);
    h.submit(1, map_reduce(6), &[2]);
    h.finish(1, 0, 0);
    h.finish(1, 0, 1);
    assert_eq!(h.running(), ["1/0@1", "1/1@2", "1/2@1", "1/3@2"]);
    h
}

#[test]
fn prefetch_failure_requeues_the_task() {
    let mut h = readers_on_two_workers();
    assert_eq!(assigns(&fetch_failed(&mut h, 1, 1, 2)), ["1/4@1"], "the place is free again");
    assert_eq!(h.status(1).tasks.failed, 0);
    h.finish_all();
    h.commit(1);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

#[test]
fn input_loss_recalls_queued_attempts() {
    let mut h = readers_on_two_workers();
    let actions = h.leave(2);
    assert_eq!((revokes(&actions), assigns(&actions)), (vec!["1/2@1".into()], vec!["0/1@1".into()]));
    assert_eq!(h.running(), ["0/1@1", "1/0@1"], "the reader that runs goes on, and the map waits for its slot");
    h.finish_all();
    h.commit(1);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

#[test]
fn queue_time_does_not_make_an_attempt_slow() {
    let mut h = harness();
    h.join(1, 2);
    h.submit(1, map_reduce(1), &[4]);
    h.now = Time(1_000);
    h.finish(1, 0, 0);
    h.finish(1, 0, 1);
    // The queued attempts begin at 1 s, and a worker that could take backups joins.
    h.join(2, 2);
    let until = |h: &mut Harness, ms| {
        let mut assigned = Vec::new();
        while h.scheduler.next_deadline().is_some_and(|at| at < Time(ms)) {
            assigned.extend(assigns(&h.tick()));
        }
        assigned
    };
    assert_eq!(until(&mut h, 2_500), [""; 0], "for three halves of what others took they have not run yet");
    assert_eq!(until(&mut h, 4_000), ["0/2@2", "0/3@2"]);
}

#[test]
fn queued_attempt_gets_no_backup() {
    let mut h = two_workers(4);
    let (worker, task) = h.assigned[2].clone();
    let progress = vec![Progress { attempt: task.attempt, permille: 1, mark: 0, waits: false, records: 0 }];
    h.step(Event::WorkerBeat { worker, progress, lists_all: false, full: None });
    h.now = Time(100_000);
    assert_eq!(h.step(Event::Tick), []);
    assert_eq!(h.status(1).backups, 0);
}

#[test]
fn result_of_a_queued_attempt_is_accepted() {
    let mut h = two_workers(6);
    let (worker, task) = h.take(1, 0, 2);
    assert_eq!(assigns(&h.done(worker, &task)).len(), 1);
    assert_eq!((h.status(1).tasks.done, h.status(1).tasks.running, h.status(1).attempts), (1, 2, 3));
    h.finish_all();
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

#[test]
fn new_session_keeps_running_and_queued_attempts() {
    let mut h = two_workers(8);
    let held = h.assigned.iter().filter(|(w, _)| *w == worker_id(1)).map(|(_, t)| held_running(t)).collect();
    assert_eq!(h.join_holding(1, 1, 1, held), []);
    assert_eq!(h.status(1).tasks.running, 2);
    // The queued attempt was on its way when the session broke.
    let held = vec![held_running(&h.assigned[0].1)];
    assert_eq!(assigns(&h.join_holding(1, 1, 1, held)), ["0/2@1"]);
}

/// A job restored after a restart, with this number of tasks in its one stage.
fn restored(plan: Plan, tasks: u32) -> Harness {
    let job = restored_job(plan, &[tasks]);
    let mut h = Harness::in_epoch(Config { lease_ms: u64::MAX, ..Config::default() }, 2);
    h.step(Event::Restored { job: Box::new(job) });
    h.step(Event::Awaited { workers: vec![worker_id(1), worker_id(2)], ms: 1_000 });
    h
}

#[test]
fn restart_gives_slots_to_the_first_reported_attempts() {
    let before = two_workers(8);
    let mut h = restored(map_only(), 8);
    for n in [1, 2] {
        let held = before.assigned.iter().filter(|(w, _)| *w == worker_id(n)).map(|(_, t)| held_running(t)).collect();
        assert_eq!(h.join_holding(n, 1, 1, held), []);
    }
    assert_eq!((h.status(1).tasks.running, h.status(1).attempts), (2, 2));
    h.assigned = before.assigned;
    assert_eq!(assigns(&h.finish(1, 0, 0)), ["0/4@1"]);
    h.finish_all();
    assert_eq!(h.status(1).attempts, 8);
}

#[test]
fn restored_queue_waits_for_its_workers() {
    let before = two_workers(4);
    let mut h = restored(map_only(), 4);
    let held = before.assigned.iter().filter(|(w, _)| *w == worker_id(1)).map(|(_, t)| held_running(t)).collect();
    assert_eq!(h.join_holding(1, 1, 1, held), []);
    assert_eq!(h.join(3, 1), [], "it is free, and may do nothing yet");
    let actions = h.join(2, 1);
    assert_eq!(assigns(&actions).len(), 2, "{actions:?}");
}

#[test]
fn running_or_done_attempt_replaces_a_queued_one() {
    for done in [false, true] {
        let mut h = two_workers(2);
        let (_, task) = h.assigned[1].clone();
        h.leave(2);
        assert_eq!(h.running(), ["0/0@1", "0/1@1"], "it is lost, and its task waits on the other worker");
        let held = if done { held_done(&task) } else { held_running(&task) };
        let actions = h.join_holding(2, 1, 1, vec![held]);
        assert_eq!((revokes(&actions), assigns(&actions)), (vec!["0/1@1".into()], vec![]), "it had it all the time");
        let tasks = h.status(1).tasks;
        assert_eq!((tasks.done, tasks.running), if done { (1, 1) } else { (0, 2) });
    }
}

#[test]
fn cancel_revokes_queued_attempts() {
    let mut h = two_workers(8);
    assert_eq!(revokes(&h.step(Event::Cancelled { job: job_id(1) })).len(), 4);
    assert!(h.scheduler.workers().iter().all(|w| w.running == 0));
    h.submit(2, map_only(), &[8]);
    assert_eq!(h.running().len(), 4);
}
