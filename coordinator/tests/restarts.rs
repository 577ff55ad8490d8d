//! Access to a coordinator, and restarts of coordinators and workers.

mod support;

use std::time::Duration;
use support::log_server::serve_logs;
use support::*;
use tokio_stream::StreamExt;
use windrow_coordinator::Config;
use windrow_model::*;
use windrow_net::{Access, Token, clients, connect};
use windrow_proto::v1::{self, from_worker::Message as Say, to_worker::Message as ToWorker};

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_only_hello_is_answered() {
    let place = Place::new();
    let coordinator = Coordinator::start(&place.data()).await;
    let connection = connect::channel(&coordinator.url, &Access::default()).await.unwrap();
    let mut client = clients::jobs(connection.clone());
    let hello = v1::HelloRequest { protocol: Some(windrow_proto::own_range()) };
    assert!(client.hello(hello).await.is_ok());
    assert_eq!(failure(client.list(v1::ListRequest::default()).await.unwrap_err()).code, Code::Unauthorised);
    let register = v1::FromWorker { message: Some(Say::Register(register(1, 1))) };
    let refused = clients::session(connection).connect(tokio_stream::iter([register])).await;
    assert_eq!(failure(refused.unwrap_err()).code, Code::Unauthorised);
    // With another token the coordinator cannot prove to this caller what it is, and is asked nothing.
    let other = Access { token: Token::parse("another-token-of-some-length"), ca: None };
    assert_eq!(connect::channel(&coordinator.url, &other).await.unwrap_err().code, Code::Unauthorised);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_is_refused_with_both_numbers() {
    let place = Place::new();
    let coordinator = Coordinator::start(&place.data()).await;
    let protocol = Some(v1::ProtocolRange { min: 7, max: 8, release: "9.9.9".into() });
    let mut client = coordinator.client().await;
    let refused = failure(client.0.hello(v1::HelloRequest { protocol: protocol.clone() }).await.unwrap_err());
    assert_eq!(refused.code, Code::VersionMismatch);
    assert!(
        refused.message.contains("7 to 8")
            && refused.message.contains(&format!("protocol {},", windrow_proto::PROTOCOL_MAX)),
        "{refused}"
    );
    let worker = FakeWorker::join(&coordinator, v1::Register { protocol, ..register(1, 1) }).await;
    assert_eq!(worker.err().unwrap().code, Code::VersionMismatch);
    assert!(client.workers().await.is_empty());
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_coordinator_lists_ended_and_continued_jobs() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let done = place.spec(1);
    client.submit(&done).await.unwrap();
    worker.work_until_dropped(done.id).await;
    let before = client.end_of(done.id).await;
    let cut = spec(2, &place.input(), &place.dir.path().join("out2"));
    client.submit(&cut).await.unwrap();
    worker.next_task().await;
    coordinator.stop().await;
    // Its session ended with it.
    assert!(worker.hear().await.is_none());

    let coordinator = Coordinator::start(&place.data()).await;
    let mut client = coordinator.client().await;
    let worker = FakeWorker::join(&coordinator, register(1, 1)).await.unwrap();
    assert_eq!(worker.registered.epoch, 2);
    let jobs = client.list().await;
    assert_eq!(jobs.len(), 2);
    assert_eq!(jobs[0], before);
    assert_eq!((jobs[1].id, jobs[1].state), (cut.id, JobState::Running));
    assert_eq!(client.cancel(cut.id).await, Ok(()));
    assert_eq!(client.end_of(cut.id).await.state, JobState::Cancelled);
    // A repeated submit is still the same job, and nothing runs again.
    assert_eq!(client.submit(&done).await, Ok(done.id));
    assert_eq!(client.end_of(done.id).await, before);
    assert_eq!(client.collected(done.id).await.unwrap().len(), 2, "what its two tasks collected");
    // The binary is still there.
    let again = spec(3, &place.input(), &place.dir.path().join("out2"));
    assert_eq!(client.submit(&again).await, Ok(again.id));
    client.cancel(again.id).await.unwrap();
    client.end_of(again.id).await;
    coordinator.stop().await;
    // Also what was being staged for a job that was cancelled just then is gone.
    assert_eq!(place.names(), ["data", "in.txt", "out"]);
}

/// The record of a submit was lost with its coordinator, and the job was at work by then: it is submitted again.
#[tokio::test(flavor = "multi_thread")]
async fn worker_gets_the_setup_of_a_job_again_after_a_restart() {
    let (place, coordinator, mut client) = start().await;
    let job = place.spec(1);
    let jobs = vec![job.id.into()];
    let inventory = v1::Inventory { jobs, last: true, ..Default::default() };
    let mut worker = FakeWorker::join_with(&coordinator, register(1, 1), inventory).await.unwrap();
    client.submit(&job).await.unwrap();
    worker.next_task().await;
    assert_eq!(worker.dropped, [job.id], "what it has is of no use");
    assert!(worker.setups.contains_key(&job.id));
    client.cancel(job.id).await.unwrap();
    client.end_of(job.id).await;
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_come_from_every_worker_that_answers() {
    let (place, coordinator, mut client) = start().await;
    // One has logs, and no process is at the address of the other.
    let address = serve_logs(b"what it wrote").await;
    let mut one = FakeWorker::join(&coordinator, v1::Register { address, ..register(1, 1) }).await.unwrap();
    let mut two = FakeWorker::join(&coordinator, register(2, 1)).await.unwrap();
    let mut spec = place.spec(1);
    spec.options.chunk_bytes = Some(1);
    client.submit(&spec).await.unwrap();
    tokio::join!(one.work_until_dropped(spec.id), two.work_until_dropped(spec.id));
    let request = v1::LogsRequest { id: Some(spec.id.into()) };
    let mut pieces = client.0.logs(request).await.unwrap().into_inner();
    let piece = pieces.message().await.unwrap().unwrap();
    assert_eq!((piece.worker, &piece.data[..]), (Some(one.id.into()), &b"what it wrote"[..]));
    assert!(pieces.message().await.unwrap().is_none());
    let unknown = v1::LogsRequest { id: Some(JobId::from_bytes([9; 16]).into()) };
    let mut pieces = client.0.logs(unknown).await.unwrap().into_inner();
    assert_eq!(failure(pieces.message().await.unwrap_err()).code, Code::JobNotFound);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_coordinators_do_not_share_a_data_folder() {
    let place = Place::new();
    let coordinator = Coordinator::start(&place.data()).await;
    let _ = coordinator.client().await.list().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let second = windrow_coordinator::run(Config::new(place.data()), listener, std::future::pending());
    let error = soon("a refusal", second).await.unwrap_err();
    assert_eq!(error.code(), Code::DataDirInUse);
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_work_of_a_worker_that_dies_goes_to_another() {
    let (place, coordinator, mut client, mut dying) = start_with_worker().await;
    let spec = place.spec(1);
    client.submit(&spec).await.unwrap();
    let lost = dying.next_task().await;
    drop(dying);
    let mut other = FakeWorker::join(&coordinator, register(2, 1)).await.unwrap();
    let again = other.next_task().await;
    assert_eq!(again.attempt.task, lost.attempt.task);
    other.done(&again);
    other.work_until_dropped(spec.id).await;
    let end = client.end_of(spec.id).await;
    assert_eq!((end.state, end.tasks.failed), (JobState::Done, 0));
    client.until_workers(|w| w.len() == 2 && w[0].state == WorkerState::Lost && w[1].state == WorkerState::Live).await;
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn returning_worker_continues_the_attempts_it_reports() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let spec = place.spec(1);
    client.submit(&spec).await.unwrap();
    let first = worker.next_task().await;
    // A second session of the same incarnation ends the first one. It has nothing: the task is sent again, with the job's setup.
    let mut back = FakeWorker::join(&coordinator, register(1, 1)).await.unwrap();
    while worker.hear().await.is_some() {}
    let again = back.next_task().await;
    assert_eq!((again.attempt.task, again.attempt.number), (first.attempt.task, 1));
    assert!(back.setups.contains_key(&spec.id), "a new session gets the job's setup again");
    // A third one has it still.
    let has = v1::Inventory {
        attempts: vec![held(&again, false)],
        jobs: vec![spec.id.into()],
        last: true,
        ..Default::default()
    };
    let mut third = FakeWorker::join_with(&coordinator, register(1, 1), has).await.unwrap();
    // An earlier incarnation of the worker comes too late.
    let late = FakeWorker::join(&coordinator, register(1, 0)).await;
    assert_eq!(late.err().unwrap().code, Code::StaleAttempt);
    third.setups = back.setups;
    third.done(&again);
    third.work_until_dropped(spec.id).await;
    let end = client.end_of(spec.id).await;
    assert_eq!((end.state, end.attempts), (JobState::Done, 4));
    coordinator.stop().await;
}

/// The coordinator stops in the middle of a job and starts again on the same folder.
#[tokio::test(flavor = "multi_thread")]
async fn job_continues_after_a_restart_without_reruns() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let spec = place.spec(1);
    client.submit(&spec).await.unwrap();
    let map = worker.next_task().await;
    worker.done(&map);
    let (first, second) = (worker.next_task().await, worker.next_task().await);
    worker.done(&first);
    while !matches!(worker.hear().await.unwrap(), ToWorker::Grant(_)) {}
    worker.publish(first.attempt);
    client.until_job("the first part", spec.id, |job| job.tasks.done >= 2).await;
    coordinator.stop().await;

    let coordinator = Coordinator::start(&place.data()).await;
    let mut client = coordinator.client().await;
    let status = client.get(spec.id).await.unwrap();
    assert_eq!((status.state, status.tasks.done), (JobState::Running, 1), "what was published is on record");
    let other = place.spec(2);
    assert_eq!(client.submit(&other).await, Ok(other.id));
    assert_eq!(client.end_of(other.id).await.error.unwrap().code, Code::OutputInUse);
    let unknown = JobId::from_bytes([8; 16]);
    let has = v1::Inventory {
        attempts: vec![held(&map, true), held(&first, true), held(&second, false)],
        jobs: vec![spec.id.into(), unknown.into()],
        last: true,
        ..Default::default()
    };
    let mut back = FakeWorker::join_with(&coordinator, register(1, 1), has).await.unwrap();
    back.setups = worker.setups;
    assert_eq!(client.get(spec.id).await.unwrap().tasks, TaskTotals { total: 3, done: 2, running: 1, failed: 0 });
    back.done(&second);
    back.work_until_dropped(spec.id).await;
    assert!(back.dropped.contains(&unknown), "an unknown job is dropped");
    let end = client.end_of(spec.id).await;
    assert_eq!((end.state, end.attempts), (JobState::Done, 3));
    assert_eq!(windrow_format::manifest::read(&place.output()).unwrap().parts.len(), 2);
    assert_eq!(place.names(), ["data", "in.txt", "out"]);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_staging_folder_is_gone_cannot_go_on() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let spec = place.spec(1);
    client.submit(&spec).await.unwrap();
    worker.next_task().await;
    coordinator.stop().await;
    let hidden = place.names().into_iter().find(|n| n.starts_with(".out.")).unwrap();
    std::fs::remove_dir_all(place.dir.path().join(hidden)).unwrap();
    let coordinator = Coordinator::start(&place.data()).await;
    let end = coordinator.client().await.end_of(spec.id).await;
    assert_eq!((end.state, end.error.unwrap().code), (JobState::Failed, Code::Interrupted));
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drained_worker_gets_no_tasks_and_leaves_at_once() {
    let place = Place::new();
    let coordinator = Coordinator::start(&place.data()).await;
    let mut client = coordinator.client().await;
    let worker = FakeWorker::join(&coordinator, register(1, 1)).await.unwrap();
    client.0.drain_worker(v1::DrainWorkerRequest { id: Some(worker.id.into()) }).await.unwrap();
    client.until_workers(|w| w[0].state == WorkerState::Draining).await;
    worker.say(Say::Draining(v1::Draining::default()));
    drop(worker);
    client.until_workers(|w| w[0].state == WorkerState::Lost).await;
    let unknown = v1::DrainWorkerRequest { id: Some(WorkerId::from_bytes([9; 16]).into()) };
    assert_eq!(failure(client.0.drain_worker(unknown).await.unwrap_err()).code, Code::WorkerNotFound);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_never_hold_one_worker_id() {
    let place = Place::new();
    let coordinator = Coordinator::start(&place.data()).await;
    let mut client = coordinator.client().await;
    let as_process = |incarnation, life| v1::Register { life, ..register(1, incarnation) };
    let code = |joined: Result<FakeWorker, Failure>| joined.err().map(|failure| failure.code);
    let first = FakeWorker::join(&coordinator, as_process(3, 7)).await.unwrap();
    // Copies of its folder that were made while it ran, and before.
    for (incarnation, process) in [(3, 8), (2, 9)] {
        let refused = FakeWorker::join(&coordinator, as_process(incarnation, process)).await;
        assert_eq!(code(refused), Some(Code::DataDirInUse));
    }
    let again = FakeWorker::join(&coordinator, as_process(3, 7)).await.unwrap();
    drop(first);
    // A restart: the process before it is refused when it comes back, and does not take the id again.
    let later = FakeWorker::join(&coordinator, as_process(4, 10)).await.unwrap();
    drop(again);
    assert_eq!(code(FakeWorker::join(&coordinator, as_process(3, 7)).await), Some(Code::DataDirInUse));
    client.until_workers(|w| w.len() == 1 && w[0].state == WorkerState::Live).await;
    drop(later);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn list_says_what_a_stopping_worker_waits_for() {
    let place = Place::new();
    let coordinator = Coordinator::start(&place.data()).await;
    let mut client = coordinator.client().await;
    let worker = FakeWorker::join(&coordinator, register(1, 1)).await.unwrap();
    worker.say(Say::Draining(v1::Draining { running: 2, unpublished: 1, served: 5, stops_in_ms: 60_000 }));
    let says_so = |w: &WorkerStatus| {
        w.reason.as_ref().is_some_and(|reason| reason.contains("2 tasks") && reason.contains("60 s"))
    };
    client.until_workers(|w| w[0].state == WorkerState::Draining && says_so(&w[0])).await;
    drop(worker);
    coordinator.stop().await;
}

/// A worker may vanish at any moment of its registration: its answers are not awaited.
#[tokio::test(flavor = "multi_thread")]
async fn worker_lost_while_it_registers_is_not_asked_about_jobs() {
    let place = Place::new();
    let coordinator = Coordinator::start(&place.data()).await;
    let mut client = coordinator.client().await;
    for n in 2..=120 {
        let inventory = v1::Inventory { last: true, ..Default::default() };
        let said = [Say::Register(register(n, 1)), Say::Inventory(inventory)];
        let said = said.map(|message| v1::FromWorker { message: Some(message) });
        let (url, link) = coordinator.link().await;
        let access = Access { token: Token::parse(TOKEN), ca: None };
        let mut session = clients::session(connect::channel(&url, &access).await.unwrap());
        let saying = tokio_stream::iter(said).chain(tokio_stream::pending());
        let registering = tokio::spawn(async move { session.connect(saying).await.map(drop) });
        tokio::time::sleep(Duration::from_micros(u64::from(n) * 20)).await;
        link.abort();
        let _ = registering.await;
    }
    let mut worker = FakeWorker::join(&coordinator, register(1, 1)).await.unwrap();
    client.until_workers(|all| all.iter().filter(|w| w.state == WorkerState::Live).count() == 1).await;
    client.upload(b"binary").await;
    let spec = place.spec(1);
    assert_eq!(client.run(&mut worker, &spec).await.state, JobState::Done);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_worker_is_lost_and_must_register_again() {
    let (_place, coordinator, mut client, mut worker) = start_configured(|config| config.lease_ms = 200).await;
    client.until_workers(|w| w[0].state == WorkerState::Lost).await;
    worker.say(Say::Beat(v1::Beat::default()));
    assert!(worker.hear().await.is_none());
    FakeWorker::join(&coordinator, register(1, 1)).await.unwrap();
    client.until_workers(|w| w[0].state == WorkerState::Live).await;
    coordinator.stop().await;
}
