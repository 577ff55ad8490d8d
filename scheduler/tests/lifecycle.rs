//! A job from submission to its end, without faults.

mod support;
use support::*;
use windrow_model::*;
use windrow_scheduler::{Action, CollectedBlob, Config, Event};

#[test]
fn a_job_maps_reduces_commits_and_ends_once() {
    let mut h = Harness::new();
    h.join(1, 2);
    assert_eq!(assigns(&h.submit(1, map_reduce(2), &[3])), ["0/0@1", "0/1@1"]);
    assert_eq!(assigns(&h.finish(1, 0, 1)), ["0/2@1"]);
    assert_eq!(assigns(&h.finish(1, 0, 0)), [""; 0], "the reduce waits for every map");
    assert_eq!(assigns(&h.finish(1, 0, 2)), ["1/0@1", "1/1@1"]);

    let (worker, first) = h.take(1, 1, 0);
    assert_eq!(h.done(worker, &first), [Action::Grant { worker, attempt: first.attempt }]);
    assert_eq!(h.status(1).tasks, TaskTotals { total: 5, done: 3, running: 2, failed: 0 });
    assert_eq!(h.finish(1, 1, 1).len(), 1, "only its grant: the first part is not published");
    let committing = h.step(Event::Published { worker, attempt: first.attempt });
    let [Action::CommitJob { parts, .. }] = &committing[..] else { panic!("{committing:?}") };
    assert_eq!(parts.iter().map(|p| p.task).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(h.status(1).state, JobState::Committing);

    let ended = h.commit(1);
    let [Action::JobEnded { status, workers, .. }] = &ended[..] else { panic!("{ended:?}") };
    assert_eq!((status.state, status.attempts), (JobState::Done, 5));
    assert_eq!(status.counters.get("tasks"), 5);
    assert_eq!(status.outputs, ["/out0"]);
    assert_eq!(*workers, [worker_id(1)]);
    assert_eq!(h.commit(1), []);
    assert_eq!(h.status(1), **status, "its status stays");
}

#[test]
fn commit_that_waits_says_so_and_can_only_be_given_up() {
    let mut h = Harness::new();
    h.join(1, 2);
    h.submit(1, map_reduce(1), &[1]);
    h.finish(1, 0, 0);
    let (worker, task) = h.take(1, 1, 0);
    let waits = |reason: Option<&str>| Event::CommitWaits { job: job_id(1), reason: reason.map(str::to_string) };
    h.step(waits(Some("too early")));
    h.done(worker, &task);
    h.step(Event::Published { worker, attempt: task.attempt });
    assert_eq!((h.status(1).state, h.status(1).waiting), (JobState::Committing, None));
    h.step(waits(Some("for its mount")));
    assert_eq!(h.status(1).waiting.as_deref(), Some("for its mount"));
    assert_eq!(h.step(Event::Cancelled { job: job_id(1) }), []);
    h.step(waits(None));
    assert_eq!((h.status(1).state, h.status(1).waiting), (JobState::Committing, None));
    let failure = Failure::new(Code::Cancelled, "given up");
    let ended = h.step(Event::CommitGivenUp { job: job_id(1), failure: failure.clone() });
    let [Action::JobEnded { status, .. }] = &ended[..] else { panic!("{ended:?}") };
    assert_eq!((status.state, status.error.as_ref()), (JobState::Cancelled, Some(&failure)), "not as a failure");
    assert_eq!(h.step(Event::CommitGivenUp { job: job_id(1), failure }), []);
}

#[test]
fn a_reader_gets_its_partition_of_every_port_in_order() {
    let mut h = Harness::new();
    h.join(1, 8);
    let union = plan(vec![
        stage("left", vec![source()], vec![edge(2)]),
        stage("right", vec![source()], vec![Output::Broadcast, edge(2)]),
        stage("join", vec![edge_from(&[(1, 1), (0, 0)]), broadcast_from(1, 0)], vec![sink(0)]),
    ]);
    h.submit(1, union, &[2, 3]);
    // Finished out of order; left/0 leaves partition 1 out, and right/1 writes nothing.
    let (worker, task) = h.take(1, 0, 0);
    let mut sparse = report(&task);
    sparse.outputs[0] = edge_report([segment(0)].into_iter(), 2);
    for (s, i) in [(1, 2), (0, 1), (1, 0)] {
        h.finish(1, s, i);
    }
    let (on, empty) = h.take(1, 1, 1);
    let mut nothing = report(&empty);
    nothing.outputs[1] = edge_report(std::iter::empty(), 2);
    h.step(Event::AttemptDone { worker: on, attempt: empty.attempt, report: nothing });
    h.step(Event::AttemptDone { worker, attempt: task.attempt, report: sparse });
    let read = |h: &Harness, task: &Task| {
        let name = |s: &OutputRef| (s.attempt.task.stage.0, s.output, s.attempt.task.index);
        h.reads(task).iter().map(name).collect::<Vec<_>>()
    };
    let bytes = |task: &Task| match &task.inputs[0] {
        TaskInput::Edge(edge) => edge.bytes,
        other => panic!("{other:?}"),
    };
    let (_, zero) = h.take(1, 2, 0);
    let all = [(1, 1, 0), (1, 1, 2), (0, 0, 0), (0, 0, 1)];
    assert_eq!((read(&h, &zero), bytes(&zero)), (all.to_vec(), 40));
    assert_eq!(zero.inputs[1], TaskInput::Inline(vec![vec![1, 0], vec![1, 1], vec![1, 2]]));
    let (_, one) = h.take(1, 2, 1);
    assert_eq!((read(&h, &one), bytes(&one)), (all.to_vec(), 30), "holders know which of them is empty");
    assert_eq!(one.job_input_bytes, 500);
    assert_eq!(h.status(1).stages[2].bytes_total, 70);
}

#[test]
fn a_source_without_chunks_is_done_and_its_readers_still_run() {
    let mut h = Harness::new();
    h.join(1, 4);
    assert_eq!(assigns(&h.submit(1, map_reduce(2), &[0])), ["1/0@1", "1/1@1"]);
    let (_, task) = &h.assigned[0];
    assert_eq!(h.reads(task), []);
    h.finish_all();
    h.commit(1);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

#[test]
fn job_without_sinks_ends_without_a_commit() {
    let mut h = Harness::new();
    h.join(1, 4);
    h.submit(1, map_only(), &[2]);
    h.finish(1, 0, 1);
    let ended = h.finish(1, 0, 0);
    let [Action::JobEnded { collected, .. }] = &ended[..] else { panic!("{ended:?}") };
    assert_eq!(*collected, [("all".to_string(), [[0, 0], [0, 1]].map(|b| CollectedBlob::Inline(b.to_vec())).to_vec())]);
}

#[test]
fn a_job_without_any_chunk_and_sink_ends_when_it_is_planned() {
    let mut h = Harness::new();
    let ended = h.submit(1, map_only(), &[0]);
    assert!(matches!(&ended[..], [Action::JobEnded { status, .. }] if status.state == JobState::Done), "{ended:?}");
}

#[test]
fn auto_partitions_follow_the_input_by_default() {
    let auto = || {
        plan(vec![
            stage("map", vec![source()], vec![edge_of(Partitions::Auto)]),
            stage("reduce", vec![edge_from(&[(0, 0)])], vec![sink(0)]),
        ])
    };
    let mut h = Harness::new();
    h.join(1, 8);
    h.submit_with(1, auto(), &[1], JobOptions { partitions: Some(3), ..JobOptions::default() });
    assert_eq!(h.assigned[0].1.outputs, [TaskOutput::Edge { partitions: 3 }]);
    assert_eq!(h.status(1).stages[1].tasks.total, 3);

    h.step(Event::Submitted { spec: Box::new(spec(2, auto(), JobOptions::default())), unix_ms: 0 });
    h.step(Event::Planned { job: job_id(2), input_bytes: 100 << 20, stages: vec![chunks(0, 1)] });
    assert_eq!(h.status(2).stages[1].tasks.total, 7);
}

#[test]
fn an_invalid_plan_fails_at_submit() {
    let mut h = Harness::new();
    let bad = plan(vec![stage("map", vec![source()], vec![edge(1)])]);
    let submitted = Event::Submitted { spec: Box::new(spec(1, bad, JobOptions::default())), unix_ms: 0 };
    let ended = h.step(submitted);
    let [Action::JobEnded { status, .. }] = &ended[..] else { panic!("{ended:?}") };
    assert_eq!(status.error.as_ref().map(|e| e.code), Some(Code::PlanInvalid));
}

#[test]
fn the_same_submit_again_is_the_same_job() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, map_only(), &[1]);
    let again = || Event::Submitted { spec: Box::new(spec(1, map_only(), JobOptions::default())), unix_ms: 9 };
    assert_eq!(h.step(again()), []);
    h.finish_all();
    assert_eq!(h.step(again()), [], "also after its end");
}

