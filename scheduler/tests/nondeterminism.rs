//! Tasks that give another output when they run again: their readers run again too, or the job fails.

mod support;
use support::*;
use windrow_model::*;
use windrow_scheduler::{Action, Event, RestoredJob};

/// The report of a task whose output depends on `salt` and on its inputs.
fn report_with(task: &Task, salt: u32) -> TaskReport {
    let mut report = report(task);
    let salt = salt ^ report.inputs as u32;
    for (report, output) in report.outputs.iter_mut().zip(&task.outputs) {
        if let TaskOutput::Edge { partitions } = output {
            *report = salted(*partitions, salt);
        }
    }
    report
}

fn salted(partitions: u32, salt: u32) -> OutputReport {
    edge_report((0..partitions).map(|p| Segment { digest: p ^ salt, ..segment(p) }), partitions)
}

fn done(h: &mut Harness, n: u8, stage: u32, index: u32, salt: u32) -> (AttemptId, Vec<Action>) {
    let (worker, task) = h.take(n, stage, index);
    let (attempt, report) = (task.attempt, report_with(&task, salt));
    let mut actions = h.step(Event::AttemptDone { worker, attempt, report });
    if actions.contains(&Action::Grant { worker, attempt }) {
        actions.extend(h.step(Event::Published { worker, attempt }));
    }
    (attempt, actions)
}

fn error(h: &Harness) -> Failure {
    h.ended[&job_id(1)].error.clone().unwrap()
}

/// The only map is on worker 1, which has one slot; one reduce runs there and one on worker 2.
fn two_reduces(plan: Plan) -> Harness {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, plan, &[1]);
    done(&mut h, 1, 0, 0, 7);
    h.join(2, 1);
    assert_eq!(h.running(), ["1/0@1", "1/1@2"]);
    h
}

#[test]
fn identical_rerun_output_reruns_no_reader() {
    let mut h = two_reduces(map_reduce(2));
    h.join(3, 1);
    assert_eq!(assigns(&h.leave(1)), ["0/0@3"]);
    done(&mut h, 1, 0, 0, 7);
    let (worker, task) = h.take(1, 1, 1);
    let taken = h.step(Event::AttemptDone { worker, attempt: task.attempt, report: report_with(&task, 7) });
    assert_eq!(taken, [Action::Grant { worker, attempt: task.attempt }]);
}

#[test]
fn running_reader_of_a_replaced_output_runs_again() {
    let mut h = two_reduces(map_reduce(2));
    h.join(3, 1);
    h.leave(1);
    done(&mut h, 1, 0, 0, 8);
    let (worker, task) = h.take(1, 1, 1);
    let report = report_with(&task, 7);
    let actions = h.step(Event::AttemptDone { worker, attempt: task.attempt, report });
    assert_eq!(actions[0], Action::Revoke { worker, attempt: task.attempt });
    assert_eq!(assigns(&actions).len(), 1, "it runs again: {actions:?}");
    h.finish_all();
    h.commit(1);
    let end = &h.ended[&job_id(1)];
    assert_eq!((end.state, end.tasks.failed), (JobState::Done, 0));
}

#[test]
fn published_reader_of_replaced_output_fails_the_job() {
    let mut h = two_reduces(map_reduce(2));
    h.join(3, 1);
    done(&mut h, 1, 1, 1, 0);
    h.leave(1);
    done(&mut h, 1, 0, 0, 8);
    let error = error(&h);
    assert_eq!(error.code, Code::NondeterministicTask);
    let digest = |salt: u32| output_digest(&[salted(2, salt)]);
    for part in [format!("{:016x}", digest(7)), format!("{:016x}", digest(8)), "task 0 of stage 0".into()] {
        assert!(error.message.contains(&part), "no {part}: {error}");
    }
}

#[test]
fn granted_reader_of_replaced_output_fails_the_job() {
    let mut h = two_reduces(map_reduce(2));
    h.join(3, 1);
    let (worker, task) = h.take(1, 1, 1);
    h.done(worker, &task);
    h.leave(1);
    done(&mut h, 1, 0, 0, 8);
    assert_eq!(error(&h).code, Code::NondeterministicTask);
}

