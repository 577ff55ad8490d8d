//! Which failures are charged, which are retried, and where.

mod support;
use support::*;
use windrow_model::*;
use windrow_scheduler::{Action, Cause, Event};

fn attempts_max(n: u32) -> JobOptions {
    JobOptions { attempts_max: n, ..JobOptions::default() }
}

#[test]
fn last_allowed_failure_fails_the_job_and_says_where() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit_with(1, map_reduce(1), &[1], attempts_max(3));
    for _ in 0..2 {
        assert_eq!(assigns(&h.fail(1, 0, 0, Code::UserError)), ["0/0@1"], "there is no other worker");
    }
    assert_eq!(h.status(1).tasks.failed, 2);
    h.fail(1, 0, 0, Code::UserError);
    let status = &h.ended[&job_id(1)];
    let error = status.error.clone().unwrap();
    assert_eq!((status.state, status.tasks.failed, error.code), (JobState::Failed, 3, Code::UserError));
    for part in ["`map`", "src/main.rs:3", "task 0", "attempt 2", "host1", "failed 3 times", "it broke"] {
        assert!(error.message.contains(part), "{part} in {}", error.message);
    }
}

#[test]
fn fatal_failure_fails_the_job_at_once() {
    let mut h = Harness::new();
    h.join(1, 2);
    h.submit(1, map_reduce(1), &[2]);
    let other = h.assigned[1].1.attempt;
    let actions = h.fail(1, 0, 0, Code::InputChanged);
    assert_eq!(actions[0], Action::Revoke { worker: worker_id(1), attempt: other });
    assert_eq!(h.ended[&job_id(1)].error.as_ref().map(|e| e.code), Some(Code::InputChanged));
}

#[test]
fn failed_task_goes_to_another_worker_even_if_busy() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, map_only(), &[4]);
    h.join(2, 1);
    // Worker 1 is broken and would take the task again and again.
    assert_eq!(assigns(&h.fail(1, 0, 0, Code::IoError)), ["0/2@1"]);
    assert_eq!(assigns(&h.finish(1, 0, 1)), ["0/0@2"]);
    assert_eq!(h.running(), ["0/0@2", "0/2@1"]);
    // After it has failed on every worker, any worker is used.
    assert_eq!(assigns(&h.fail(1, 0, 0, Code::IoError)), ["0/0@2"]);
}

#[test]
fn failed_task_uses_its_worker_if_no_other_is_left() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, map_only(), &[2]);
    h.join(2, 1);
    assert_eq!(assigns(&h.fail(1, 0, 0, Code::IoError)), [""; 0]);
    assert_eq!(assigns(&h.leave(2)), ["0/0@1"]);
}

#[test]
fn uncharged_failures_slow_down_and_fail_the_job_at_a_bound() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit_with(1, map_only(), &[1], attempts_max(2));
    assert_eq!(assigns(&h.fail(1, 0, 0, Code::FetchFailed)).len(), 1);
    assert_eq!(assigns(&h.fail(1, 0, 0, Code::FetchFailed)).len(), 1);
    let mut delays = Vec::new();
    for _ in 0..Cause::FetchFailed.most() - 3 {
        assert_eq!(assigns(&h.fail(1, 0, 0, Code::FetchFailed)).len(), 0);
        let before = h.now;
        assert_eq!(assigns(&h.tick()).len(), 1);
        delays.push(h.now.since_ms(before));
    }
    assert_eq!(delays[..4], [100, 200, 400, 800]);
    assert_eq!(delays.last(), Some(&5_000));
    assert_eq!(h.status(1).tasks.failed, 0);
    h.fail(1, 0, 0, Code::FetchFailed);
    let error = h.ended[&job_id(1)].error.clone().unwrap();
    assert_eq!(error.code, Code::FetchFailed);
    for part in ["40 times", "34 earlier ones", "attempt 39 on host1", "fetch-failed: it broke"] {
        assert!(error.message.contains(part), "{part} in {}", error.message);
    }
}

