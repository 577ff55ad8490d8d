//! Impossible reports of workers are refused or bounded, and harm no job of other workers.

#![allow(clippy::disallowed_methods, reason = "tests read the files that they made")]

mod support;

use support::*;
use windrow_coordinator::Config;
use windrow_model::*;
use windrow_proto::v1::{self, from_worker::Message as Say, to_worker::Message as ToWorker};

async fn submitted(place: &Place, client: &mut Client) -> JobSpec {
    let mut spec = place.spec(1);
    spec.options.attempts_max = 3;
    client.submit(&spec).await.unwrap();
    spec
}

fn failure_of(words: String) -> Option<v1::Failure> {
    Some(v1::Failure { code: "USER_ERROR".into(), message: words, ..Default::default() })
}

/// Every report about an attempt, with impossible numbers.
fn lies(attempt: AttemptId) -> Vec<Say> {
    let named = Some(v1::AttemptId::from(attempt));
    let lost =
        v1::OutputRef { worker: Some(WorkerId::from_bytes([9; 16]).into()), attempt: named.clone(), output: u32::MAX };
    let progress = v1::AttemptProgress {
        attempt: named.clone(),
        permille: u32::MAX,
        mark: u64::MAX,
        waits: true,
        records: u64::MAX,
    };
    vec![
        Say::Beat(v1::Beat { progress: vec![progress; 100], ..Default::default() }),
        Say::Done(v1::AttemptDone { attempt: named.clone(), report: Some(v1::TaskReport::default()) }),
        Say::Failed(v1::AttemptFailed { attempt: named.clone(), failure: failure_of("x".repeat(1 << 20)) }),
        Say::Published(v1::Published { attempt: named.clone(), ..Default::default() }),
        Say::PublishFailed(v1::PublishFailed { attempt: named.clone(), failure: failure_of("no".into()) }),
        Say::SegmentLost(v1::SegmentLost { reader: named, lost: Some(lost), failure: failure_of("no".into()) }),
        Say::StagingChecked(v1::StagingChecked { request: u64::MAX, failure: failure_of("no".into()) }),
        Say::ChunksLost(v1::ChunksLost { digests: vec![Digest::of(b"never").into()] }),
        Say::ChunksDropped(v1::ChunksDropped {}),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_about_attempts_of_others_change_nothing() {
    let (place, coordinator, mut client, mut honest) = start_with_worker().await;
    let spec = submitted(&place, &mut client).await;
    let task = honest.next_task().await;
    let liar = FakeWorker::join(&coordinator, register(2, 1)).await.unwrap();
    let unknown = |n: u32| {
        let task = TaskId { job: JobId::from_bytes([n as u8; 16]), stage: StageId(n), index: n };
        AttemptId { task, number: n, epoch: Epoch(u64::MAX), incarnation: Incarnation(u64::from(n)) }
    };
    let later = AttemptId { number: 99, ..task.attempt };
    let nowhere =
        AttemptId { task: TaskId { stage: StageId(u32::MAX), index: u32::MAX, ..task.attempt.task }, ..task.attempt };
    for attempt in (1..50).map(unknown).chain([task.attempt, later, nowhere]) {
        lies(attempt).into_iter().for_each(|lie| liar.say(lie));
    }
    honest.done(&task);
    let mut liar = liar;
    let works = async {
        loop {
            tokio::select! {
                () = honest.work_until_dropped(spec.id) => break,
                // It gets tasks as well, and answers questions.
                said = liar.hear() => match said.expect("the session of the liar goes on") {
                    ToWorker::Assign(assign) => liar.done(&assign.task.unwrap().try_into().unwrap()),
                    ToWorker::CheckStaging(check) => liar.check_staging(check),
                    ToWorker::Grant(grant) => liar.publish(grant.attempt.unwrap().try_into().unwrap()),
                    _ => {}
                },
            }
        }
    };
    soon("the job", works).await;
    let end = client.end_of(spec.id).await;
    assert_eq!((end.state, end.tasks.failed, end.attempts), (JobState::Done, 0, end.tasks.total), "{end:?}");
    assert_eq!(std::fs::read(place.output().join("part-00000")).unwrap(), PART);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_numbers_of_its_own_attempts_are_bounded() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let spec = submitted(&place, &mut client).await;
    let mut refused = 0;
    let run = |worker: &FakeWorker, task: &Task| {
        let attempt = Some(task.attempt.into());
        let progress = v1::AttemptProgress { attempt, permille: 4_000_000, ..Default::default() };
        worker.say(Say::Beat(v1::Beat { progress: vec![progress], lists_all: true, ..Default::default() }));
        let mut report: v1::TaskReport = report_of(task).into();
        report.run_ms = u64::MAX;
        for output in &mut report.outputs {
            match &mut output.kind {
                Some(v1::output_report::Kind::Edge(edge)) => {
                    (edge.bytes, edge.records) = (u64::MAX, u64::MAX);
                    let sizes = edge.sizes.as_mut().unwrap();
                    sizes.hints = vec![255; sizes.hints.len()];
                }
                Some(v1::output_report::Kind::Part(part)) => part.records = u64::MAX,
                _ => {}
            }
        }
        let mut counters = v1::Counters::default();
        let names = if task.attempt.task.stage.0 == 0 && task.attempt.number == 0 { 10_001 } else { 10_000 };
        refused += u32::from(names == 10_001);
        counters.values.extend((0..names).map(|n| (format!("{} {n}", task.attempt.task.index), u64::MAX)));
        report.counters = Some(counters);
        worker.done_with(task, report);
    };
    worker.work_with(spec.id, run).await;
    let end = client.end_of(spec.id).await;
    // The status reads back, with the counters that a job has places for.
    assert_eq!((end.state, end.tasks.failed), (JobState::Done, u64::from(refused)), "{:?}", end.error);
    assert!(end.counters.0.len() <= 10_000 && end.counters.get("windrow.counters_left_off") > 0);
    assert!(end.failures.iter().all(|failed| failed.code == Code::ExecutorProtocol), "{:?}", end.failures);
    assert!(end.stages.iter().all(|stage| stage.bytes_done >= stage.bytes_running));
    assert_eq!(client.list().await.len(), 1);
    coordinator.stop().await;
}

/// The coordinator takes hints only for partitions that the edge has, and a loss only of what its reader reads.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_hints_and_losses_cost_their_attempt_only() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let mut spec = place.spec(1);
    spec.options.attempts_max = 8;
    client.submit(&spec).await.unwrap();
    let hints = |sparse, partition: Vec<u32>, hints: usize| v1::SizeHints { sparse, partition, hints: vec![9; hints] };
    let wrong = [
        hints(true, vec![7], 1),
        hints(true, vec![1, 0], 2),
        hints(true, vec![0, 0], 2),
        hints(true, vec![0], 2),
        hints(false, vec![], 3),
        hints(false, vec![], 5_000_000),
    ];
    let mut lies = wrong.len();
    let mut lost = 0;
    while !worker.dropped.contains(&spec.id) {
        match worker.hear().await.expect("the session goes on") {
            ToWorker::Assign(assign) => {
                let task: Task = assign.task.unwrap().try_into().unwrap();
                let first = task.attempt.task == TaskId { job: spec.id, stage: StageId(0), index: 0 };
                let mut report: v1::TaskReport = report_of(&task).into();
                match (&mut report.outputs[0].kind, first && lies > 0) {
                    (Some(v1::output_report::Kind::Edge(edge)), true) => {
                        lies -= 1;
                        edge.sizes = Some(wrong[lies].clone());
                    }
                    // It names an output of a stage that it reads, of an attempt that never was, and then its own.
                    _ if task.attempt.task.stage == StageId(1) && lost < 2 => {
                        let (_, map) = worker.tables[0].attempts().next().unwrap();
                        let no_attempt = AttemptId { number: 77, ..map };
                        let of = [no_attempt, task.attempt][lost];
                        lost += 1;
                        let lost =
                            v1::OutputRef { worker: Some(worker.id.into()), attempt: Some(of.into()), output: 0 };
                        worker.say(Say::SegmentLost(v1::SegmentLost {
                            reader: Some(task.attempt.into()),
                            lost: Some(lost),
                            failure: Some(Failure::new(Code::SegmentCorrupt, "damaged").into()),
                        }));
                        continue;
                    }
                    _ => {}
                }
                worker.done_with(&task, report);
            }
            ToWorker::CheckStaging(check) => worker.check_staging(check),
            ToWorker::Grant(grant) => worker.publish(grant.attempt.unwrap().try_into().unwrap()),
            _ => {}
        }
    }
    let end = client.end_of(spec.id).await;
    assert_eq!((end.state, end.stages[0].tasks.failed), (JobState::Done, wrong.len() as u64), "{:?}", end.error);
    assert_eq!((lost, worker.tables.len()), (2, 1), "no map runs again");
    assert!(
        end.failures.iter().all(|failed| failed.code == Code::ExecutorProtocol || failed.code == Code::SegmentCorrupt)
    );
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_or_unknown_messages_end_only_their_session() {
    // The honest worker is silent meanwhile.
    let patient = |config: &mut Config| config.lease_ms = 120_000;
    let (place, coordinator, mut client, mut honest) = start_configured(patient).await;
    let spec = submitted(&place, &mut client).await;
    let progress = |n: usize| v1::Beat { progress: vec![v1::AttemptProgress::default(); n], ..Default::default() };
    // Names of chunks without end have a unit test: millions of them take long to send.
    let floods = [
        Say::Beat(progress(100_001)),
        Say::Beat(progress(1)),
        Say::Register(register(3, 1)),
        Say::Done(Default::default()),
    ];
    for flood in floods {
        let mut liar = FakeWorker::join(&coordinator, register(2, 1)).await.unwrap();
        liar.say(flood);
        while liar.hear().await.is_some() {}
    }
    honest.work_until_dropped(spec.id).await;
    assert_eq!(client.end_of(spec.id).await.state, JobState::Done);
    coordinator.stop().await;
}
