//! Outputs on storage that is no file system: the coordinator and its journal need nothing but the names and receipts that the
//! storage gives them.

#![allow(clippy::disallowed_methods, reason = "tests read the files that they made")]

#[path = "../../store/tests/objects/mod.rs"]
mod objects;
mod support;

use objects::{Bucket, Objects};
use std::path::{Path, PathBuf};
use support::*;
use windrow_coordinator::Config;
use windrow_model::*;
use windrow_proto::v1::{self, from_worker::Message as Say, to_worker::Message as Order};
use windrow_store::{Durability, Output, PartFile};

const OUTPUT: &str = "mem://bucket/out";

struct Setting {
    place: Place,
    objects: Objects,
    spec: JobSpec,
}

impl Setting {
    fn new() -> Setting {
        let place = Place::new();
        let spec = spec(1, &place.input(), Path::new(OUTPUT));
        Setting { place, objects: Objects(Bucket::default()), spec }
    }

    async fn start(&self) -> Coordinator {
        let outputs = windrow_store::Outputs::with(self.objects.clone());
        Coordinator::start_with(Config { outputs, ..self.place.config() }).await
    }

    /// The staging area in the setup that a worker has got.
    fn area(&self, worker: &FakeWorker) -> PathBuf {
        use std::os::unix::ffi::OsStringExt;
        std::ffi::OsString::from_vec(worker.setups[&self.spec.id].staging[0].path.clone()).into()
    }

    /// The first task. Answers questions about the storage on the way, as a worker does.
    async fn first_task(&self, worker: &mut FakeWorker) -> Task {
        loop {
            match worker.hear().await.expect("the session ended") {
                Order::Assign(assign) => return assign.task.unwrap().try_into().unwrap(),
                Order::CheckStaging(check) => {
                    let area = PathBuf::from(String::from_utf8(check.folder).unwrap());
                    let failure = self.objects.check_nonce(&area, &check.nonce).err().map(|e| Failure::from(e).into());
                    worker.say(Say::StagingChecked(v1::StagingChecked { request: check.request, failure }));
                }
                _ => {}
            }
        }
    }

    /// Places the part of a granted attempt. Returns what the worker reports.
    fn place_part(&self, worker: &FakeWorker, attempt: AttemptId) -> v1::Published {
        let file = self.place.dir.path().join(windrow_format::names::attempt_part(&attempt, ""));
        std::fs::write(&file, PART).unwrap();
        let part = PartFile { attempt: &attempt, suffix: "", file: &file };
        let receipt = self.objects.place(&self.area(worker), part, Durability::NoSync, &|| {}).unwrap();
        let parts = vec![v1::PlacedPart { sink: 0, receipt: receipt.bytes().to_vec() }];
        v1::Published { attempt: Some(attempt.into()), parts, ..Default::default() }
    }

    /// Waits for the grant of this attempt, and publishes it.
    async fn publish(&self, worker: &mut FakeWorker, attempt: AttemptId) {
        loop {
            if let Order::Grant(grant) = worker.hear().await.expect("the session ended") {
                assert_eq!(AttemptId::try_from(grant.attempt.unwrap()).unwrap(), attempt);
                break;
            }
        }
        worker.say(Say::Published(self.place_part(worker, attempt)));
    }

    /// Runs the map, and publishes the first of two reduces. Returns all three tasks.
    async fn publish_first(&self, client: &mut Client, worker: &mut FakeWorker) -> [Task; 3] {
        client.submit(&self.spec).await.unwrap();
        let map = self.first_task(worker).await;
        worker.done(&map);
        let (first, second) = (worker.next_task().await, worker.next_task().await);
        worker.done(&first);
        self.publish(worker, first.attempt).await;
        client.until_job("the first part", self.spec.id, |job| job.tasks.done >= 2).await;
        [map, first, second]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_of_object_parts_survive_a_restart() {
    let setting = Setting::new();
    let coordinator = setting.start().await;
    let mut client = coordinator.client_with_binary().await;
    let mut worker = FakeWorker::join(&coordinator, register(1, 1)).await.unwrap();
    let [map, first, second] = setting.publish_first(&mut client, &mut worker).await;
    coordinator.stop().await;

    let coordinator = setting.start().await;
    let mut client = coordinator.client().await;
    // Another job must not write there meanwhile.
    let other = spec(2, &setting.place.input(), Path::new("mem://bucket//out/"));
    client.submit(&other).await.unwrap();
    assert_eq!(client.end_of(other.id).await.error.unwrap().code, Code::OutputInUse);
    let has = v1::Inventory {
        attempts: vec![held(&map, true), held(&first, true), held(&second, false)],
        jobs: vec![setting.spec.id.into()],
        last: true,
        ..Default::default()
    };
    let mut back = FakeWorker::join_with(&coordinator, register(1, 1), has).await.unwrap();
    back.setups = worker.setups;
    back.done(&second);
    setting.publish(&mut back, second.attempt).await;
    let end = client.end_of(setting.spec.id).await;
    assert_eq!((end.state, end.attempts), (JobState::Done, 3), "{:?}", end.error);
    let bucket = &setting.objects.0;
    assert_eq!(bucket.read(OUTPUT).unwrap(), (setting.spec.id, vec![PART.to_vec(), PART.to_vec()]));
    assert_eq!((bucket.keys().len(), bucket.pending_uploads()), (3, 0), "{:?}", bucket.keys());
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_job_leaves_no_upload_and_no_claim() {
    let setting = Setting::new();
    let coordinator = setting.start().await;
    let mut client = coordinator.client_with_binary().await;
    let mut worker = FakeWorker::join(&coordinator, register(1, 1)).await.unwrap();
    let [_, first, second] = setting.publish_first(&mut client, &mut worker).await;
    // Another attempt has placed its part and lost: its worker was away, say.
    let late = AttemptId { number: 7, ..first.attempt };
    worker.say(Say::Published(setting.place_part(&worker, late)));
    let too_long = v1::PlacedPart { sink: 0, receipt: vec![0; windrow_store::Receipt::BYTES_MAX + 1] };
    worker.say(Say::Published(v1::Published {
        parts: vec![too_long],
        attempt: Some(late.into()),
        ..Default::default()
    }));
    // The grant shows that the coordinator has read what was said before.
    worker.done(&second);
    while !matches!(worker.hear().await.unwrap(), Order::Grant(_)) {}
    let bucket = &setting.objects.0;
    assert_eq!(bucket.pending_uploads(), 2);
    client.cancel(setting.spec.id).await.unwrap();
    coordinator.stop().await;
    assert_eq!((bucket.keys(), bucket.pending_uploads()), (Vec::new(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_of_another_bucket_is_left_out() {
    let setting = Setting::new();
    let coordinator = setting.start().await;
    let mut client = coordinator.client_with_binary().await;
    let mut worker = FakeWorker::join(&coordinator, register(1, 1)).await.unwrap();
    client.submit(&setting.spec).await.unwrap();
    let Some(Order::CheckStaging(check)) = worker.hear().await else { panic!("no question about staging") };
    let area = PathBuf::from(String::from_utf8(check.folder).unwrap());
    let failure = Objects(Bucket::default()).check_nonce(&area, &check.nonce).unwrap_err();
    let failure = Some(Failure::from(failure).into());
    worker.say(Say::StagingChecked(v1::StagingChecked { request: check.request, failure }));
    let end = client.end_of(setting.spec.id).await;
    assert_eq!(end.error.unwrap().code, Code::OutputNotShared);
    coordinator.stop().await;
    assert_eq!(setting.objects.0.keys(), Vec::<String>::new(), "the claim is gone");
}
