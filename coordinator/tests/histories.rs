//! Histories of jobs in the folder of a coordinator.

#![allow(clippy::disallowed_methods, reason = "tests read the files that they made")]

mod support;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;
use support::*;
use windrow_coordinator::{Config, Retention};
use windrow_history::{Cursor, Event, Fold, Folder};
use windrow_model::*;
use windrow_proto::v1;
use windrow_proto::v1::from_worker::Message as Say;

fn folder(data: &Path) -> Folder {
    Folder::new(data.join("history"))
}

fn events(data: &Path, job: JobId) -> Vec<Event> {
    let mut events = Vec::new();
    let take = &mut |logged: windrow_history::Logged<'_>| {
        events.push(logged.line.event);
        ControlFlow::Continue(())
    };
    folder(data).job(job).read(Cursor::default(), false, take).unwrap();
    events
}

/// The summary, which is that of the log.
fn summary(data: &Path, job: JobId) -> windrow_history::Summary {
    let mut fold = Fold::default();
    let files = folder(data).job(job);
    let take = &mut |logged: windrow_history::Logged<'_>| {
        fold.apply(&logged.line);
        ControlFlow::Continue(())
    };
    files.read(Cursor::default(), false, take).unwrap();
    let summary = files.read_summary().unwrap().expect("the job has ended");
    assert_eq!(summary, fold.summary());
    summary
}

fn fails(worker: &FakeWorker, task: &Task) {
    let failure = Failure { stderr_tail: "last words".into(), ..Failure::new(Code::UserPanic, "it fell over") };
    let place = RecordPlace { file: "/in/file".into(), offset: 17, excerpt: "a record".into() };
    let (attempt, failure) = (Some(task.attempt.into()), Some(failure.at(place).into()));
    worker.say(Say::Failed(v1::AttemptFailed { attempt, failure }));
}

