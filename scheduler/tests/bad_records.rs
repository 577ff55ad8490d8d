//! Records that make their tasks fail are found, left out, and counted.

mod support;
use std::path::PathBuf;
use support::*;
use windrow_model::counters::names;
use windrow_model::*;
use windrow_scheduler::{Action, Config, Event, RestoredJob};

fn skips(n: u64) -> JobOptions {
    JobOptions { skip_bad_records: n, ..JobOptions::default() }
}

fn at(offset: u64) -> RecordPlace {
    RecordPlace { file: PathBuf::from("/in/file"), offset, excerpt: "x".into() }
}

fn fail_at(h: &mut Harness, index: u32, code: Code, offset: u64) -> Vec<Action> {
    let (worker, task) = h.take(1, 0, index);
    h.step(Event::AttemptFailed { worker, attempt: task.attempt, failure: failure(code).at(at(offset)) })
}

fn skipped(h: &Harness, index: u32) -> Vec<u64> {
    let task = h.assigned.iter().find(|(_, t)| t.attempt.task.index == index && t.attempt.task.stage.0 == 0);
    let Some(TaskInput::Chunk(chunk)) = task.and_then(|(_, t)| t.inputs.first()) else { panic!("no chunk") };
    chunk.skip.iter().map(|s| s.offset).collect()
}

#[test]
fn record_failing_twice_in_a_row_is_left_out_uncharged() {
    let mut h = Harness::new();
    h.join(1, 2);
    h.submit_with(1, map_reduce(1), &[1], skips(2));
    assert_eq!(fail_at(&mut h, 0, Code::UserPanic, 7).len(), 1, "it runs again: that may have been chance");
    assert_eq!(skipped(&h, 0), [0u64; 0]);
    let actions = fail_at(&mut h, 0, Code::UserPanic, 7);
    assert!(matches!(&actions[0], Action::SetAside { record } if record.place == at(7)), "{actions:?}");
    assert_eq!(skipped(&h, 0), [7]);
    // Failures at changing places identify no record.
    fail_at(&mut h, 0, Code::ExecutorCrashed, 3);
    fail_at(&mut h, 0, Code::UserPanic, 50);
    fail_at(&mut h, 0, Code::UserPanic, 50);
    assert_eq!(skipped(&h, 0), [7, 50]);
    h.finish(1, 0, 0);
    let (worker, task) = h.take(1, 1, 0);
    h.done(worker, &task);
    let committing = h.step(Event::Published { worker, attempt: task.attempt });
    let Some(Action::CommitJob { bad_records, .. }) = committing.last() else { panic!("{committing:?}") };
    assert_eq!(bad_records.iter().map(|b| b.record.offset).collect::<Vec<_>>(), [7, 50]);
    assert_eq!(h.status(1).counters.get(names::RECORDS_SKIPPED), 2);
}

#[test]
fn too_many_bad_records_fail_the_job() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit_with(1, map_reduce(1), &[1], skips(1));
    for offset in [7, 7, 8] {
        fail_at(&mut h, 0, Code::UserError, offset);
    }
    fail_at(&mut h, 0, Code::UserError, 8);
    let error = h.ended[&job_id(1)].error.clone().unwrap();
    assert_eq!(error.code, Code::UserError);
    assert!(error.message.contains("more than 1 bad records"), "{error}");
}

/// Two stages that read the same file, and one that reads both.
fn read_twice() -> Plan {
    plan(vec![
        stage("sample", vec![source()], vec![edge(1)]),
        stage("map", vec![source()], vec![edge(1)]),
        stage("reduce", vec![edge_from(&[(0, 0), (1, 0)])], vec![sink(0)]),
    ])
}

#[test]
fn record_that_two_stages_read_counts_once() {
    let mut h = Harness::new();
    h.join(1, 2);
    h.submit_with(1, read_twice(), &[1, 1], skips(1));
    for stage in [0, 1] {
        for _ in 0..2 {
            let (worker, task) = h.take(1, stage, 0);
            h.step(Event::AttemptFailed { worker, attempt: task.attempt, failure: failure(Code::UserPanic).at(at(7)) });
        }
        h.finish(1, stage, 0);
    }
    assert_eq!(h.status(1).counters.get(names::RECORDS_SKIPPED), 1);
    let (worker, task) = h.take(1, 2, 0);
    h.done(worker, &task);
    let committing = h.step(Event::Published { worker, attempt: task.attempt });
    let Some(Action::CommitJob { bad_records, .. }) = committing.last() else { panic!("{committing:?}") };
    assert_eq!(bad_records.iter().map(|b| (b.task.stage.0, b.record.offset)).collect::<Vec<_>>(), [(0, 7), (1, 7)]);
}

#[test]
fn bad_records_of_two_stages_share_the_limit() {
    let mut h = Harness::new();
    h.join(1, 2);
    h.submit_with(1, read_twice(), &[1, 1], skips(1));
    for (stage, offset) in [(0, 7), (1, 8)] {
        for _ in 0..2 {
            let (worker, task) = h.take(1, stage, 0);
            let failure = failure(Code::UserPanic).at(at(offset));
            h.step(Event::AttemptFailed { worker, attempt: task.attempt, failure });
        }
    }
    assert!(h.ended[&job_id(1)].error.as_ref().unwrap().message.contains("more than 1 bad records"));
}