#[test]
fn a_failed_plan_and_a_failed_commit_fail_the_job() {
    let mut h = Harness::new();
    h.join(1, 4);
    h.step(Event::Submitted { spec: Box::new(spec(1, map_only(), JobOptions::default())), unix_ms: 0 });
    h.step(Event::PlanFailed { job: job_id(1), failure: failure(Code::InputNotFound) });
    assert_eq!(h.ended[&job_id(1)].error.as_ref().map(|e| e.code), Some(Code::InputNotFound));

    h.submit(2, map_reduce(1), &[1]);
    h.finish_all();
    h.step(Event::CommitFailed { job: job_id(2), failure: failure(Code::OutputExists) });
    assert_eq!(h.ended[&job_id(2)].error.as_ref().map(|e| e.code), Some(Code::OutputExists));
}

#[test]
fn a_cancelled_job_revokes_what_runs_and_frees_its_slots() {
    let mut h = Harness::new();
    h.join(1, 2);
    h.submit(1, map_reduce(1), &[3]);
    h.submit(2, map_only(), &[2]);
    let running: Vec<AttemptId> = h.assigned.iter().map(|(_, t)| t.attempt).collect();
    let actions = h.step(Event::Cancelled { job: job_id(1) });
    let revoke = |attempt| Action::Revoke { worker: worker_id(1), attempt };
    assert_eq!(actions[..2], [revoke(running[0]), revoke(running[1])]);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Cancelled);
    assert_eq!(h.running(), ["0/0@1", "0/1@1"], "the other job's");
    let late = h.step(Event::AttemptDone { worker: worker_id(1), attempt: running[0], report: TaskReport::default() });
    assert_eq!(late, [revoke(running[0])]);
}

