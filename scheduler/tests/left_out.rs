//! Workers that do not see the files of a job are left out of it; others are not.

mod support;
use support::*;
use windrow_model::*;
use windrow_scheduler::Event;

fn left_out(h: &mut Harness, n: u8, job: u8) {
    let failure = Failure::new(Code::InputNotShared, format!("/in is not on worker {n}"));
    h.step(Event::LeftOut { job: job_id(job), worker: worker_id(n), failure });
}

#[test]
fn worker_without_the_files_gets_no_task_of_the_job() {
    let mut h = Harness::new();
    h.join(1, 2);
    h.join(2, 1);
    let options = JobOptions::default();
    h.step(Event::Submitted { spec: Box::new(spec(1, map_only(), options)), unix_ms: 0 });
    left_out(&mut h, 1, 1);
    h.step(Event::Planned { job: job_id(1), input_bytes: 1, stages: vec![chunks(0, 3)] });
    assert_eq!(h.running(), ["0/0@2"]);
    h.submit(2, map_only(), &[1]);
    assert_eq!(h.running(), ["0/0@1", "0/0@2"], "another job may have files that it sees");
    h.step(Event::TakenIn { job: job_id(1), worker: worker_id(1) });
    assert_eq!(h.running(), ["0/0@1", "0/0@2", "0/1@1"]);
    h.finish_all();
    assert!(h.ended.values().all(|s| s.state == JobState::Done));
}

#[test]
fn late_worker_without_the_mount_is_left_out_at_first_attempt() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, map_only(), &[4]);
    h.join(2, 2);
    assert_eq!(h.running(), ["0/0@1", "0/1@2", "0/2@2"]);
    h.fail(1, 0, 1, Code::InputNotShared);
    h.fail(1, 0, 2, Code::InputNotShared);
    assert_eq!(h.running(), ["0/0@1"]);
    h.finish_all();
    let status = &h.ended[&job_id(1)];
    assert_eq!((status.state, status.tasks.failed), (JobState::Done, 0));
}

#[test]
fn job_fails_when_every_worker_says_so() {
    for code in [Code::InputNotShared, Code::OutputNotShared] {
        let mut h = Harness::new();
        h.join(1, 1);
        h.join(2, 1);
        h.submit(1, map_only(), &[1]);
        h.fail(1, 0, 0, code);
        assert_eq!(h.running(), ["0/0@2"]);
        h.fail(1, 0, 0, code);
        let error = h.ended[&job_id(1)].error.clone().unwrap();
        assert_eq!(error.code, code);
        assert!(error.message.contains("all 2 workers"), "{error}");
    }
}

#[test]
fn job_waits_while_the_workers_that_see_its_files_are_away() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.join(2, 1);
    h.submit(1, map_only(), &[2]);
    h.fail(1, 0, 1, Code::InputNotShared);
    h.leave(1);
    let waiting = h.status(1).waiting.unwrap();
    assert!(waiting.contains("INPUT_NOT_SHARED"), "{waiting}");
    h.join_as(1, 1, 2);
    assert_eq!(h.status(1).waiting, None);
    h.finish_all();
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
    // Not for ever.
    h.submit(2, map_only(), &[2]);
    h.fail(2, 0, 1, Code::InputNotShared);
    h.leave(1);
    while !h.ended.contains_key(&job_id(2)) {
        h.tick();
    }
    let error = h.ended[&job_id(2)].error.clone().unwrap();
    assert_eq!(error.code, Code::Unschedulable);
    assert!(error.message.contains("do not see its files"), "{error}");
}

#[test]
fn queued_attempt_on_left_out_worker_is_revoked() {
    let mut h = Harness::with(windrow_scheduler::Config { lease_ms: u64::MAX, ..Default::default() });
    h.join(1, 1);
    h.join(2, 1);
    h.submit(1, map_only(), &[4]);
    assert_eq!(h.running(), ["0/0@1", "0/1@2", "0/2@1", "0/3@2"]);
    left_out(&mut h, 2, 1);
    assert_eq!(h.running(), ["0/0@1", "0/1@2", "0/2@1"], "what runs there is left to fail by itself, or not");
    h.finish_all();
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}