#[test]
fn failures_of_other_causes_leave_no_record_out() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit_with(1, map_reduce(1), &[1], skips(5));
    for _ in 0..4 {
        fail_at(&mut h, 0, Code::NoSpace, 7);
    }
    assert_eq!(h.ended[&job_id(1)].error.as_ref().unwrap().code, Code::NoSpace);
    // Without permission to skip, a bad record fails its job.
    h.submit_with(2, map_reduce(1), &[1], JobOptions::default());
    for _ in 0..4 {
        let (worker, task) = h.take(2, 0, 0);
        h.step(Event::AttemptFailed { worker, attempt: task.attempt, failure: failure(Code::UserPanic).at(at(7)) });
    }
    assert_eq!(h.ended[&job_id(2)].error.as_ref().unwrap().code, Code::UserPanic);
}

#[test]
fn restart_keeps_records_left_out() {
    let record = SkippedRecord { range: 0, offset: 7 };
    let task = TaskId { job: job_id(1), stage: StageId(0), index: 0 };
    let bad = BadRecord { task, record, place: at(7), key: None, code: Code::UserPanic, message: "m".into() };
    let job = RestoredJob {
        spec: Box::new(spec(1, map_reduce(1), skips(1))),
        bad_records: vec![bad.clone(), bad],
        ..restored_job(map_reduce(1), &[1])
    };
    let mut h = Harness::in_epoch(Config::default(), 2);
    h.step(Event::Restored { job: Box::new(job) });
    h.step(Event::Awaited { workers: vec![], ms: 0 });
    h.join(1, 1);
    assert_eq!(skipped(&h, 0), [7]);
    assert_eq!(h.status(1).counters.get(names::RECORDS_SKIPPED), 1);
}

#[test]
fn key_that_fails_twice_is_left_out_of_its_task() {
    let key = |name: &str| KeyPlace { digest: Digest::of(name.as_bytes()), shown: name.into() };
    let fails = |h: &mut Harness, name: &str| {
        let (worker, task) = h.take(1, 1, 0);
        let failure = Failure { key: Some(Box::new(key(name))), ..failure(Code::UserPanic) };
        h.step(Event::AttemptFailed { worker, attempt: task.attempt, failure })
    };
    let left_out = |h: &Harness| {
        let task = h.assigned.iter().find(|(_, task)| task.attempt.task.stage.0 == 1);
        task.map(|(_, task)| task.skip_keys.clone()).expect("it runs again")
    };
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit_with(1, map_reduce(1), &[1], skips(2));
    h.finish(1, 0, 0);
    fails(&mut h, "a");
    assert_eq!(left_out(&h), []);
    let actions = fails(&mut h, "a");
    let Action::SetAside { record } = &actions[0] else { panic!("{actions:?}") };
    assert_eq!(record.key, Some(key("a")));
    assert_eq!(left_out(&h), [key("a").digest]);
    // A restart knows it by the journal's record.
    let restored = RestoredJob { bad_records: vec![(**record).clone()], ..restored_job(map_reduce(1), &[1]) };
    assert_eq!(restored.bad_records[0].record.range, u32::MAX);
    fails(&mut h, "b");
    fails(&mut h, "b");
    let mut both = [key("a").digest, key("b").digest];
    both.sort();
    assert_eq!(left_out(&h), both);
    assert_eq!(h.status(1).counters.get(names::RECORDS_SKIPPED), 2);
    fails(&mut h, "c");
    fails(&mut h, "c");
    assert!(h.ended[&job_id(1)].error.as_ref().unwrap().message.contains("more than 2 bad records"));
}

#[test]
fn record_of_a_chunk_counts_once_by_any_copy() {
    let digest = Digest::of(b"chunk");
    let mut stages = source_chunks(&read_twice(), &[1, 1]);
    for range in stages.iter_mut().flat_map(|stage| &mut stage.chunks).flat_map(|chunk| &mut chunk.ranges) {
        (range.path, range.content) = ("windrow://logs/0".into(), Some(digest));
    }
    let mut h = Harness::new();
    h.join(1, 2);
    let spec = Box::new(spec(1, read_twice(), skips(1)));
    h.step(Event::Submitted { spec, unix_ms: 0 });
    h.step(Event::Planned { job: job_id(1), input_bytes: bytes_of(&stages), stages });
    for stage in [0, 1] {
        for _ in 0..2 {
            let (worker, task) = h.take(1, stage, 0);
            let file = PathBuf::from(format!("/worker-{stage}/chunks/{digest}"));
            let failure = failure(Code::UserPanic).at(RecordPlace { file, ..at(7) });
            h.step(Event::AttemptFailed { worker, attempt: task.attempt, failure });
        }
        h.finish(1, stage, 0);
    }
    assert_eq!(h.status(1).counters.get(names::RECORDS_SKIPPED), 1);
}