#[test]
fn a_commit_wins_over_a_cancel_and_a_deadline() {
    let mut h = Harness::new();
    h.join(1, 2);
    h.submit_with(1, map_reduce(1), &[1], JobOptions { timeout_ms: Some(50), ..JobOptions::default() });
    h.finish_all();
    assert_eq!(h.step(Event::Cancelled { job: job_id(1) }), []);
    assert_eq!(h.scheduler.next_deadline(), None);
    h.commit(1);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

#[test]
fn a_job_that_takes_longer_than_its_timeout_fails() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit_with(1, map_reduce(1), &[1], JobOptions { timeout_ms: Some(50), ..JobOptions::default() });
    assert_eq!(h.scheduler.next_deadline(), Some(Time(50)));
    assert_eq!(h.tick().len(), 2, "a revoke and the end");
    let status = &h.ended[&job_id(1)];
    assert_eq!((status.elapsed_ms, status.error.as_ref().map(|e| e.code)), (50, Some(Code::DeadlineExceeded)));
}

#[test]
fn a_job_says_that_it_waits_for_workers() {
    let mut h = Harness::new();
    h.submit(1, map_only(), &[1]);
    assert!(h.status(1).waiting.is_some_and(|w| w.contains("windrow worker")));
    h.join(1, 1);
    assert_eq!(h.status(1).waiting, None);
}

fn pass(h: &mut Harness, ms: u64) {
    h.now = h.now.plus_ms(ms);
    h.step(Event::Tick);
}

#[test]
fn starved_job_fails_and_a_served_one_waits_anew() {
    let mut h = Harness::with(Config { lease_ms: u64::MAX, unschedulable_after_ms: 60_000, ..slots_only() });
    h.submit(1, map_only(), &[1]);
    pass(&mut h, 59_999);
    h.submit(2, map_only(), &[1]);
    assert!(h.status(1).waiting.is_some());
    pass(&mut h, 1);
    let failed = h.status(1);
    assert_eq!(failed.state, JobState::Failed);
    let error = failed.error.unwrap();
    assert_eq!(error.code, Code::Unschedulable);
    assert!(error.message.contains("60 s") && error.message.contains("no worker is registered"), "{error:?}");
    // The other job's deadline is unaffected.
    assert_eq!(h.status(2).state, JobState::Running);
    h.join(1, 1);
    pass(&mut h, 3_600_000);
    assert_eq!(h.status(2).tasks.running, 1, "whatever runs is waited for");
    h.step(Event::WorkerDrains { worker: worker_id(1) });
    pass(&mut h, 3_600_000);
    h.leave(1);
    pass(&mut h, 59_999);
    assert_eq!(h.status(2).state, JobState::Running);
    pass(&mut h, 1);
    assert_eq!(h.status(2).error.unwrap().code, Code::Unschedulable);
    // A draining worker takes no tasks.
    h.join(2, 1);
    h.step(Event::WorkerDrains { worker: worker_id(2) });
    h.submit(3, map_only(), &[1]);
    assert!(h.status(3).waiting.is_some_and(|w| w.contains("drains")));
    pass(&mut h, 60_000);
    assert!(h.status(3).error.unwrap().message.contains("drains"));
}

