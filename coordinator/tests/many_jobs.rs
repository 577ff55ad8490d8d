//! Jobs that have ended are listed for long, not for ever, and do not hold up a start.

mod support;

use std::time::{Duration, Instant};
use support::*;
use windrow_coordinator::{DiskStore, JobRecord, JobStore, Record};
use windrow_model::*;

/// As many as are listed, and some more.
const JOBS: u32 = 10_050;
const LISTED: usize = 10_000;
/// Two seconds are promised; binaries of tests are slow, and so may the machine be.
const STARTED_WITHIN: Duration = Duration::from_secs(20);

fn ended(n: u32) -> Record {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    let totals = TaskTotals { total: 40, done: 40, ..TaskTotals::default() };
    let status = JobStatus {
        id: JobId::from_bytes(id),
        name: format!("a job of the past, number {n}"),
        state: JobState::Done,
        stages: vec![],
        tasks: totals,
        attempts: 41,
        backups: 0,
        counters: Counters::default(),
        error: None,
        waiting: None,
        outputs: vec![format!("/data/results/of/job/{n}")],
        submitted_unix_ms: 1_700_000_000_000 + u64::from(n),
        elapsed_ms: 1234,
    };
    JobRecord { status, program: "P".into(), binary: Digest::of(b"b") }.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_past_jobs_do_not_hold_up_a_start_and_older_ones_are_forgotten() {
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
