//! The driver dies and starts again: jobs continue with its journal and the reports of workers.

mod support;
use support::*;
use windrow_model::*;
use windrow_scheduler::{Action, CollectedBlob, Config, Event, RestoredJob};

/// Job 1 as the journal of this harness would hold it.
fn journalled(h: &Harness, plan: Plan, chunk_counts: &[u32]) -> RestoredJob {
    RestoredJob {
        elapsed_ms: 1_000,
        published: h.recorded.clone(),
        failures: h.failures.clone(),
        uncharged: h.uncharged.clone().into_iter().collect(),
        ..restored_job(plan, chunk_counts)
    }
}

/// The second epoch, which waits for these workers.
fn restart(job: RestoredJob, awaited: &[u8]) -> (Harness, Vec<Action>) {
    let mut h = Harness::in_epoch(Config { lease_ms: 10_000, ..slots_only() }, 2);
    let mut actions = h.step(Event::Restored { job: Box::new(job) });
    let workers = awaited.iter().map(|n| worker_id(*n)).collect();
    actions.extend(h.step(Event::Awaited { workers, ms: 5_000 }));
    (h, actions)
}

#[test]
fn restart_keeps_running_attempts_and_finished_outputs() {
    let mut old = Harness::new();
    old.join(1, 4);
    old.submit(1, map_reduce(2), &[2]);
    let maps = [old.take(1, 0, 0).1, old.take(1, 0, 1).1];
    maps.iter().for_each(|m| drop(old.done(worker_id(1), m)));
    let (worker, first) = old.take(1, 1, 0);
    let (_, second) = old.take(1, 1, 1);
    old.done(worker, &first);
    old.step(Event::Published { worker, attempt: first.attempt });

    let (mut h, actions) = restart(journalled(&old, map_reduce(2), &[2]), &[1]);
    assert_eq!(actions, []);
    assert_eq!(h.status(1).tasks.done, 1);
    let held = vec![held_done(&maps[0]), held_done(&maps[1]), held_done(&first), held_running(&second)];
    assert_eq!(h.join_holding(1, 4, 1, held), []);
    assert_eq!(h.status(1).tasks, TaskTotals { total: 4, done: 3, running: 1, failed: 0 });
    assert_eq!(h.done(worker, &second), [Action::Grant { worker, attempt: second.attempt }]);
    let committing = h.step(Event::Published { worker, attempt: second.attempt });
    let [Action::CommitJob { parts, .. }] = &committing[..] else { panic!("{committing:?}") };
    assert_eq!(parts.iter().map(|p| p.attempt).collect::<Vec<_>>(), [first.attempt, second.attempt]);
    h.commit(1);
    assert_eq!(h.ended[&job_id(1)].counters.get("tasks"), 4);
    assert!(h.ended[&job_id(1)].elapsed_ms >= 1_000);
}

#[test]
fn restored_job_waits_for_its_workers_or_a_deadline() {
    let old = Harness::new();
    let (mut h, _) = restart(journalled(&old, map_reduce(1), &[2]), &[1, 2]);
    assert_eq!(assigns(&h.join(1, 2)), [""; 0], "the other one may have it");
    h.now = Time(5_000);
    let ticked = h.step(Event::Tick);
    assert_eq!(assigns(&ticked), ["0/0@1", "0/1@1"]);
    assert_eq!(h.take(1, 0, 0).1.attempt.epoch, Epoch(2));
    let (mut h, _) = restart(journalled(&old, map_reduce(1), &[1]), &[1]);
    assert_eq!(assigns(&h.join(1, 1)), ["0/0@1"], "all are back");
    let (mut h, _) = restart(journalled(&old, map_reduce(1), &[1]), &[]);
    assert_eq!(assigns(&h.join(1, 1)), ["0/0@1"], "no worker is awaited");
}

#[test]
fn new_jobs_do_not_wait_for_old_workers() {
    let old = Harness::new();
    let (mut h, _) = restart(journalled(&old, map_reduce(1), &[1]), &[1]);
    h.join(2, 1);
    h.submit(2, map_only(), &[1]);
    assert_eq!(h.running(), ["0/0@2"]);
    assert_eq!(h.take(2, 0, 0).1.attempt.task.job, job_id(2));
}

/// Outputs of an earlier release have the number of partitions by its rule.
#[test]
fn restored_job_keeps_its_number_of_partitions() {
    let auto = plan(vec![
        stage("map", vec![source()], vec![edge_of(Partitions::Auto)]),
        stage("reduce", vec![edge_from(&[(0, 0)])], vec![sink(0)]),
    ]);
    let tasks = |partitions: Option<u32>| {
        let mut job = restored_job(auto.clone(), &[1]);
        job.spec.options.partitions = partitions;
        let split = job.split.as_mut().unwrap();
        (split.input_bytes, split.auto_partitions) = (1_000_000_000_000, partitions.unwrap_or(2_000));
        let (h, _) = restart(job, &[1]);
        h.status(1).stages[1].tasks.total
    };
    assert_eq!((tasks(None), tasks(Some(5))), (2_000, 5));
    // The same job by the present rule.
    assert_eq!(PartitionCounts::new(&auto, None, 1_000_000_000_000).of(Partitions::Auto), 19_224);
}

