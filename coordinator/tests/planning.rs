//! Planning that crashes, hangs or is cancelled harms its own job and no other.

#![allow(clippy::disallowed_methods, reason = "tests read the files that they made")]

mod support;

use std::os::unix::fs::symlink;
use std::path::Path;
use support::*;
use windrow_coordinator::{Config, DiskStore, JobStore};
use windrow_model::*;

fn leave(place: &Place, spec: &JobSpec, tries: u32) {
    std::fs::create_dir_all(place.data()).unwrap();
    let mut store = DiskStore::open(&place.data().join("journal.redb")).unwrap();
    store.write(&left_in_planning(spec, tries)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn job_whose_planning_crashed_twice_is_not_tried_again() {
    let place = Place::new();
    let spec = place.spec(1);
    leave(&place, &spec, 2);
    let coordinator = Coordinator::start(&place.data()).await;
    let mut client = coordinator.client().await;
    let job = client.get(spec.id).await.unwrap();
    assert_eq!((job.state, job.error.unwrap().code), (JobState::Failed, Code::PlanningCrashed));
    assert_eq!(place.names(), ["data", "in.txt"], "nothing is staged");
    coordinator.stop().await;
    // The end is durable.
    let coordinator = Coordinator::start(&place.data()).await;
    let error = coordinator.client().await.get(spec.id).await.unwrap().error.unwrap();
    assert_eq!(error.code, Code::PlanningCrashed);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn job_whose_planning_crashed_once_is_tried_again() {
    let place = Place::new();
    let spec = place.spec(1);
    leave(&place, &spec, 1);
    let coordinator = Coordinator::start(&place.data()).await;
    let mut client = coordinator.client_with_binary().await;
    let mut worker = FakeWorker::join(&coordinator, register(1, 1)).await.unwrap();
    worker.work_until_dropped(spec.id).await;
    assert_eq!(client.end_of(spec.id).await.state, JobState::Done);
    coordinator.stop().await;
}

/// No number of clean stops counts as a crash.
#[tokio::test(flavor = "multi_thread")]
async fn stops_while_a_job_is_planned_do_not_count() {
    let place = Place::new();
    let spec = place.spec(1);
    // Its planning waits for a worker that never answers: it has begun to stage, and no try of it is open any more.
    for epoch in 0..4 {
        let coordinator = Coordinator::start(&place.data()).await;
        let mut client = coordinator.client_with_binary().await;
        if epoch == 0 {
            client.submit(&spec).await.unwrap();
        }
        assert!(!client.get(spec.id).await.unwrap().state.is_final(), "epoch {epoch}");
        coordinator.stop().await;
    }
    let mut store = DiskStore::open(&place.data().join("journal.redb")).unwrap();
    assert!(store.load_running().unwrap()[0].tries <= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn output_in_procfs_fails_its_job_alone() {
    let (place, coordinator, mut client) = start().await;
    for (n, path) in (1u8..).zip(["/proc/x", "/proc/self/x/y", "/dev/null/x", "/sys/x"]) {
        let spec = spec(n, &place.input(), Path::new(path));
        client.submit(&spec).await.unwrap();
        let end = client.end_of(spec.id).await;
        assert_eq!((end.state, end.error.unwrap().code), (JobState::Failed, Code::OutputFailed), "{path}");
    }
    coordinator.stop().await;
}

/// A diamond of links, and one that is large enough to be listed for a while.
fn many_folders(place: &Place) -> std::path::PathBuf {
    let root = place.dir.path().join("many");
    for level in 0..6 {
        let folder = root.join(format!("d{level}"));
        std::fs::create_dir_all(&folder).unwrap();
        for side in ["a", "b"] {
            symlink(format!("../d{}", level + 1), folder.join(side)).unwrap();
        }
    }
    let last = root.join("d6");
    std::fs::create_dir_all(&last).unwrap();
    (0..3_000).for_each(|n| std::fs::write(last.join(n.to_string()), "x\n").unwrap());
    root.join("d0")
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_ends_the_planning_and_stop_does_not_wait_for_it() {
    let (place, coordinator, mut client) = start().await;
    let input = many_folders(&place);
    let mut slow = spec(1, &input, &place.output());
    // As many cuts as there are bytes.
    slow.options.chunk_bytes = Some(1);
    client.submit(&slow).await.unwrap();
    assert_eq!(client.get(slow.id).await.unwrap().state, JobState::Planning);
    client.cancel(slow.id).await.unwrap();
    assert_eq!(client.end_of(slow.id).await.state, JobState::Cancelled);
    let again = JobSpec { id: JobId::from_bytes([2; 16]), ..slow };
    client.submit(&again).await.unwrap();
    coordinator.stop().await;
    assert_eq!(place.names(), ["data", "in.txt", "many"], "nothing stays staged");
}

/// The folder that all outputs lie in is refused as an output before anything is claimed.
#[tokio::test(flavor = "multi_thread")]
async fn existing_folder_as_output_does_not_block_other_jobs() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let good = place.spec(1);
    for n in 10..30 {
        // Its inputs take longer to list than the other job takes.
        let parent = spec(n, &place.input(), place.dir.path());
        client.submit(&parent).await.unwrap();
    }
    client.submit(&good).await.unwrap();
    worker.work_until_dropped(good.id).await;
    assert_eq!(client.end_of(good.id).await.state, JobState::Done);
    for n in 10..30 {
        // The error that it holds the input is more precise than that it exists.
        assert_eq!(client.end_of(JobId::from_bytes([n; 16])).await.error.unwrap().code, Code::OutputInsideInput);
    }
    coordinator.stop().await;
}

/// A FIFO in the place of the staging folder's text hangs a thread that opens it, as a dead network file system would.
#[tokio::test(flavor = "multi_thread")]
async fn staging_that_does_not_answer_holds_up_no_start() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let [dead, good] = [place.spec(1), spec(2, &place.input(), &place.dir.path().join("other"))];
    for spec in [&dead, &good] {
        client.submit(spec).await.unwrap();
        worker.next_task().await;
    }
    coordinator.stop().await;
    let hidden = place.names().into_iter().find(|n| n.starts_with(".out.")).unwrap();
    let nonce = place.dir.path().join(hidden).join(windrow_format::names::NONCE);
    std::fs::remove_file(&nonce).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &nonce, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let writer = std::fs::File::options().read(true).write(true).open(&nonce).unwrap();

    let storage_timeout = std::time::Duration::from_millis(50);
    let coordinator = Coordinator::start_with(Config { storage_timeout, ..place.config() }).await;
    let mut client = coordinator.client().await;
    let error = client.get(dead.id).await.unwrap().error.unwrap();
    assert!(error.code == Code::Interrupted && error.message.contains("has not answered"), "{error}");
    assert_eq!(client.get(good.id).await.unwrap().state, JobState::Running);
    // The late answer changes nothing: another job can write the output of the ended one.
    drop(writer);
    let again = place.spec(3);
    client.submit(&again).await.unwrap();
    let mut worker = FakeWorker::join(&coordinator, register(1, 2)).await.unwrap();
    worker.work_until_dropped(again.id).await;
    assert_eq!(client.end_of(again.id).await.state, JobState::Done);
    coordinator.stop().await;
}