#[test]
fn every_uncharged_code_fails_the_job_at_the_bound_of_its_cause() {
    let codes = [
        (Code::FetchFailed, Cause::FetchFailed),
        (Code::Unreachable, Cause::FetchFailed),
        (Code::ChunkUnavailable, Cause::ChunkUnavailable),
        (Code::StaleAttempt, Cause::Stale),
        (Code::WorkerLost, Cause::Undelivered),
        (Code::SegmentCorrupt, Cause::SegmentCorrupt),
        (Code::ResourceLimit, Cause::ResourceLimit),
    ];
    assert!(Code::ALL.iter().all(|c| c.class() != Class::Retry || codes.iter().any(|(code, _)| code == c)));
    for (code, cause) in codes {
        let mut h = Harness::new();
        h.join(1, 1);
        h.submit(1, map_only(), &[1]);
        let mut failed = 0;
        while !h.ended.contains_key(&job_id(1)) {
            if h.assigned.is_empty() {
                h.tick();
            } else {
                h.fail(1, 0, 0, code);
                failed += 1;
            }
            assert!(failed <= 100, "{code} has no bound");
        }
        assert_eq!((failed, h.ended[&job_id(1)].error.as_ref().unwrap().code), (cause.most(), cause.code()));
    }
}

#[test]
fn uncharged_counts_begin_anew_when_the_task_is_done() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, map_reduce(1), &[1]);
    h.fail(1, 0, 0, Code::FetchFailed);
    let task = TaskId { job: job_id(1), stage: StageId(0), index: 0 };
    assert_eq!(h.uncharged[&task].counts, [(Cause::FetchFailed, 1)]);
    h.finish(1, 0, 0);
    assert_eq!(h.uncharged[&task].counts, []);
}

#[test]
fn a_failed_publication_is_charged_and_another_attempt_wins() {
    let mut h = Harness::new();
    h.join(1, 2);
    h.submit_with(1, map_reduce(1), &[1], attempts_max(2));
    h.finish(1, 0, 0);
    let (worker, first) = h.take(1, 1, 0);
    h.done(worker, &first);
    let actions = h.step(Event::PublishFailed { worker, attempt: first.attempt, failure: failure(Code::Unreachable) });
    assert_eq!(assigns(&actions), ["1/0@1"]);
    assert_eq!(h.status(1).tasks.failed, 1);
    assert_eq!(h.step(Event::Published { worker, attempt: first.attempt }), [], "too late");
    let (worker, second) = h.take(1, 1, 0);
    assert_eq!(second.attempt.number, 1);
    h.done(worker, &second);
    assert_eq!(h.step(Event::Published { worker, attempt: first.attempt }), [], "it is not the one that was granted");
    let committing = h.step(Event::Published { worker, attempt: second.attempt });
    assert!(
        matches!(&committing[..], [Action::CommitJob { parts, .. }] if parts.len() == 1 && parts[0].attempt == second.attempt),
        "{committing:?}"
    );
}

#[test]
fn a_report_that_does_not_fit_is_a_charged_failure() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit_with(1, map_reduce(2), &[1], attempts_max(6));
    let sized = |sizes| OutputReport::Edge(EdgeReport { bytes: 10, records: 1, digest: 1, sizes });
    let bad = [
        vec![],
        vec![OutputReport::Broadcast(vec![])],
        vec![sized(SizeHints::Sparse(vec![(2, 1)]))],
        vec![sized(SizeHints::Sparse(vec![(1, 1), (0, 1)]))],
        vec![sized(SizeHints::Dense(vec![1, 1, 1]))],
    ];
    for outputs in bad {
        let (worker, task) = h.take(1, 0, 0);
        let report = TaskReport { outputs, ..TaskReport::default() };
        h.step(Event::AttemptDone { worker, attempt: task.attempt, report });
    }
    assert_eq!(h.status(1).tasks.failed, 5);
    h.fail(1, 0, 0, Code::UserPanic);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Failed);
}

#[test]
fn late_messages_have_no_effect() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, map_reduce(1), &[1]);
    let (worker, first) = h.take(1, 0, 0);
    h.step(Event::AttemptFailed { worker, attempt: first.attempt, failure: failure(Code::UserError) });
    let before = h.status(1);
    let late = h.step(Event::AttemptFailed { worker, attempt: first.attempt, failure: failure(Code::UserError) });
    assert_eq!((late, h.status(1)), (vec![], before));
    assert_eq!(h.done(worker, &first), [Action::Revoke { worker, attempt: first.attempt }]);

    let (worker, second) = h.take(1, 0, 0);
    let mut other_epoch = second.clone();
    other_epoch.attempt.epoch = Epoch(0);
    assert_eq!(h.done(worker, &other_epoch).len(), 1);
    assert_eq!(h.done(worker_id(9), &second).len(), 1, "not from there");
    assert_eq!(assigns(&h.done(worker, &second)), ["1/0@1"]);
    assert_eq!(h.done(worker, &second), [], "said twice: its files are in use");
}
