//! Tasks whose workers are lost: when they run alone, what is charged, and that neighbours are not.

mod support;
use support::*;
use windrow_model::*;
use windrow_scheduler::{Action, Cause, Config, Event, Left, RestoredJob};

const POISON: u32 = 2;

fn task(index: u32) -> TaskId {
    TaskId { job: job_id(1), stage: StageId(0), index }
}

/// With prefetch.
fn harness() -> Harness {
    Harness::with(Config { lease_ms: u64::MAX, ..Config::default() })
}

/// Worker 1 dies and returns in this incarnation, with these crumbs.
fn die(h: &mut Harness, incarnation: u64, slots: u32, left: Vec<Left>) -> Vec<Action> {
    h.assigned.retain(|(w, _)| *w != worker_id(1));
    // Every second time its next incarnation registers before the loss of the last one was noticed.
    let mut actions = Vec::new();
    if incarnation.is_multiple_of(2) {
        actions.extend(h.step(Event::WorkerLeft { worker: worker_id(1) }));
    }
    actions.extend(h.step(Event::WorkerJoined { node: node(1, slots, incarnation), held: vec![], left }));
    actions
}

/// One worker under a supervisor runs six tasks in two slots; the poison one kills it whenever it has a slot. Returns
/// the number of deaths until the job ends.
fn run_to_the_end(h: &mut Harness, place: impl Fn(u32) -> Option<RecordPlace>) -> u32 {
    let (mut deaths, mut steps) = (0, 0);
    while !h.ended.contains_key(&job_id(1)) {
        steps += 1;
        assert!(steps < 1_000, "{:?}", h.running());
        let slots = h.assigned.iter().take(2).map(|(_, t)| t.attempt).collect::<Vec<_>>();
        if let Some(poison) = slots.iter().find(|a| a.task == task(POISON)) {
            if h.status(1).tasks.failed > 0 {
                assert_eq!(h.assigned.len(), 1, "it has the worker for itself: {:?}", h.running());
            }
            deaths += 1;
            let left = vec![Left { attempt: *poison, place: place(deaths) }];
            die(h, u64::from(deaths) + 1, 2, left);
        } else if let Some(first) = slots.first() {
            let n = first.task.job.as_bytes()[0];
            h.finish(n, first.task.stage.0, first.task.index);
        } else {
            h.tick();
        }
    }
    deaths
}

#[test]
fn poison_task_fails_its_job_after_a_few_workers() {
    let mut h = harness();
    h.join(1, 2);
    h.submit(1, map_only(), &[6]);
    let deaths = run_to_the_end(&mut h, |_| None);
    assert_eq!(deaths, 5, "three with others, two alone");
    let status = &h.ended[&job_id(1)];
    let error = status.error.clone().unwrap();
    assert_eq!((error.code, status.tasks.failed), (Code::PoisonTask, 2), "{error}");
    for part in ["task 2", "5 workers were lost", "/in/file from byte 200 to 300", "lost-alone", "host1"] {
        assert!(error.message.contains(part), "{part} in {}", error.message);
    }
    assert_eq!(status.tasks.done, 5, "its neighbours are done");
    assert!(h.failures.iter().all(|(t, _)| *t == task(POISON)), "and not charged: {:?}", h.failures);
}

#[test]
fn record_that_kills_workers_is_named_and_can_be_left_out() {
    let place = |_| Some(RecordPlace { file: "/in/file".into(), offset: 250, excerpt: String::new() });
    let mut h = harness();
    h.join(1, 2);
    h.submit(1, map_only(), &[6]);
    run_to_the_end(&mut h, place);
    assert_eq!(h.ended[&job_id(1)].error.as_ref().unwrap().place, place(0));

    let mut h = harness();
    h.join(1, 2);
    h.submit_with(1, map_only(), &[6], JobOptions { skip_bad_records: 1, ..JobOptions::default() });
    let (mut deaths, mut skipped) = (0, false);
    while !h.ended.contains_key(&job_id(1)) {
        let Some((_, next)) = h.assigned.first().cloned() else {
            h.tick();
            continue;
        };
        let TaskInput::Chunk(chunk) = &next.inputs[0] else { panic!("{next:?}") };
        if next.attempt.task == task(POISON) && chunk.skip.is_empty() {
            deaths += 1;
            die(&mut h, u64::from(deaths as u32) + 1, 2, vec![Left { attempt: next.attempt, place: place(0) }]);
        } else {
            skipped |= chunk.skip == [SkippedRecord { range: 0, offset: 250 }];
            h.finish(1, 0, next.attempt.task.index);
        }
    }
    assert_eq!((deaths, skipped), (5, true));
    let status = &h.ended[&job_id(1)];
    assert_eq!((status.state, status.counters.get("windrow.records_skipped")), (JobState::Done, 1), "{status:?}");
}