#[test]
fn rerun_whose_input_was_replaced_is_not_dropped() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.join(2, 1);
    let stages = vec![
        stage("map", vec![source()], vec![edge(1), edge(1)]),
        stage("middle", vec![edge_from(&[(0, 0)])], vec![edge(1)]),
        stage("reduce", vec![edge_from(&[(1, 0)])], vec![sink(0)]),
        stage("other", vec![edge_from(&[(0, 1)])], vec![sink(1)]),
    ];
    h.submit(1, plan(stages), &[1]);
    done(&mut h, 1, 0, 0, 7);
    done(&mut h, 1, 1, 0, 7);
    assert_eq!(h.running(), ["2/0@1", "3/0@2"]);
    h.fail(1, 2, 0, Code::FetchFailed);
    h.join(3, 1);
    assert_eq!(h.running(), ["2/0@3", "3/0@2"]);
    // The map and the middle are lost. The map gives another output, which the last stage is to read.
    h.leave(1);
    h.join(4, 1);
    done(&mut h, 1, 0, 0, 8);
    // The reduce has read what the middle made of the first output, and is published before the middle has run again.
    done(&mut h, 1, 2, 0, 0);
    assert!(h.ended.is_empty());
    done(&mut h, 1, 1, 0, 8);
    assert_eq!(error(&h).code, Code::NondeterministicTask);
}

/// map → middle → reduce, each with two partitions.
fn three_stages() -> Plan {
    plan(vec![
        stage("map", vec![source()], vec![edge(2)]),
        stage("middle", vec![edge_from(&[(0, 0)])], vec![edge(2)]),
        stage("reduce", vec![edge_from(&[(1, 0)])], vec![sink(0)]),
    ])
}

#[test]
fn replaced_output_reruns_all_stages_downstream() {
    let mut h = two_reduces(three_stages());
    done(&mut h, 1, 1, 1, 0);
    // Map and one middle task are lost; the other one is done with what the first map wrote.
    h.join(3, 1);
    h.leave(1);
    let (_, actions) = done(&mut h, 1, 0, 0, 8);
    let middles: Vec<_> = assigns(&actions).into_iter().map(|a| a[..3].to_string()).collect();
    assert_eq!(middles, ["1/0", "1/1"], "both run, the one that was done as well");
    done(&mut h, 1, 1, 0, 0);
    done(&mut h, 1, 1, 1, 0);
    h.finish_all();
    h.commit(1);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

#[test]
fn nondeterministic_outputs_never_count_as_equal() {
    let mut random = map_reduce(2);
    random.stages[0].deterministic = false;
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, random.clone(), &[1]);
    done(&mut h, 1, 0, 0, 7);
    h.join(2, 1);
    h.join(3, 1);
    let (worker, task) = h.take(1, 1, 1);
    h.done(worker, &task);
    h.step(Event::Published { worker, attempt: task.attempt });
    h.leave(1);
    done(&mut h, 1, 0, 0, 7);
    assert_eq!(error(&h).code, Code::NondeterministicTask);
}

#[test]
fn rerun_of_a_published_task_must_give_an_equal_output() {
    for (salt, state) in [(7, JobState::Running), (8, JobState::Failed)] {
        let plan = plan(vec![
            stage("map", vec![source()], vec![edge(1)]),
            stage("middle", vec![edge_from(&[(0, 0)])], vec![sink(0), edge(1)]),
            stage("reduce", vec![edge_from(&[(1, 1)])], vec![sink(1)]),
        ]);
        let mut h = Harness::new();
        h.join(1, 1);
        h.submit(1, plan, &[1]);
        done(&mut h, 1, 0, 0, 0);
        done(&mut h, 1, 1, 0, 7);
        h.leave(1);
        h.join(2, 1);
        done(&mut h, 1, 0, 0, 0);
        done(&mut h, 1, 1, 0, salt);
        assert_eq!(h.status(1).state, state, "{:?}", h.status(1).error);
    }
}

/// The next epoch of a coordinator, whose journal holds the job with one chunk and what it has published. No worker is
/// back.
fn next_epoch(plan: Plan, old: Harness) -> Harness {
    let restored = RestoredJob { published: old.recorded, ..restored_job(plan, &[1]) };
    let mut h = Harness::in_epoch(slots_only(), 2);
    h.step(Event::Restored { job: Box::new(restored) });
    h.step(Event::Awaited { workers: vec![], ms: 1 });
    h
}

