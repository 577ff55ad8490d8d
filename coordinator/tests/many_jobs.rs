//! Ended jobs are listed up to a bound, and do not delay a start.

mod support;

use std::time::{Duration, Instant};
use support::*;
use windrow_coordinator::{DiskStore, JobRecord, JobStore, PublishedTask, Record};
use windrow_model::*;
use windrow_scheduler::RestoredTask;

/// More jobs than are listed.
const JOBS: u32 = 10_050;
const LISTED: usize = 10_000;
/// Two seconds are promised; binaries of tests are slow, and so may the machine be.
const STARTED_WITHIN: Duration = Duration::from_secs(20);

fn ended(n: u32) -> Record {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    let totals = TaskTotals { total: 40, done: 40, ..TaskTotals::default() };
    let status = JobStatus {
        name: format!("a job of the past, number {n}"),
        tasks: totals,
        attempts: 41,
        outputs: vec![format!("/data/results/of/job/{n}")],
        submitted_unix_ms: 1_700_000_000_000 + u64::from(n),
        elapsed_ms: 1234,
        ..JobStatus::new(JobId::from_bytes(id), JobState::Done)
    };
    JobRecord { status, program: "P".into(), binary: Digest::of(b"b"), spec: None, collects: None }.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn start_is_quick_with_ten_thousand_ended_jobs() {
    let place = Place::new();
    let journal = place.data().join("journal.redb");
    std::fs::create_dir_all(place.data()).unwrap();
    {
        let mut store = DiskStore::open(&journal).unwrap();
        let all: Vec<Record> = (0..JOBS).map(ended).collect();
        all.chunks(1000).for_each(|some| store.write(some).unwrap());
    }
    let begun = Instant::now();
    let coordinator = Coordinator::start(&place.data()).await;
    let mut client = coordinator.client().await;
    let listed = client.list().await;
    let took = begun.elapsed();
    println!("{} jobs were listed {took:?} after the start", listed.len());
    assert!(took < STARTED_WITHIN, "{took:?}");
    assert_eq!(listed.len(), LISTED);
    assert_eq!(listed[0].name, format!("a job of the past, number {}", JOBS as usize - LISTED));

    // One more, and the oldest is forgotten, on disk as well.
    client.upload(b"binary").await;
    let mut spec = place.spec(255);
    spec.plan.sinks[0].path = "relative/paths/are/refused".into();
    client.submit(&spec).await.unwrap();
    assert_eq!(client.end_of(spec.id).await.state, JobState::Failed);
    soon("the oldest job to go", async {
        while client.list().await.len() != LISTED {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    coordinator.stop().await;
    assert_eq!(DiskStore::open(&journal).unwrap().load().unwrap().len(), LISTED);
}

const MAPS: usize = 99_000;
const REDUCES: u32 = 1_000;

/// Half of the reduces had published.
fn published(job: JobId, index: u32, epoch: Epoch) -> Record {
    let attempt =
        AttemptId { task: TaskId { job, stage: StageId(1), index }, number: 0, epoch, incarnation: Incarnation(1) };
    let part = OutputReport::Sink(PartReport { sink: 0, bytes: 7, records: 1, checksum: 7 });
    let report = TaskReport { outputs: vec![part, OutputReport::Broadcast(vec![1])], ..TaskReport::default() };
    let task = RestoredTask { worker: WorkerId::from_bytes([5; 16]), attempt, report };
    Record::Published(Box::new(PublishedTask { task, chunks: vec![], receipts: vec![] }))
}

#[tokio::test(flavor = "multi_thread")]
async fn start_is_quick_with_a_job_of_a_hundred_thousand_tasks() {
    let place = Place::new();
    std::fs::write(place.input(), "1234567\n".repeat(MAPS)).unwrap();
    let mut spec = place.spec(255);
    spec.options.chunk_bytes = Some(8);
    spec.plan.stages[0].outputs = vec![Output::Edge {
        partitions: Partitions::Count(REDUCES),
        partitioner: Partitioner::Hash,
        order: Order::Key,
        combined: false,
    }];
    let coordinator = Coordinator::start(&place.data()).await;
    let mut client = coordinator.client().await;
    spec.binary = client.upload(b"binary").await;
    client.submit(&spec).await.unwrap();
    let all = MAPS as u64 + u64::from(REDUCES);
    client.until_job("the job to be cut", spec.id, |job| job.tasks.total == all).await;
    coordinator.stop().await;
    {
        let mut store = DiskStore::open(&place.data().join("journal.redb")).unwrap();
        let epoch = store.load_running().unwrap()[0].split.as_ref().unwrap().epoch;
        let past: Vec<Record> = (0..LISTED as u32).map(ended).collect();
        past.chunks(1000).for_each(|some| store.write(some).unwrap());
        let parts: Vec<Record> = (0..REDUCES / 2).map(|n| published(spec.id, n, epoch)).collect();
        store.write(&parts).unwrap();
        store.write(&[Record::Worker(WorkerId::from_bytes([5; 16]), true)]).unwrap();
    }
    let begun = Instant::now();
    let coordinator = Coordinator::start(&place.data()).await;
    let mut client = coordinator.client().await;
    let status = client.get(spec.id).await.unwrap();
    let answered = begun.elapsed();
    let listed = client.list().await.len();
    println!("answered {answered:?} after the start, and listed {listed} jobs after {:?}", begun.elapsed());
    assert!(answered < STARTED_WITHIN, "{answered:?}");
    assert_eq!((status.state, status.tasks.total, status.tasks.done), (JobState::Running, all, u64::from(REDUCES / 2)));
    assert_eq!(listed, LISTED, "the oldest past one is not listed");
    coordinator.stop().await;
}