#[test]
fn suspect_gets_a_worker_for_itself_and_no_backup() {
    let mut h = harness();
    h.join(1, 1);
    h.submit(1, map_only(), &[1]);
    (2..5).for_each(|life| drop(die(&mut h, life, 1, vec![])));
    h.tick();
    assert_eq!(h.running(), ["0/0@1"]);
    h.submit(2, map_only(), &[8]);
    assert_eq!(h.running(), ["0/0@1"], "neither slots nor places ahead");
    h.join(2, 2);
    assert_eq!(h.running().len(), 5, "{:?}", h.running());
    h.finish(1, 0, 0);
    assert!(h.running().iter().any(|at| at.ends_with("@1")), "it is like any other worker then");
    h.finish_all();
    assert!(h.ended.values().all(|s| s.state == JobState::Done));
}

#[test]
fn busy_worker_is_kept_for_a_suspect_until_it_is_empty() {
    let mut h = harness();
    h.join(1, 2);
    h.submit(1, map_only(), &[1]);
    h.submit(2, map_only(), &[9]);
    for life in 2..5 {
        die(&mut h, life, 2, vec![]);
    }
    // The lost worker had four attempts each time, so four tasks are suspects. They run one after the other; before each, the
    // worker finishes its other attempts.
    let suspects: Vec<TaskId> = h.uncharged.keys().copied().collect();
    assert_eq!(suspects.len(), 4);
    h.tick();
    let mut alone = 0;
    while let Some((_, next)) = h.assigned.first() {
        let id = next.attempt.task;
        if suspects.contains(&id) {
            alone += 1;
            assert_eq!(h.assigned.len(), 1, "{:?}", h.running());
        }
        h.finish(id.job.as_bytes()[0], 0, id.index);
    }
    assert_eq!(alone, 4);
    assert!(h.ended.values().all(|s| s.state == JobState::Done) && h.ended.len() == 2);
}

