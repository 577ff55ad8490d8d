//! A job from submit to its visible output, through the real services, with a worker that is played by the test.

#![allow(clippy::disallowed_methods, reason = "tests read the files that they made")]

mod support;

use std::fs;
use support::*;
use windrow_model::*;
use windrow_proto::v1::{self, from_worker::Message as Say, to_worker::Message as ToWorker};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_from_submit_to_a_visible_output() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    assert_eq!((worker.registered.epoch, worker.registered.lease_ms), (1, 10_000));

    let spec = place.spec(1);
    assert_eq!(client.submit(&spec).await, Ok(spec.id));
    let (_, seen) = tokio::join!(worker.work_until_dropped(spec.id), client.watch(spec.id));

    let end = seen.last().unwrap();
    assert_eq!((end.state, &end.error), (JobState::Done, &None));
    assert_eq!((end.tasks.total, end.tasks.done, end.attempts), (3, 3, 3));
    assert_eq!(seen.iter().filter(|s| s.state.is_final()).count(), 1);
    assert_eq!(client.get(spec.id).await.unwrap().state, JobState::Done);

    let manifest: Manifest = serde_json::from_slice(&fs::read(place.output().join("_SUCCESS")).unwrap()).unwrap();
    assert_eq!((manifest.job, manifest.records, manifest.bytes), (spec.id, 2, 2 * PART.len() as u64));
    let mut names: Vec<_> = fs::read_dir(place.output()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["_SUCCESS", "part-00000", "part-00001"]);
    assert_eq!(place.names(), ["data", "in.txt", "out"]);

    let blobs = client.collected(spec.id).await.unwrap();
    let blobs: Vec<_> = blobs.into_iter().map(|b| (b.name, b.task, b.data)).collect();
    assert_eq!(blobs, [("n".to_string(), 0, vec![0]), ("n".to_string(), 1, vec![1])]);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn job_without_collects_has_empty_results() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let mut spec = place.spec(1);
    spec.plan.collects.clear();
    spec.plan.stages[1].outputs.truncate(1);
    assert_eq!(client.run(&mut worker, &spec).await.state, JobState::Done);
    assert_eq!(client.collected(spec.id).await, Ok(vec![]));
    coordinator.stop().await;
    let coordinator = Coordinator::start(&place.data()).await;
    assert_eq!(coordinator.client().await.collected(spec.id).await, Ok(vec![]));
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_that_is_repeated_is_the_same_job() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let spec = place.spec(1);
    for _ in 0..3 {
        assert_eq!(client.submit(&spec).await, Ok(spec.id));
    }
    worker.work_until_dropped(spec.id).await;
    assert_eq!(client.end_of(spec.id).await.state, JobState::Done);
    assert_eq!(client.submit(&spec).await, Ok(spec.id));
    assert_eq!(client.list().await.len(), 1);
    assert_eq!(client.end_of(spec.id).await.attempts, 3);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_job_leaves_nothing_and_frees_its_output() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let first = place.spec(1);
    client.submit(&first).await.unwrap();
    let task = worker.next_task().await;

    // While it runs, no other job may write there.
    let second = place.spec(2);
    client.submit(&second).await.unwrap();
    assert_eq!(client.end_of(second.id).await.error.unwrap().code, Code::OutputInUse);

    client.cancel(first.id).await.unwrap();
    worker.work_until_dropped(first.id).await;
    assert_eq!(worker.revoked, [task.attempt]);
    let end = client.end_of(first.id).await;
    assert_eq!((end.state, end.error.unwrap().code), (JobState::Cancelled, Code::Cancelled));
    // Too late, and harmless.
    worker.done(&task);

    let third = place.spec(3);
    client.submit(&third).await.unwrap();
    worker.work_until_dropped(third.id).await;
    assert_eq!(client.end_of(third.id).await.state, JobState::Done);
    assert_eq!(client.cancel(JobId::from_bytes([9; 16])).await.unwrap_err().code, Code::JobNotFound);
    coordinator.stop().await;
    assert_eq!(place.names(), ["data", "in.txt", "out"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_job_is_refused_with_its_code() {
    let place = Place::new();
    let coordinator = Coordinator::start(&place.data()).await;
    let mut client = coordinator.client().await;
    assert_eq!(client.submit(&place.spec(1)).await.unwrap_err().code, Code::BadBinary);
    client.upload(b"binary").await;

    let mut broken = place.spec(1);
    broken.plan.sinks.clear();
    assert_eq!(client.submit(&broken).await.unwrap_err().code, Code::PlanInvalid);

    let mut end_of = async |spec: JobSpec| {
        client.submit(&spec).await.unwrap();
        let end = client.end_of(spec.id).await;
        assert_eq!(end.state, JobState::Failed);
        end.error.unwrap().code
    };
    assert_eq!(end_of(spec(2, &place.dir.path().join("no"), &place.output())).await, Code::InputNotFound);
    assert_eq!(end_of(spec(5, &place.input(), std::path::Path::new("out"))).await, Code::BadRequest);
    fs::create_dir(place.output()).unwrap();
    assert_eq!(end_of(place.spec(3)).await, Code::OutputExists);
    fs::remove_dir(place.output()).unwrap();
    assert_eq!(end_of(spec(4, place.dir.path(), &place.output())).await, Code::OutputInsideInput);
    assert_eq!(place.names(), ["data", "in.txt"]);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_without_the_output_is_left_out_if_another_sees_it() {
    let (place, coordinator, mut client) = start().await;
    let mut blind = FakeWorker::join(&coordinator, register(7, 1)).await.unwrap();
    let mut sees = FakeWorker::join(&coordinator, register(8, 1)).await.unwrap();
    let spec = place.spec(1);
    client.submit(&spec).await.unwrap();
    let Some(ToWorker::CheckStaging(check)) = blind.hear().await else { panic!("no question about staging") };
    let failure = Failure::new(Code::OutputNotShared, "no such folder");
    blind.say(Say::StagingChecked(v1::StagingChecked { request: check.request, failure: Some(failure.into()) }));
    sees.work_until_dropped(spec.id).await;
    let end = client.end_of(spec.id).await;
    assert_eq!(end.state, JobState::Done);
    assert_eq!(
        end.left_out.iter().map(|l| (l.worker, l.code)).collect::<Vec<_>>(),
        [(blind.id, Code::OutputNotShared)]
    );
    assert!(blind.setups.is_empty(), "it was given nothing");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_no_worker_sees_fails_the_job_before_its_tasks() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let spec = place.spec(1);
    client.submit(&spec).await.unwrap();
    let Some(ToWorker::CheckStaging(check)) = worker.hear().await else { panic!("no question about staging") };
    let failure = Failure::new(Code::OutputNotShared, "no such folder");
    worker.say(Say::StagingChecked(v1::StagingChecked { request: check.request, failure: Some(failure.into()) }));
    let error = client.end_of(spec.id).await.error.unwrap();
    assert_eq!(error.code, Code::OutputNotShared);
    assert!(error.message.contains(&worker.id.to_string()), "{error}");
    coordinator.stop().await;
    assert_eq!(place.names(), ["data", "in.txt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn job_does_not_wait_for_a_worker_that_leaves() {
    let (place, coordinator, mut client, mut silent) = start_with_worker().await;
    let mut worker = FakeWorker::join(&coordinator, register(2, 1)).await.unwrap();
    let spec = place.spec(1);
    client.submit(&spec).await.unwrap();
    assert!(matches!(silent.hear().await, Some(ToWorker::CheckStaging(_))));
    drop(silent);
    worker.work_until_dropped(spec.id).await;
    assert_eq!(client.end_of(spec.id).await.state, JobState::Done);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_report_is_charged_to_its_attempt() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let mut spec = place.spec(1);
    spec.options.attempts_max = 2;
    client.submit(&spec).await.unwrap();
    let segment = |partition| v1::Segment { partition, ..Default::default() };
    let edge = v1::EdgeReport { segments: vec![segment(1), segment(0)], ..Default::default() };
    let report = v1::TaskReport {
        outputs: vec![v1::OutputReport { kind: Some(v1::output_report::Kind::Edge(edge)) }],
        ..Default::default()
    };
    for _ in 0..2 {
        let attempt = Some(worker.next_task().await.attempt.into());
        worker.say(Say::Done(v1::AttemptDone { attempt, report: Some(report.clone()) }));
    }
    let end = client.end_of(spec.id).await;
    assert_eq!((end.state, end.tasks.failed), (JobState::Failed, 2));
    assert_eq!(end.error.unwrap().code, Code::ExecutorProtocol);
    coordinator.stop().await;
}
