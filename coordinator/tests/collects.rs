//! What a job collects is there when the job is done: stored, bounded, and kept for its time.

mod support;

use std::time::Duration;
use support::*;
use windrow_coordinator::Config;
use windrow_model::*;
use windrow_proto::v1;

const BLOB: usize = 3 << 20;

fn blob(task: u32) -> Vec<u8> {
    (0..BLOB).map(|at| (at as u32).wrapping_mul(task + 7) as u8).collect()
}

/// Obeys until the job is dropped; each of the two reduce tasks collects a large blob.
async fn work_collecting(worker: &mut FakeWorker, job: JobId) {
    let run = |worker: &FakeWorker, task: &Task| {
        let mut report = report_of(task);
        for output in &mut report.outputs {
            if let OutputReport::Broadcast(bytes) = output {
                *bytes = blob(task.attempt.task.index);
            }
        }
        worker.done_with(task, report.into());
    };
    worker.work_with(job, run).await;
}

/// The blobs, put together from their pieces.
async fn fetched(client: &mut Client, job: JobId) -> Result<Vec<Vec<u8>>, Code> {
    let mut blobs = vec![Vec::new(), Vec::new()];
    for piece in client.collected(job).await.map_err(|failure| failure.code)? {
        blobs[piece.task as usize].extend_from_slice(&piece.data);
    }
    Ok(blobs)
}

fn job(place: &Place, n: u8) -> JobSpec {
    spec(n, &place.input(), &place.dir.path().join(format!("out{n}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn large_results_are_stored_and_outlive_the_coordinator() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let spec = job(&place, 1);
    client.submit(&spec).await.unwrap();
    work_collecting(&mut worker, spec.id).await;
    assert_eq!(client.end_of(spec.id).await.state, JobState::Done);
    let expected = Ok(vec![blob(0), blob(1)]);
    assert!(fetched(&mut client, spec.id).await == expected);
    let file = place.data().join("results").join(spec.id.to_string());
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 2 * BLOB as u64);
    coordinator.stop().await;
    let journal = std::fs::metadata(place.data().join("journal.redb")).unwrap().len();
    assert!(journal < 2 * BLOB as u64, "the bytes are not in the journal: {journal}");

    let coordinator = Coordinator::start(&place.data()).await;
    let mut client = coordinator.client().await;
    assert!(fetched(&mut client, spec.id).await == expected);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_results_are_kept_and_later_jobs_fail() {
    let change = |config: &mut Config| config.results_bytes_max = 3 * BLOB as u64;
    let (place, coordinator, mut client, mut worker) = start_configured(change).await;
    let mut end_of = async |client: &mut Client, n: u8| {
        client.submit(&job(&place, n)).await.unwrap();
        work_collecting(&mut worker, JobId::from_bytes([n; 16])).await;
        client.end_of(JobId::from_bytes([n; 16])).await
    };
    let first = JobId::from_bytes([1; 16]);
    assert_eq!(end_of(&mut client, 1).await.state, JobState::Done);
    let second = end_of(&mut client, 2).await;
    assert_eq!((second.state, second.error.unwrap().code), (JobState::Failed, Code::CollectTooLarge));
    assert!(!place.dir.path().join("out2").exists(), "it is not committed");
    // Once a client has read it, it gives way.
    assert!(fetched(&mut client, first).await == Ok(vec![blob(0), blob(1)]));
    let mut n = 3;
    // The read is noted after the last piece.
    while end_of(&mut client, n).await.state != JobState::Done {
        n += 1;
        assert!(n < 50);
    }
    assert_eq!(fetched(&mut client, first).await, Err(Code::JobNotFound));
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_go_with_their_files_when_their_time_is_over() {
    let change = |config: &mut Config| config.results_kept = Duration::from_millis(1_500);
    let (place, coordinator, mut client, mut worker) = start_configured(change).await;
    let spec = job(&place, 1);
    client.submit(&spec).await.unwrap();
    work_collecting(&mut worker, spec.id).await;
    assert_eq!(client.end_of(spec.id).await.state, JobState::Done);
    let file = place.data().join("results").join(spec.id.to_string());
    soon("the file to go", async {
        while file.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(fetched(&mut client, spec.id).await, Err(Code::JobNotFound));
    assert_eq!(client.get(spec.id).await.unwrap().state, JobState::Done);
    coordinator.stop().await;
}

/// Twenty thousand attempts of a job that does not run here: the worker has to drop the job.
#[tokio::test(flavor = "multi_thread")]
async fn inventory_of_unknown_attempts_is_dropped_or_refused() {
    let place = Place::new();
    let coordinator = Coordinator::start(&place.data()).await;
    let attempt = |job: JobId, index: u32| {
        let task = TaskId { job, stage: StageId(0), index };
        let id = AttemptId { task, number: 0, epoch: Epoch(1), incarnation: Incarnation(1) };
        v1::HeldAttempt { attempt: Some(id.into()), report: None }
    };
    let gone = JobId::from_bytes([9; 16]);
    let attempts = (0..20_000).map(|index| attempt(gone, index)).collect();
    let inventory = v1::Inventory { attempts, last: true, ..Default::default() };
    let mut worker = FakeWorker::join_with(&coordinator, register(1, 1), inventory).await.unwrap();
    while worker.dropped.is_empty() {
        worker.hear().await.unwrap();
    }
    assert_eq!(worker.dropped, [gone]);

    let mut client = coordinator.client_with_binary().await;
    let spec = place.spec(1);
    client.submit(&spec).await.unwrap();
    worker.next_task().await;
    let attempts = (0..1_000).map(|index| attempt(spec.id, index)).collect();
    let inventory = v1::Inventory { attempts, last: true, ..Default::default() };
    let refused = FakeWorker::join_with(&coordinator, register(2, 1), inventory).await;
    assert_eq!(refused.err().unwrap().code, Code::BadRequest);
    client.cancel(spec.id).await.unwrap();
    coordinator.stop().await;
}