#[test]
fn worker_that_was_only_cut_off_counts_against_no_task() {
    let mut h = harness();
    h.join(1, 1);
    h.submit(1, map_only(), &[1]);
    for n in 0..10 {
        let (_, running) = h.assigned[0].clone();
        h.leave(1);
        h.join_holding(1, 1, 1, vec![held_running(&running)]);
        assert_eq!(h.running(), [""; 0], "it goes on, {n}");
        h.assigned.push((worker_id(1), running));
    }
    assert_eq!(h.uncharged[&task(0)].counts, []);
    h.finish(1, 0, 0);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

#[test]
fn charge_comes_without_the_next_incarnation() {
    let mut h = harness();
    h.join(1, 1);
    h.join(2, 1);
    h.join(3, 1);
    h.join(4, 1);
    h.join(5, 1);
    h.submit(1, map_only(), &[1]);
    for _ in 0..5 {
        let (worker, _) = h.assigned.first().cloned().unwrap_or_else(|| {
            h.tick();
            h.assigned[0].clone()
        });
        h.leave(worker.as_bytes()[0]);
    }
    while !h.ended.contains_key(&job_id(1)) {
        h.tick();
    }
    assert_eq!(h.ended[&job_id(1)].error.as_ref().unwrap().code, Code::PoisonTask);
}

fn restored(h: &Harness) -> Event {
    let job = RestoredJob { uncharged: h.uncharged.clone().into_iter().collect(), ..restored_job(map_only(), &[2]) };
    Event::Restored { job: Box::new(job) }
}

#[test]
fn restart_does_not_keep_a_worker_from_a_pardon() {
    let mut h = harness();
    h.join(1, 1);
    h.submit(1, map_only(), &[2]);
    let attempt = h.assigned[0].1.attempt;
    h.leave(1);
    assert_eq!(h.uncharged[&attempt.task].counts, [(Cause::WorkerLost, 1)]);
    let mut next = Harness::in_epoch(Config { lease_ms: u64::MAX, ..Config::default() }, 2);
    next.step(restored(&h));
    next.step(Event::Awaited { workers: vec![], ms: 0 });
    next.join_as(1, 1, 1);
    assert_eq!(next.uncharged[&attempt.task].counts, [], "it was cut off, and is back");
}

#[test]
fn losses_count_on_after_a_restart() {
    let mut h = harness();
    h.join(1, 1);
    h.submit(1, map_only(), &[2]);
    for life in 2..5 {
        die(&mut h, life, 1, vec![]);
    }
    assert_eq!(h.uncharged[&task(0)].counts, [(Cause::WorkerLost, 3)]);
    let mut next = Harness::in_epoch(Config { lease_ms: u64::MAX, ..Config::default() }, 2);
    next.step(restored(&h));
    next.step(Event::Awaited { workers: vec![], ms: 0 });
    next.join_as(1, 1, 9);
    assert_eq!(next.running(), ["0/0@1"], "it runs alone from the start");
}

#[test]
fn worker_that_ends_in_order_makes_no_suspect() {
    let mut h = harness();
    h.submit(1, map_only(), &[1]);
    for n in 1..=6 {
        h.join(n, 1);
        h.step(Event::WorkerDrains { worker: worker_id(n) });
        h.leave(n);
        if h.scheduler.next_deadline().is_some_and(|at| at < Time(u64::MAX - 1)) {
            h.now = h.now.plus_ms(10_000);
            h.step(Event::Tick);
        }
    }
    assert_eq!(h.uncharged[&task(0)].counts, [(Cause::Drained, 6)]);
}

/// Three workers were lost with the task: it is a suspect, and has the next one for itself.
fn suspect_on(h: &mut Harness, worker: u8) {
    h.submit(1, map_only(), &[1]);
    for n in 11..14 {
        h.join(n, 1);
        h.leave(n);
    }
    h.join(worker, 1);
    h.tick();
    assert_eq!(h.running(), [format!("0/0@{worker}")]);
}

#[test]
fn charge_is_taken_back_when_the_worker_returns() {
    let mut h = harness();
    suspect_on(&mut h, 1);
    h.leave(1);
    h.now = h.now.plus_ms(60_000);
    h.step(Event::Tick);
    assert_eq!(h.uncharged[&task(0)].counts, [(Cause::WorkerLost, 3), (Cause::LostAlone, 1)]);
    assert_eq!(h.failures.last(), Some(&(task(0), 1)));
    h.join(1, 1);
    assert_eq!(h.uncharged[&task(0)].counts, [(Cause::WorkerLost, 3)], "it was cut off");
    assert_eq!(h.failures.last(), Some(&(task(0), 0)));
    assert_eq!(h.status(1).tasks.failed, 0);
}

/// A pardon takes back one of the three losses that made the task a suspect: then a loss that it had alone takes its place.
#[test]
fn pardon_makes_a_loss_alone_one_of_the_first_three() {
    let mut h = harness();
    suspect_on(&mut h, 1);
    h.leave(1);
    h.now = h.now.plus_ms(60_000);
    h.step(Event::Tick);
    h.join(11, 1);
    assert_eq!(h.uncharged[&task(0)].counts, [(Cause::WorkerLost, 3)], "the first worker was cut off");
    assert_eq!(h.failures.last(), Some(&(task(0), 0)));
    assert_eq!(h.running(), ["0/0@11"], "it is still a suspect");
    // A loss alone that waits for its charge when a pardon comes is no charge either.
    h.leave(11);
    h.join(12, 1);
    h.now = h.now.plus_ms(60_000);
    h.step(Event::Tick);
    assert_eq!(h.uncharged[&task(0)].counts, [(Cause::WorkerLost, 3)]);
    assert_eq!(h.failures.last(), Some(&(task(0), 0)));
}

#[test]
fn charge_is_taken_back_after_a_restart() {
    let mut h = harness();
    suspect_on(&mut h, 1);
    h.leave(1);
    h.now = h.now.plus_ms(60_000);
    h.step(Event::Tick);
    let Event::Restored { mut job } = restored(&h) else { unreachable!() };
    job.failures = vec![(task(0), 1)];
    let mut next = Harness::in_epoch(Config { lease_ms: u64::MAX, ..Config::default() }, 2);
    next.step(Event::Restored { job });
    next.step(Event::Awaited { workers: vec![], ms: 0 });
    next.join(1, 1);
    assert_eq!(next.uncharged[&task(0)].counts, [(Cause::WorkerLost, 3)]);
    assert_eq!(next.failures.last(), Some(&(task(0), 0)));
}

#[test]
fn suspect_that_returns_beside_others_is_not_alone() {
    let mut h = harness();
    h.join(1, 2);
    h.submit(1, map_only(), &[3]);
    let [first, second, queued] = [0, 1, 2].map(|at: usize| h.assigned[at].1.clone());
    // The queued attempt moves to a free slot elsewhere each time, and that worker is lost each time.
    for life in 1..4 {
        h.join_as(2, 1, life);
        h.leave(2);
    }
    assert_eq!(h.uncharged[&task(2)].counts, [(Cause::WorkerLost, 3)]);
    // The first worker is reserved for it from now on.
    h.tick();
    // The session of the first worker broke before it heard of the revocation: it has begun the suspect.
    h.join_holding(1, 2, 1, vec![held_done(&second), held_running(&first), held_running(&queued)]);
    h.leave(1);
    assert_eq!(h.uncharged[&task(2)].counts, [(Cause::WorkerLost, 4)], "it was not alone");
}
