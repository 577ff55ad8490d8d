//! Attempts ahead of slots: who gets a place, what becomes of those that wait, and that waiting counts against nobody.

mod support;
use support::*;
use windrow_model::*;
use windrow_scheduler::{Action, Config, Event, Progress, RestoredJob, RestoredSplit};

/// For each slot one attempt may wait.
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

/// `stage/index@worker` of what is revoked, in order.
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
    let TaskInput::Segments(segments) = &task.inputs[0] else { panic!("{task:?}") };
    let (reader, segment) = (task.attempt, segments[0]);
    h.step(Event::SegmentLost { worker, reader, segment, failure: failure(Code::FetchFailed) })
}

#[test]
fn slots_are_filled_first_and_then_one_place_for_each() {
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
fn a_worker_with_a_free_slot_gets_it_before_another_one_lets_anybody_wait() {
    let mut h = harness();
    h.join(1, 1);
    h.join(2, 2);
    h.submit(1, map_only(), &[3]);
    assert_eq!(h.running(), ["0/0@1", "0/1@2", "0/2@2"]);
    assert_eq!(h.status(1).tasks.running, 3);
}

#[test]
fn what_waits_on_a_busy_worker_is_taken_back_for_a_free_slot() {
    let mut h = two_workers(3);
    assert_eq!(h.running(), ["0/0@1", "0/1@2", "0/2@1"]);
    let actions = h.finish(1, 0, 1);
    assert_eq!((revokes(&actions), assigns(&actions)), (vec!["0/2@1".into()], vec!["0/2@2".into()]));
    assert_eq!((h.status(1).tasks.running, h.status(1).attempts), (2, 3), "it had not begun");
    // The same for a worker that is new.
    let mut h = two_workers(4);
    let actions = h.join(3, 3);
    assert_eq!(assigns(&actions), ["0/3@3", "0/2@3"], "first the one that was assigned last");
    assert_eq!(revokes(&actions), ["0/3@2", "0/2@1"]);
    h.finish_all();
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

#[test]
fn it_is_not_moved_to_a_worker_that_it_failed_on() {
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
fn one_that_failed_everywhere_may_be_moved_anywhere() {
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
fn a_job_of_higher_priority_gets_the_next_slot_before_those_that_wait_for_it() {
    let mut h = two_workers(20);
    let high = JobOptions { priority: 1, ..JobOptions::default() };
    assert_eq!(assigns(&h.submit_with(2, map_only(), &[1], high)), [""; 0]);
    let actions = h.finish(1, 0, 1);
    assert_eq!((revokes(&actions), assigns(&actions)), (vec!["0/3@2".into()], vec!["0/0@2".into(), "0/3@2".into()]));
    assert_eq!(h.status(2).tasks.running, 1);
}

#[test]
fn a_job_that_has_less_than_others_gets_the_next_slots_and_then_they_share() {
    let mut h = harness();
    h.join(1, 2);
    h.join(2, 2);
    h.submit(1, map_only(), &[40]);
    h.submit(2, map_only(), &[40]);
    let slots = |h: &Harness| [h.status(1).tasks.running, h.status(2).tasks.running];
    assert_eq!(slots(&h), [4, 0]);
    let (mut moved, mut next) = (0, [0u32, 0]);
    for _ in 0..30 {
        // Whichever was assigned first ends first.
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
fn an_earlier_stage_goes_before_what_waits_of_a_later_one() {
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
fn a_job_never_has_more_slots_than_its_limit_even_if_some_of_its_attempts_wait() {
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
fn waiting_on_a_worker_that_is_lost_or_gets_no_tasks_is_no_failure() {
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

/// Two of six readers run, and one waits behind each.
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
fn whose_inputs_cannot_be_fetched_while_it_waits_is_put_back_like_one_that_runs() {
    let mut h = readers_on_two_workers();
    assert_eq!(assigns(&fetch_failed(&mut h, 1, 1, 2)), ["1/4@1"], "the place is free again");
    assert_eq!(h.status(1).tasks.failed, 0);
    h.finish_all();
    h.commit(1);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

#[test]
fn what_waits_of_a_stage_whose_inputs_are_lost_is_called_back() {
    let mut h = readers_on_two_workers();
    let actions = h.leave(2);
    assert_eq!((revokes(&actions), assigns(&actions)), (vec!["1/2@1".into()], vec!["0/1@1".into()]));
    assert_eq!(h.running(), ["0/1@1", "1/0@1"], "the reader that runs goes on, and the map waits for its slot");
    h.finish_all();
    h.commit(1);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

#[test]
fn the_time_for_which_it_waited_does_not_make_an_attempt_slow() {
    let mut h = harness();
    h.join(1, 2);
    h.submit(1, map_reduce(1), &[4]);
    h.now = Time(1_000);
    h.finish(1, 0, 0);
    h.finish(1, 0, 1);
    // Those that waited begin at 1 s, and a worker comes that could take backups.
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
fn who_waits_gets_no_backup_and_its_progress_is_not_known() {
    let mut h = two_workers(4);
    let (worker, task) = h.assigned[2].clone();
    let progress = vec![Progress { attempt: task.attempt, permille: 1, mark: 0, waits: false }];
    h.step(Event::WorkerBeat { worker, progress, lists_all: false, full: None });
    h.now = Time(100_000);
    assert_eq!(h.step(Event::Tick), []);
    assert_eq!(h.status(1).backups, 0);
}

#[test]
fn a_result_of_one_that_was_thought_to_wait_is_taken() {
    let mut h = two_workers(6);
    let (worker, task) = h.take(1, 0, 2);
    assert_eq!(assigns(&h.done(worker, &task)).len(), 1);
    assert_eq!((h.status(1).tasks.done, h.status(1).tasks.running, h.status(1).attempts), (1, 2, 3));
    h.finish_all();
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

#[test]
fn a_session_that_begins_again_keeps_what_runs_and_what_waits() {
    let mut h = two_workers(8);
    let held = h.assigned.iter().filter(|(w, _)| *w == worker_id(1)).map(|(_, t)| held_running(t)).collect();
    assert_eq!(h.join_holding(1, 1, 1, held), []);
    assert_eq!(h.status(1).tasks.running, 2);
    // The one that waited was on its way when the session broke.
    let held = vec![held_running(&h.assigned[0].1)];
    assert_eq!(assigns(&h.join_holding(1, 1, 1, held)), ["0/2@1"]);
}

/// What a coordinator that begins anew knows of a job with so many tasks of one stage.
fn restored(plan: Plan, tasks: u32) -> Harness {
    let split = RestoredSplit { epoch: Epoch(1), input_bytes: 1, stages: vec![chunks(0, tasks)] };
    let job = RestoredJob {
        spec: Box::new(spec(1, plan, JobOptions::default())),
        unix_ms: 0,
        elapsed_ms: 0,
        split: Some(split),
        published: vec![],
        bad_records: vec![],
        failures: vec![],
        uncharged: Vec::new(),
        sealed: false,
        collected: Vec::new(),
    };
    let mut h = Harness::in_epoch(Config { lease_ms: u64::MAX, ..Config::default() }, 2);
    h.step(Event::Restored { job: Box::new(job) });
    h.step(Event::Awaited { workers: vec![worker_id(1), worker_id(2)], ms: 1_000 });
    h
}

#[test]
fn after_a_restart_those_that_came_first_run_and_the_others_wait() {
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
fn nothing_of_a_restored_job_is_moved_before_its_workers_are_back() {
    let before = two_workers(4);
    let mut h = restored(map_only(), 4);
    let held = before.assigned.iter().filter(|(w, _)| *w == worker_id(1)).map(|(_, t)| held_running(t)).collect();
    assert_eq!(h.join_holding(1, 1, 1, held), []);
    assert_eq!(h.join(3, 1), [], "it is free, and may do nothing yet");
    let actions = h.join(2, 1);
    assert_eq!(assigns(&actions).len(), 2, "{actions:?}");
}

#[test]
fn what_runs_or_is_done_somewhere_goes_before_what_waits_elsewhere() {
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
fn a_cancel_revokes_what_waits_as_well() {
    let mut h = two_workers(8);
    assert_eq!(revokes(&h.step(Event::Cancelled { job: job_id(1) })).len(), 4);
    assert!(h.scheduler.workers().iter().all(|w| w.running == 0));
    h.submit(2, map_only(), &[8]);
    assert_eq!(h.running().len(), 4);
}