/// A job that was submitted and not yet cut is cut again; attempts of the earlier cut are of no use.
#[test]
fn attempts_that_read_other_chunks_are_revoked() {
    let mut old = Harness::new();
    old.join(1, 2);
    old.submit(1, map_reduce(1), &[1]);
    let (worker, map) = old.take(1, 0, 0);
    let unsplit = RestoredJob { split: None, ..journalled(&old, map_reduce(1), &[1]) };
    let (mut h, actions) = restart(unsplit, &[1]);
    assert_eq!(actions, [Action::PlanJob { job: job_id(1) }]);
    h.step(Event::Planned { job: job_id(1), input_bytes: 1, stages: vec![chunks(0, 1)] });
    let held = h.join_holding(1, 2, 1, vec![held_running(&map)]);
    assert_eq!(held[0], Action::Revoke { worker, attempt: map.attempt });
    assert_eq!(assigns(&held), ["0/0@1"]);
}

/// Its maps are lost with their worker and not needed: every part is staged.
#[test]
fn restored_job_with_all_parts_staged_commits_at_once() {
    let mut old = Harness::new();
    old.join(1, 2);
    old.submit(1, map_reduce(1), &[3]);
    old.finish_all();
    let sealed = RestoredJob { sealed: true, ..journalled(&old, map_reduce(1), &[3]) };
    let (mut h, actions) = restart(sealed, &[1]);
    let [Action::CommitJob { parts, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(parts.len(), 1);
    assert_eq!(h.step(Event::Cancelled { job: job_id(1) }), []);
    h.commit(1);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
}

fn with_a_collect() -> Plan {
    let mut plan = map_reduce(1);
    plan.stages[1].outputs.push(Output::Broadcast);
    plan.stages.push(stage("count", vec![edge_from(&[(0, 0)])], vec![Output::Broadcast]));
    plan.collects.push(Collect { name: "n".into(), from: port(2, 0) });
    plan
}

#[test]
fn sealed_job_with_recorded_results_runs_nothing_again() {
    let plan = with_a_collect();
    let mut old = Harness::new();
    old.join(1, 4);
    old.submit(1, plan.clone(), &[1]);
    old.finish_all();
    let collected = vec![("n".to_string(), vec![CollectedBlob::Inline(b"7".to_vec())])];
    let sealed = RestoredJob { sealed: true, collected: collected.clone(), ..journalled(&old, plan, &[1]) };
    let (mut h, actions) = restart(sealed, &[]);
    let [Action::CommitJob { collected: again, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(*again, collected);
    assert_eq!(h.join(2, 4), []);
    let ended = h.commit(1);
    assert!(ended.iter().any(|a| matches!(a, Action::JobEnded { collected: given, .. } if *given == collected)));
}

/// The journal of an earlier release does not have the results of a job whose commit had begun.
#[test]
fn restored_commit_reruns_unrecorded_collects() {
    let plan = with_a_collect();
    let mut old = Harness::new();
    old.join(1, 4);
    old.submit(1, plan.clone(), &[1]);
    old.finish_all();
    let sealed = RestoredJob { sealed: true, ..journalled(&old, plan, &[1]) };
    let (mut h, _) = restart(sealed, &[]);
    h.join(2, 1);
    h.finish_all();
    h.step(Event::Cancelled { job: job_id(1) });
    let ended = h.commit(1);
    assert_eq!(h.ended[&job_id(1)].state, JobState::Done);
    let collected = ended.iter().find_map(|a| match a {
        Action::JobEnded { collected, .. } => Some(collected),
        _ => None,
    });
    assert_eq!(collected.unwrap()[0].1.len(), 1);
}

#[test]
fn failures_count_on_after_a_restart() {
    let mut old = Harness::new();
    old.join(1, 1);
    old.submit(1, map_reduce(1), &[1]);
    (0..2).for_each(|_| drop(old.fail(1, 0, 0, Code::UserPanic)));
    assert_eq!(old.failures.last(), Some(&(TaskId { job: job_id(1), stage: StageId(0), index: 0 }, 2)));
    let (mut h, _) = restart(journalled(&old, map_reduce(1), &[1]), &[1]);
    assert_eq!(h.status(1).tasks.failed, 2);
    h.join_as(1, 1, 2);
    h.fail(1, 0, 0, Code::UserPanic);
    assert!(h.ended.is_empty());
    h.fail(1, 0, 0, Code::UserPanic);
    let error = h.ended[&job_id(1)].error.clone().unwrap();
    assert!(error.code == Code::UserPanic && error.message.contains("failed 4 times"), "{error}");
}