#[test]
fn collects_beyond_the_limit_fail_the_job_before_it_is_done() {
    for (max, end) in [(4, JobState::Done), (3, JobState::Failed)] {
        let config = Config { lease_ms: u64::MAX, collect_bytes_max: max, ..slots_only() };
        let mut h = Harness::with(config);
        h.join(1, 4);
        // Each of the two tasks collects two bytes.
        h.submit(1, map_only(), &[2]);
        h.finish_all();
        let ended = &h.ended[&job_id(1)];
        assert_eq!(ended.state, end);
        assert_eq!(ended.error.as_ref().map(|e| e.code), (max == 3).then_some(Code::CollectTooLarge));
    }
}

#[test]
fn the_history_is_bounded_in_jobs() {
    let config = Config { lease_ms: u64::MAX, history_max: 2, ..slots_only() };
    let mut h = Harness::with(config);
    h.join(1, 1);
    for n in 1..=3 {
        h.submit(n, map_only(), &[1]);
        h.finish_all();
    }
    h.step(Event::Tick);
    assert_eq!(h.scheduler.statuses(h.now).iter().map(|s| s.id).collect::<Vec<_>>(), [job_id(2), job_id(3)]);
    assert!(h.scheduler.spec(job_id(2)).is_some());
}

#[test]
fn history_is_bounded_in_bytes() {
    let config = Config { lease_ms: u64::MAX, history_bytes_max: 1, ..slots_only() };
    let mut h = Harness::with(config);
    h.join(1, 1);
    h.submit(1, map_only(), &[1]);
    h.finish_all();
    h.step(Event::Tick);
    assert!(h.scheduler.spec(job_id(1)).is_none());
}

#[test]
fn jobs_that_end_in_one_step_are_all_reported() {
    let config = Config { lease_ms: u64::MAX, history_max: 1, ..slots_only() };
    let mut h = Harness::with(config);
    let options = JobOptions { timeout_ms: Some(10), ..JobOptions::default() };
    for n in 1..=5 {
        h.submit_with(n, map_only(), &[1], options.clone());
    }
    h.now = h.now.plus_ms(1_000);
    h.step(Event::Tick);
    for n in 1..=5 {
        assert_eq!(h.ended[&job_id(n)].state, JobState::Failed);
        let known = h.scheduler.spec(job_id(n)).is_some() && h.scheduler.status(job_id(n), h.now).is_some();
        assert!(known, "job {n} ended in this step and must stay until its end is recorded");
    }
    h.step(Event::Tick);
    assert_eq!(h.scheduler.statuses(h.now).len(), 1);
}

#[test]
fn job_of_too_many_tasks_fails_before_they_are_kept() {
    let mut h = Harness::with(slots_only());
    h.join(1, 1);
    let mut plan = map_reduce(1_000_000);
    for stage in 1..3 {
        let mut shuffled = plan.stages[stage].clone();
        shuffled.inputs = vec![Input::Edge { from: vec![Port { stage: StageId(stage as u32 - 1), output: 0 }] }];
        shuffled.outputs = plan.stages[0].outputs.clone();
        plan.stages.insert(stage, shuffled);
    }
    let last = Port { stage: StageId(2), output: 0 };
    plan.stages[3].inputs = vec![Input::Edge { from: vec![last] }];
    h.submit(1, plan, &[1]);
    let ended = &h.ended[&job_id(1)];
    assert_eq!(ended.error.as_ref().map(|e| e.code), Some(Code::PlanInvalid));
}

#[test]
fn tasks_of_all_jobs_share_a_bound_on_memory() {
    let mut h = Harness::with(Config { lease_ms: u64::MAX, planned_bytes_max: 30_000, ..slots_only() });
    let code = |h: &Harness, n| h.ended.get(&job_id(n)).and_then(|status| status.error.as_ref()).map(|e| e.code);
    h.submit(1, map_only(), &[10]);
    h.submit(2, map_only(), &[10]);
    assert_eq!((code(&h, 1), code(&h, 2)), (None, None));
    h.submit(3, map_only(), &[10]);
    assert_eq!(code(&h, 3), Some(Code::BadRequest), "three jobs of ten tasks do not fit");
    h.step(Event::Cancelled { job: job_id(1) });
    h.submit(4, map_only(), &[10]);
    assert_eq!(code(&h, 4), None, "an ended job gives its part back");
}

#[test]
fn job_that_is_alone_may_be_of_any_permitted_size() {
    let mut h = Harness::with(Config { lease_ms: u64::MAX, planned_bytes_max: 1, ..slots_only() });
    h.submit(1, map_only(), &[100]);
    assert_eq!(h.ended.get(&job_id(1)), None);
}