#[tokio::test(flavor = "multi_thread")]
async fn history_tells_how_a_job_was_done() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let spec = place.spec(1);
    let status = client.run(&mut worker, &spec).await;
    coordinator.stop().await;
    let events = events(&place.data(), spec.id);
    assert!(matches!(&events[0], Event::Log(header) if header.job == spec.id.to_string() && header.epoch == 1));
    assert!(matches!(&events[1], Event::Submitted(submitted) if submitted.binary == spec.binary.to_string()));
    assert!(matches!(events.last(), Some(Event::Ended(ended)) if ended.state == "done"));
    let count = |is: fn(&Event) -> bool| events.iter().filter(|event| is(event)).count() as u64;
    assert_eq!(count(|e| matches!(e, Event::Assigned(_))), status.attempts);
    assert_eq!(count(|e| matches!(e, Event::Done(_))), status.tasks.done);
    assert_eq!(count(|e| matches!(e, Event::StageDone { .. })), status.stages.len() as u64);
    assert_eq!(count(|e| matches!(e, Event::WorkerJoined(_))), 1);
    assert_eq!(count(|e| matches!(e, Event::CommitBegan { .. })), 1);
    let summary = summary(&place.data(), spec.id);
    let expected = JobStatus { failures: Vec::new(), ..status };
    assert_eq!(summary.status(spec.id), Some(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn history_of_a_failed_job_survives_restarts_with_every_detail() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let spec = place.spec(1);
    client.submit(&spec).await.unwrap();
    worker.work_with(spec.id, fails).await;
    let status = client.end_of(spec.id).await;
    assert_eq!(status.state, JobState::Failed);
    coordinator.stop().await;
    Coordinator::start(&place.data()).await.stop().await;
    let summary = summary(&place.data(), spec.id);
    // Both clocks are read at about the same time.
    let untimed = |mut status: JobStatus| {
        status.failures.iter_mut().for_each(|failed| failed.after_ms = 0);
        status
    };
    assert_eq!(summary.status(spec.id).map(untimed), Some(untimed(status)));
    let last = summary.body.failed.items.last().unwrap();
    assert!(last.charged && !last.host.is_empty(), "{last:?}");
    let failure = last.failure.as_ref().unwrap();
    assert_eq!((&*failure.code, failure.offset, &*failure.stderr), ("USER_PANIC", Some(17), "last words"));
    assert!(summary.body.causes["retry"].attempts > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_goes_on_after_a_restart_and_tells_of_it() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let spec = place.spec(1);
    client.submit(&spec).await.unwrap();
    let first = worker.next_task().await;
    coordinator.stop().await;
    let coordinator = Coordinator::start(&place.data()).await;
    let mut client = coordinator.client().await;
    let has = v1::Inventory {
        attempts: vec![held(&first, false)],
        jobs: vec![spec.id.into()],
        last: true,
        ..Default::default()
    };
    let setups = worker.setups;
    let mut worker = FakeWorker::join_with(&coordinator, register(1, 1), has).await.unwrap();
    worker.setups = setups;
    worker.done(&first);
    worker.work_until_dropped(spec.id).await;
    assert_eq!(client.end_of(spec.id).await.state, JobState::Done);
    coordinator.stop().await;
    let events = events(&place.data(), spec.id);
    let epochs: Vec<u64> =
        events.iter().filter_map(|e| if let Event::Log(h) = e { Some(h.epoch) } else { None }).collect();
    assert_eq!(epochs, [1, 2]);
    assert!(events.iter().any(|e| matches!(e, Event::Away { from, to, epoch: 2 } if *from > 0 && from <= to)));
    assert_eq!(summary(&place.data(), spec.id).body.away.items.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_go_on_without_a_history() {
    let place = Place::new();
    std::fs::create_dir_all(place.data()).unwrap();
    std::fs::write(place.data().join("history"), "in the way").unwrap();
    let coordinator = Coordinator::start(&place.data()).await;
    let mut client = coordinator.client_with_binary().await;
    let mut worker = FakeWorker::join(&coordinator, register(1, 1)).await.unwrap();
    let spec = place.spec(1);
    assert_eq!(client.run(&mut worker, &spec).await.state, JobState::Done);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_of_zero_writes_nothing() {
    for history in
        [Retention { keep: Duration::ZERO, ..Retention::default() }, Retention { bytes_max: 0, ..Retention::default() }]
    {
        let (place, coordinator, mut client, mut worker) = start_configured(|config| config.history = history).await;
        let spec = place.spec(1);
        client.run(&mut worker, &spec).await;
        coordinator.stop().await;
        assert!(!folder(&place.data()).path().exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_of_an_ended_job_goes_when_its_time_is_over() {
    let history = Retention { keep: Duration::from_millis(400), ..Retention::default() };
    let (place, coordinator, mut client, mut worker) = start_configured(|config| config.history = history).await;
    let (ended, running) = (place.spec(1), spec(2, &place.input(), &place.dir.path().join("other")));
    client.submit(&ended).await.unwrap();
    worker.work_until_dropped(ended.id).await;
    client.end_of(ended.id).await;
    client.submit(&running).await.unwrap();
    worker.next_task().await;
    let files = |job| folder(&place.data()).job(job).parts().unwrap().len();
    soon("the old history is deleted, that of the running job stays", async {
        while files(ended.id) > 0 || files(running.id) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(files(running.id) > 0);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn summary_that_a_crash_prevented_is_made_at_the_next_start() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let spec = place.spec(1);
    let status = client.run(&mut worker, &spec).await;
    coordinator.stop().await;
    // As after a kill between the journal's record and the last frame of the log.
    let files = folder(&place.data()).job(spec.id);
    std::fs::remove_file(files.summary()).unwrap();
    let log = std::fs::read(files.part(0)).unwrap();
    std::fs::write(files.part(0), &log[..log.len() - 9]).unwrap();
    Coordinator::start_with(Config { ..place.config() }).await.stop().await;
    assert_eq!(folder(&place.data()).unfinished().unwrap(), BTreeSet::new());
    assert_eq!(summary(&place.data(), spec.id).status(spec.id), Some(status));
}
