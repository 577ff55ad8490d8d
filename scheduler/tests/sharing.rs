//! Who gets the next slot, and where.

mod support;
use support::*;
use windrow_model::*;
use windrow_scheduler::Event;

fn slots_of(h: &Harness, n: u8) -> usize {
    h.assigned.iter().filter(|(_, t)| t.attempt.task.job == job_id(n)).count()
}

#[test]
fn equal_jobs_share_the_slots_fairly() {
    let mut h = Harness::new();
    h.submit(1, map_only(), &[20]);
    h.submit(2, map_only(), &[20]);
    h.submit(3, map_only(), &[1]);
    h.join(1, 6);
    assert_eq!([slots_of(&h, 1), slots_of(&h, 2), slots_of(&h, 3)], [3, 2, 1]);
    for i in 0..3 {
        h.finish(1, 0, i);
    }
    // The second has waited longer for the odd slot; the third has no more tasks.
    assert_eq!([slots_of(&h, 1), slots_of(&h, 2)], [2, 3]);
    h.finish(3, 0, 0);
    assert_eq!([slots_of(&h, 1), slots_of(&h, 2)], [3, 3]);
}

/// More jobs than slots: none waits until an older one has ended.
#[test]
fn every_job_gets_a_slot_in_its_turn() {
    let mut h = Harness::new();
    for n in 1..=5 {
        h.submit(n, map_only(), &[1000]);
    }
    h.join(1, 2);
    let mut given = Vec::new();
    while given.len() < 20 {
        let task = h.assigned[0].1.attempt.task;
        given.push(task.job);
        h.finish(task.job.as_bytes()[0], 0, task.index);
    }
    for n in 1..=5 {
        assert_eq!(given.iter().filter(|job| **job == job_id(n)).count(), 4, "{given:?}");
    }
}

#[test]
fn job_of_higher_priority_takes_every_free_slot() {
    let mut h = Harness::new();
    h.submit(1, map_only(), &[10]);
    h.submit_with(2, map_only(), &[3], JobOptions { priority: 1, ..JobOptions::default() });
    h.join(1, 4);
    assert_eq!([slots_of(&h, 1), slots_of(&h, 2)], [1, 3]);
}

#[test]
fn a_job_never_has_more_slots_than_its_limit() {
    let mut h = Harness::new();
    h.submit_with(1, map_only(), &[10], JobOptions { priority: 1, slots_max: Some(2), ..JobOptions::default() });
    h.submit(2, map_only(), &[10]);
    h.join(1, 5);
    assert_eq!([slots_of(&h, 1), slots_of(&h, 2)], [2, 3]);
    h.finish(1, 0, 0);
    assert_eq!([slots_of(&h, 1), slots_of(&h, 2)], [2, 3]);
}

#[test]
fn tasks_go_to_the_emptiest_worker() {
    let mut h = Harness::new();
    h.join(1, 4);
    h.join(2, 2);
    h.submit(1, map_only(), &[4]);
    assert_eq!(h.running(), ["0/0@1", "0/1@2", "0/2@1", "0/3@1"]);
}

#[test]
fn a_reader_goes_where_most_of_its_bytes_are() {
    let mut h = Harness::new();
    for n in 1..=3 {
        h.join(n, 4);
    }
    h.submit(1, map_reduce(3), &[3]);
    for i in 0..3 {
        // Map i, on worker i + 1, writes most of partition 2 - i.
        let (worker, task) = h.take(1, 0, i);
        let long = |p: u32| Segment { length: if p + i == 2 { 1_000 } else { 10 }, ..segment(p) };
        let mut report = report(&task);
        report.outputs[0] = edge_report((0..3).map(long), 3);
        h.step(Event::AttemptDone { worker, attempt: task.attempt, report });
    }
    assert_eq!(h.running(), ["1/0@3", "1/1@2", "1/2@1"]);
    assert_eq!(h.status(1).stages[1].bytes_total, 3_060);
}

#[test]
fn draining_worker_gets_no_tasks_and_keeps_its_outputs() {
    let mut h = Harness::new();
    h.join(1, 2);
    h.submit(1, map_reduce(1), &[2]);
    h.step(Event::WorkerDrains { worker: worker_id(1) });
    h.finish(1, 0, 0);
    h.finish(1, 0, 1);
    assert_eq!(h.running(), [""; 0]);
    assert!(h.status(1).waiting.is_some_and(|w| w.contains("drains")));
    assert_eq!(assigns(&h.join(2, 1)), ["1/0@2"]);
    assert_eq!(h.scheduler.workers()[0].state, WorkerState::Draining);
    assert!(h.scheduler.worker_address(worker_id(1)).is_some());
}

/// With dense hints no partition has a holder of most, so the shares of the whole edge count.
#[test]
fn reader_goes_to_the_holder_of_most_of_a_hashed_edge() {
    let mut h = Harness::new();
    for n in 1..=3 {
        h.join(n, 40);
    }
    h.submit(1, map_reduce(100), &[3]);
    for (i, bytes) in [(0, 100), (1, 10_000), (2, 100)] {
        // Map i is on worker i + 1.
        let (worker, task) = h.take(1, 0, i);
        let mut report = report(&task);
        let sizes = SizeHints::of((0..100).map(|p| (p, bytes)).collect::<Vec<_>>().into_iter(), 100);
        report.outputs[0] = OutputReport::Edge(EdgeReport { bytes: 100 * bytes, records: 1, digest: 1, sizes });
        h.step(Event::AttemptDone { worker, attempt: task.attempt, report });
    }
    let on = |h: &Harness, n: u8| h.assigned.iter().filter(|(w, _)| *w == worker_id(n)).count();
    assert_eq!([1, 2, 3].map(|n| on(&h, n)), [30, 40, 30], "its slots first, the others evenly");
    assert_eq!(h.status(1).stages[1].bytes_total, 1_020_000);
    h.finish_all();
    assert_eq!(h.status(1).stages[1].bytes_done, 1_020_000);
}