#[test]
fn restart_keeps_the_digest_of_a_published_reader() {
    for (salt, fails) in [(7, false), (8, true)] {
        let mut old = two_reduces(map_reduce(2));
        done(&mut old, 1, 1, 1, 0);
        let mut h = next_epoch(map_reduce(2), old);
        // Both workers are gone with the map's output.
        h.join(3, 1);
        done(&mut h, 1, 0, 0, salt);
        assert_eq!(h.ended.contains_key(&job_id(1)), fails);
        if fails {
            assert_eq!(error(&h).code, Code::NondeterministicTask);
        }
    }
}

/// The middle task's output was lost and is not needed. But the digest of its inputs is lost too, and the part that
/// was made from it is published.
#[test]
fn published_part_is_checked_through_unreported_tasks() {
    for (salt, fails) in [(7, false), (8, true)] {
        let plan = plan(vec![
            stage("map", vec![source()], vec![edge(1)]),
            stage("middle", vec![edge_from(&[(0, 0)])], vec![edge(1)]),
            stage("reduce", vec![edge_from(&[(1, 0)])], vec![sink(0)]),
            stage("other", vec![edge_from(&[(0, 0)])], vec![sink(1)]),
        ]);
        let mut old = Harness::new();
        old.join(1, 1);
        old.submit(1, plan.clone(), &[1]);
        done(&mut old, 1, 0, 0, 7);
        done(&mut old, 1, 1, 0, 0);
        done(&mut old, 1, 2, 0, 0);
        assert_eq!(old.running(), ["3/0@1"]);
        let mut h = next_epoch(plan, old);
        h.join(2, 1);
        done(&mut h, 1, 0, 0, salt);
        done(&mut h, 1, 1, 0, 0);
        assert_eq!(h.ended.contains_key(&job_id(1)), fails);
    }
}

#[test]
fn digest_includes_broadcasts() {
    let plan = plan(vec![
        stage("sample", vec![source()], vec![Output::Broadcast, edge(1)]),
        stage("read", vec![edge_from(&[(0, 1)]), broadcast_from(0, 0)], vec![sink(0)]),
    ]);
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, plan, &[1]);
    done(&mut h, 1, 0, 0, 0);
    let (worker, reader) = h.take(1, 1, 0);
    let (lost, failure) = (h.reads(&reader)[0], failure(Code::SegmentCorrupt));
    h.join(2, 1);
    h.step(Event::SegmentLost { worker, reader: reader.attempt, lost, failure });
    let (worker, again) = h.take(1, 0, 0);
    let mut other = report(&again);
    other.outputs[0] = OutputReport::Broadcast(vec![99]);
    h.step(Event::AttemptDone { worker, attempt: again.attempt, report: other });
    let (_, reader) = h.take(1, 1, 0);
    assert_eq!(reader.inputs[1], TaskInput::Inline(vec![vec![99]]), "with the edge of the same attempt");
}

/// A digest is by stage: the second reader runs again although only the first one's partition has changed.
#[test]
fn change_of_one_partition_reruns_every_reader() {
    let mut h = Harness::new();
    h.join(1, 1);
    h.submit(1, map_reduce(2), &[1]);
    done(&mut h, 1, 0, 0, 7);
    h.join(2, 1);
    h.join(3, 1);
    h.leave(1);
    let (worker, map) = h.take(1, 0, 0);
    let first_changed = |p| Segment { digest: if p == 0 { 99 } else { p ^ 7 }, ..segment(p) };
    let mut other = report_with(&map, 7);
    other.outputs[0] = edge_report((0..2).map(first_changed), 2);
    h.step(Event::AttemptDone { worker, attempt: map.attempt, report: other });
    let (worker, task) = h.take(1, 1, 1);
    let actions = h.step(Event::AttemptDone { worker, attempt: task.attempt, report: report_with(&task, 7) });
    assert_eq!(actions[0], Action::Revoke { worker, attempt: task.attempt });
    h.finish_all();
    h.commit(1);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}
