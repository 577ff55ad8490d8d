//! Workers with a full disk get no tasks until they have room, and charge no task.

mod support;
use support::*;
use windrow_model::*;
use windrow_scheduler::{Cause, Config, Event};

fn state(h: &Harness, n: u8) -> WorkerState {
    h.scheduler.workers().iter().find(|w| w.id == worker_id(n)).unwrap().state
}

fn reason(h: &Harness, n: u8) -> Option<String> {
    h.scheduler.workers().into_iter().find(|w| w.id == worker_id(n)).unwrap().reason
}

fn beat(h: &mut Harness, n: u8, full: bool) {
    h.step(Event::WorkerBeat { worker: worker_id(n), progress: vec![], lists_all: false, full: Some(full) });
}

#[test]
fn full_disk_excludes_a_worker_until_space_is_free() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.join(2, 1);
    beat(&mut h, 1, true);
    assert_eq!((state(&h, 1), state(&h, 2)), (WorkerState::Excluded, WorkerState::Live));
    assert_eq!(reason(&h, 1).as_deref(), Some("its disk is full"));
    h.submit(1, map_only(), &[2]);
    assert_eq!(h.running(), ["0/0@2"]);
    // It lasts as long as the worker reports it.
    for _ in 0..10 {
        h.now = h.now.plus_ms(Config::default().exclusion_ms - 1);
        beat(&mut h, 1, true);
    }
    assert_eq!(h.running(), ["0/0@2"]);
    beat(&mut h, 1, false);
    assert_eq!((state(&h, 1), reason(&h, 1)), (WorkerState::Live, None));
    assert_eq!(h.running(), ["0/0@2", "0/1@1"]);
    let changes: Vec<WorkerState> = h.changes.iter().filter(|c| c.0 == worker_id(1)).map(|c| c.1).collect();
    assert_eq!(changes, [WorkerState::Excluded, WorkerState::Live], "once each");
}

#[test]
fn job_waits_with_the_reason_while_every_disk_is_full() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.join(2, 1);
    h.submit(1, map_only(), &[2]);
    beat(&mut h, 1, true);
    beat(&mut h, 2, true);
    assert_eq!(h.status(1).waiting, None, "two attempts run");
    for index in 0..2 {
        h.fail(1, 0, index, Code::NoSpace);
    }
    let waiting = h.status(1).waiting.unwrap();
    assert!(waiting.contains("2 disks are full"), "{waiting}");
    assert!(h.running().is_empty());
    beat(&mut h, 2, false);
    assert_eq!(h.running(), ["0/0@2"]);
    assert_eq!(h.status(1).waiting, None);
    h.finish_all();
    let status = &h.ended[&job_id(1)];
    assert_eq!((status.state, status.tasks.failed), (JobState::Done, 0), "no attempt is charged");
}

#[test]
fn job_fails_when_disks_stay_full_for_the_whole_wait() {
    let mut h = Harness::new();
    h.join(1, 1);
    beat(&mut h, 1, true);
    h.submit(1, map_only(), &[1]);
    assert!(h.running().is_empty());
    let before = h.now;
    h.tick();
    assert_eq!(h.now.since_ms(before), Config::default().unschedulable_after_ms);
    let error = h.ended[&job_id(1)].error.clone().unwrap();
    assert!(error.code == Code::NoSpace && error.message.contains("is full"), "{error}");
}

#[test]
fn failures_on_full_disks_are_uncharged_within_a_bound() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, map_only(), &[1]);
    let mut failures = 0;
    while h.ended.is_empty() {
        if h.assigned.is_empty() {
            h.tick();
            continue;
        }
        beat(&mut h, 1, true);
        h.fail(1, 0, 0, Code::NoSpace);
        failures += 1;
        beat(&mut h, 1, false);
    }
    assert_eq!(failures, Cause::DiskFull.most());
    let status = &h.ended[&job_id(1)];
    assert_eq!(status.tasks.failed, 0);
    assert_eq!(status.error.clone().unwrap().code, Code::NoSpace);
}

#[test]
fn task_that_fills_a_disk_with_room_is_charged() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, map_only(), &[1]);
    for _ in 0..4 {
        beat(&mut h, 1, false);
        h.fail(1, 0, 0, Code::NoSpace);
    }
    let error = h.ended[&job_id(1)].error.clone().unwrap();
    assert!(error.code == Code::NoSpace && error.message.contains("failed 4 times"), "{error}");
}

#[test]
fn exclusion_ends_when_all_others_have_full_disks() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.join(2, 1);
    h.submit(1, map_only(), &[2]);
    h.fail(1, 0, 0, Code::ResourceLimit);
    assert_eq!(state(&h, 1), WorkerState::Excluded);
    beat(&mut h, 2, true);
    assert_eq!((state(&h, 1), state(&h, 2)), (WorkerState::Live, WorkerState::Excluded), "better than none");
}

#[test]
fn exclusion_keeps_its_reason_beside_a_full_disk() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.join(2, 1);
    h.submit(1, map_only(), &[2]);
    h.fail(1, 0, 0, Code::ResourceLimit);
    beat(&mut h, 1, false);
    assert_eq!(state(&h, 1), WorkerState::Excluded, "room ends no other exclusion");
    beat(&mut h, 1, true);
    assert!(reason(&h, 1).unwrap().contains("limit of its system"));
    h.now = h.now.plus_ms(Config::default().exclusion_ms);
    h.step(Event::Tick);
    assert_eq!(reason(&h, 1).as_deref(), Some("its disk is full"));
    assert_eq!(state(&h, 1), WorkerState::Excluded);
    beat(&mut h, 1, false);
    assert_eq!((state(&h, 1), reason(&h, 1)), (WorkerState::Live, None));
}
