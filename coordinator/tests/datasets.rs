//! Datasets that jobs read and write while workers join and leave: no acknowledged dataset depends on one worker.

mod support;

use support::put::{Put, begin, listed};
use support::*;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use windrow_model::*;
use windrow_net::clients;
use windrow_proto::v1::{self, from_worker::Message as Say, to_worker::Message as ToWorker};

/// Two lines in two chunks of the input are two map tasks and one reduce task, whose part is a chunk of this dataset.
fn writes(place: &Place, id: u8, name: &str) -> JobSpec {
    let mut spec = place.spec(id);
    spec.plan.sinks[0].path = format!("windrow://{name}");
    let Output::Edge { partitions, .. } = &mut spec.plan.stages[0].outputs[0] else { panic!("the first output") };
    *partitions = Partitions::Count(1);
    spec
}

fn reads(place: &Place, id: u8, name: &str) -> JobSpec {
    spec(id, std::path::Path::new(&format!("windrow://{name}")), &place.output())
}

/// Works until an attempt with parts is granted. Returns the done tasks, that attempt's last.
async fn work_until_granted(worker: &mut FakeWorker) -> Vec<Task> {
    let mut tasks: Vec<Task> = Vec::new();
    loop {
        match worker.hear().await.expect("the session ended") {
            ToWorker::Assign(assign) => {
                let task = assign.task.unwrap().try_into().unwrap();
                worker.done(&task);
                tasks.push(task);
            }
            ToWorker::CheckStaging(check) => worker.check_staging(check),
            ToWorker::Grant(grant) => {
                let attempt: AttemptId = grant.attempt.unwrap().try_into().unwrap();
                assert_eq!(tasks.last().unwrap().attempt, attempt);
                return tasks;
            }
            _ => {}
        }
    }
}

struct Two {
    place: Place,
    coordinator: Coordinator,
    client: Client,
    one: FakeWorker,
    two: FakeWorker,
    /// The tasks that the first worker has done; the last one made the part.
    tasks: Vec<Task>,
}

impl Two {
    /// Two workers, of which the first one has placed the only part of job 1: the second one is asked for a copy.
    async fn with_a_part(digest: Digest) -> Two {
        let (place, coordinator, mut client, mut one) = start_with_worker().await;
        client.submit(&writes(&place, 1, "made")).await.unwrap();
        let tasks = work_until_granted(&mut one).await;
        let mut two = FakeWorker::join(&coordinator, register(2, 1)).await.unwrap();
        two.holds(&[], true);
        one.holds(&[], true);
        one.publish_chunk(tasks[1].attempt, digest);
        assert_eq!(two.next_order().await, ChunkOrder::Copy(digest));
        Two { place, coordinator, client, one, two, tasks }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_cannot_name_the_parts_of_anothers_attempt() {
    let (place, coordinator, mut client, mut one) = start_with_worker().await;
    let job = client.submit(&writes(&place, 1, "made")).await.unwrap();
    let tasks = work_until_granted(&mut one).await;
    let mut two = FakeWorker::join(&coordinator, register(2, 1)).await.unwrap();
    one.holds(&[], true);
    two.holds(&[], true);
    let (wrong, right) = (Digest::of(b"wrong"), Digest::of(b"right"));
    two.publish_chunk(tasks[1].attempt, wrong);
    // Messages of one worker are handled in order.
    two.holds(&[wrong], false);
    client.until_workers(|workers| workers.len() == 2).await;
    one.publish_chunk(tasks[1].attempt, right);
    assert_eq!(two.next_order().await, ChunkOrder::Copy(right));
    two.holds(&[right], false);
    one.work_until_dropped(job).await;
    assert_eq!(client.end_of(job).await.state, JobState::Done);
    let mut data = clients::data(coordinator.connect().await);
    let mut chunks = data.get(v1::GetDatasetRequest { name: "made".into() }).await.unwrap().into_inner();
    let mut found = Vec::new();
    while let Some(place) = chunks.message().await.unwrap() {
        found.extend(place.chunk.map(|c| Digest::try_from(c.digest.unwrap()).unwrap()));
    }
    assert_eq!(found, [right]);
}

#[tokio::test(flavor = "multi_thread")]
async fn job_that_writes_a_dataset_ends_with_two_copies() {
    let digest = Digest::of(b"part");
    let Two { coordinator, mut client, one, two, place: _place, .. } = Two::with_a_part(digest).await;
    let job = JobId::from_bytes([1; 16]);
    assert!(!client.get(job).await.unwrap().state.is_final());
    assert_eq!(listed(&coordinator, "made").await, None);
    two.holds(&[digest], false);
    assert_eq!(client.end_of(job).await.state, JobState::Done);
    let made = listed(&coordinator, "made").await.unwrap();
    assert_eq!((made.chunks, made.replicas, made.copies_min), (1, 2, 2));
    drop(one);
    coordinator.stop().await;
}

/// The fault: the job waited for ever, and could not be cancelled.
#[tokio::test(flavor = "multi_thread")]
async fn worker_without_room_for_a_copy_delays_no_job() {
    let digest = Digest::of(b"part");
    let Two { coordinator, mut client, one, two, place: _place, .. } = Two::with_a_part(digest).await;
    two.not_copied(digest, Code::NoSpace);
    assert_eq!(client.end_of(JobId::from_bytes([1; 16])).await.state, JobState::Done);
    let made = listed(&coordinator, "made").await.unwrap();
    assert_eq!((made.replicas, made.copies_min), (2, 1), "one copy, and another one wanted");
    drop(one);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn job_whose_parts_are_being_copied_can_be_cancelled() {
    let Two { coordinator, mut client, one, two, place: _place, .. } = Two::with_a_part(Digest::of(b"part")).await;
    let job = JobId::from_bytes([1; 16]);
    assert_eq!(client.cancel(job).await, Ok(()));
    assert_eq!(client.end_of(job).await.state, JobState::Cancelled);
    drop((one, two));
    coordinator.stop().await;
}

/// The stream of the only worker with a chunk breaks. It is back before it counts as lost, and reports its chunks later.
#[tokio::test(flavor = "multi_thread")]
async fn session_that_breaks_during_a_copy_fails_no_job() {
    let digest = Digest::of(b"part");
    let Two { coordinator, mut client, one, two, tasks, place: _place } = Two::with_a_part(digest).await;
    let (attempt, job) = (tasks[1].attempt, tasks[1].attempt.task.job);
    let attempts = tasks.iter().map(|task| held(task, true)).collect();
    let has = v1::Inventory { attempts, jobs: vec![job.into()], last: true, ..Default::default() };
    let mut back = FakeWorker::join_with(&coordinator, register(1, 1), has).await.unwrap();
    // The coordinator cannot know whether its grant arrived, so it grants again.
    while !matches!(back.hear().await.unwrap(), ToWorker::Grant(_)) {}
    back.publish_chunk(attempt, digest);
    assert!(!client.get(job).await.unwrap().state.is_final());
    two.holds(&[digest], false);
    let end = client.end_of(job).await;
    assert_eq!((end.state, end.attempts), (JobState::Done, 2), "nothing ran again");
    assert_eq!(listed(&coordinator, "made").await.unwrap().copies_min, 2);
    drop(one);
    coordinator.stop().await;
}

/// Its published parts are on record, and its worker reports them a while after it has registered.
#[tokio::test(flavor = "multi_thread")]
async fn commit_after_a_restart_waits_for_all_inventories() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    worker.holds(&[], true);
    let mut spec = place.spec(1);
    spec.plan.sinks[0].path = "windrow://made".into();
    client.submit(&spec).await.unwrap();
    let map = worker.next_task().await;
    worker.done(&map);
    let (first, second) = (worker.next_task().await, worker.next_task().await);
    let (early, late) = (Digest::of(b"early"), Digest::of(b"late"));
    worker.done(&first);
    while !matches!(worker.hear().await.unwrap(), ToWorker::Grant(_)) {}
    worker.publish_chunk(first.attempt, early);
    client.until_job("the first part", spec.id, |job| job.tasks.done == 2).await;
    coordinator.stop().await;

    let coordinator = Coordinator::start(&place.data()).await;
    let mut client = coordinator.client().await;
    let attempts = vec![held(&map, true), held(&first, true), held(&second, false)];
    let has = v1::Inventory { attempts, jobs: vec![spec.id.into()], last: true, ..Default::default() };
    let mut worker = FakeWorker::join_with(&coordinator, register(1, 1), has).await.unwrap();
    worker.done(&second);
    while !matches!(worker.hear().await.unwrap(), ToWorker::Grant(_)) {}
    worker.publish_chunk(second.attempt, late);
    client.until_job("its commit", spec.id, |job| job.state == JobState::Committing).await;
    assert_eq!(listed(&coordinator, "made").await, None);
    // Recorded after the beginning of the commit: that is on record, too.
    Put::begin(&coordinator, "other").await.commit(Digest::of(b"other"), &worker).await;
    // A part of an attempt that was given up.
    let stale = AttemptId { number: first.attempt.number + 1, ..first.attempt };
    worker.publish_chunk(stale, Digest::of(b"stale"));
    worker.holds(&[late, early, Digest::of(b"other")], true);
    assert_eq!(client.end_of(spec.id).await.state, JobState::Done);
    assert_eq!(listed(&coordinator, "made").await.unwrap().chunks, 2);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn part_lost_before_its_copy_is_made_again() {
    let digest = Digest::of(b"part");
    let Two { coordinator, mut client, one, mut two, place: _place, .. } = Two::with_a_part(digest).await;
    let job = JobId::from_bytes([1; 16]);
    drop(one);
    let again = work_until_granted(&mut two).await;
    two.publish_chunk(again.last().unwrap().attempt, digest);
    let end = client.end_of(job).await;
    assert_eq!((end.state, end.error), (JobState::Done, None));
    assert_eq!(end.tasks.failed, 0, "no attempt is charged");
    let made = listed(&coordinator, "made").await.unwrap();
    assert_eq!((made.chunks, made.copies_min), (1, 1));
    coordinator.stop().await;
}

/// The fault: the next coordinator looked for the dataset before any worker was back.
#[tokio::test(flavor = "multi_thread")]
async fn unsplit_job_with_a_dataset_waits_for_returning_workers() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let digest = Digest::of(b"one\ntwo\n");
    worker.holds(&[], true);
    Put::begin(&coordinator, "texts").await.commit(digest, &worker).await;
    let job = reads(&place, 1, "texts");
    client.submit(&job).await.unwrap();
    // Before an answer, nothing of the split is on record.
    while !matches!(worker.hear().await.unwrap(), ToWorker::CheckStaging(_)) {}
    coordinator.stop().await;

    let coordinator = Coordinator::start(&place.data()).await;
    let mut client = coordinator.client().await;
    // A new job waits, too.
    let mut new = reads(&place, 2, "texts");
    new.plan.sinks[0].path.push('2');
    client.submit(&new).await.unwrap();
    let mut worker = FakeWorker::join(&coordinator, register(1, 1)).await.unwrap();
    for id in [job.id, new.id] {
        let status = client.get(id).await.unwrap();
        assert_eq!((status.state.is_final(), status.error), (false, None), "what the worker has is not known yet");
    }
    worker.holds(&[digest], true);
    for id in [job.id, new.id] {
        worker.work_until_dropped(id).await;
        assert_eq!(client.end_of(id).await.state, JobState::Done);
    }
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn job_waits_for_the_inventory_of_a_returned_worker() {
    let (place, coordinator, mut client, worker) = start_with_worker().await;
    let digest = Digest::of(b"one\ntwo\n");
    worker.holds(&[], true);
    Put::begin(&coordinator, "texts").await.commit(digest, &worker).await;
    let mut worker = FakeWorker::join(&coordinator, register(1, 2)).await.unwrap();
    let job = reads(&place, 1, "texts");
    client.submit(&job).await.unwrap();
    assert_eq!(client.get(job.id).await.unwrap().error, None);
    worker.holds(&[digest], true);
    worker.work_until_dropped(job.id).await;
    assert_eq!(client.end_of(job.id).await.state, JobState::Done);

    // The inventory is complete, and does not have it.
    let other = JobSpec { id: JobId::from_bytes([2; 16]), ..reads(&place, 2, "texts") };
    let worker = FakeWorker::join(&coordinator, register(1, 3)).await.unwrap();
    client.submit(&other).await.unwrap();
    worker.holds(&[], true);
    assert_eq!(client.end_of(other.id).await.error.unwrap().code, Code::ChunkUnavailable);
    coordinator.stop().await;
}

/// A worker that is ordered to delete the chunk of a dataset that is removed.
async fn dropping(coordinator: &Coordinator) -> (FakeWorker, Digest) {
    let garbage = Digest::of(b"garbage");
    let mut worker = FakeWorker::join(coordinator, register(1, 1)).await.unwrap();
    worker.holds(&[], true);
    Put::begin(coordinator, "garbage").await.commit(garbage, &worker).await;
    let mut client = clients::data(coordinator.connect().await);
    client.remove(v1::RemoveDatasetRequest { name: "garbage".into() }).await.unwrap();
    assert_eq!(worker.next_order().await, ChunkOrder::Drop(vec![garbage]));
    (worker, garbage)
}

#[tokio::test(flavor = "multi_thread")]
async fn job_that_writes_a_dataset_waits_for_deletions() {
    let (place, coordinator, mut client) = start().await;
    let (mut worker, _) = dropping(&coordinator).await;
    let (held_up, other) = (writes(&place, 1, "made"), place.spec(2));
    client.submit(&held_up).await.unwrap();
    client.submit(&other).await.unwrap();
    worker.work_until_dropped(other.id).await;
    assert_eq!(client.end_of(other.id).await.state, JobState::Done, "one without is not held up");
    assert!(!worker.setups.contains_key(&held_up.id), "not even a task was assigned");
    worker.say(Say::ChunksDropped(v1::ChunksDropped {}));
    let tasks = work_until_granted(&mut worker).await;
    worker.publish_chunk(tasks[1].attempt, Digest::of(b"part"));
    assert_eq!(client.end_of(held_up.id).await.state, JobState::Done);
    coordinator.stop().await;
}

/// Such a put would begin without a stream that ends it, and no chunk would be deleted from then on.
#[tokio::test(flavor = "multi_thread")]
async fn put_broken_off_before_its_beginning_does_not_stay_open() {
    let place = Place::new();
    let coordinator = Coordinator::start(&place.data()).await;
    let (mut worker, garbage) = dropping(&coordinator).await;
    let mut client = clients::data(coordinator.connect().await);
    // It waits for the answer to that order; its client does not.
    let (say, said) = mpsc::unbounded_channel();
    say.send(begin("broken")).unwrap();
    let mut broken = Box::pin(client.put(UnboundedReceiverStream::new(said)));
    let patience = std::time::Duration::from_millis(200);
    assert!(tokio::time::timeout(patience, &mut broken).await.is_err(), "it waits");
    drop((broken, say));
    // On the same connection, so the coordinator has heard of the end before.
    client.list(v1::ListDatasetsRequest {}).await.unwrap();
    worker.say(Say::ChunksDropped(v1::ChunksDropped {}));
    worker.holds(&[garbage], false);
    assert_eq!(worker.next_order().await, ChunkOrder::Drop(vec![garbage]));
    worker.say(Say::ChunksDropped(v1::ChunksDropped {}));
    let put = Put::begin(&coordinator, "broken").await;
    put.commit(garbage, &worker).await;
    assert_eq!(listed(&coordinator, "broken").await.unwrap().version, 1);
    coordinator.stop().await;
}

/// What it had stored stayed on the workers for two days.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_of_a_put_that_breaks_are_deleted_at_once() {
    let place = Place::new();
    let coordinator = Coordinator::start(&place.data()).await;
    let mut worker = FakeWorker::join(&coordinator, register(1, 1)).await.unwrap();
    let [old, new, late] = ["old", "new", "late"].map(|text| Digest::of(text.as_bytes()));
    worker.holds(&[old], true);
    let put = Put::begin(&coordinator, "texts").await;
    worker.stored(&[old, new]);
    // On the same stream: the coordinator has heard of them.
    assert_eq!(put.try_commit(new, WorkerId::from_bytes([9; 16])).await.unwrap_err().code, Code::BadRequest);
    assert_eq!(worker.next_order().await, ChunkOrder::Drop(vec![new]));
    worker.say(Say::ChunksDropped(v1::ChunksDropped {}));
    worker.stored(&[late]);
    assert_eq!(worker.next_order().await, ChunkOrder::Drop(vec![late]));
    worker.say(Say::ChunksDropped(v1::ChunksDropped {}));
    // Copies that turn up later are not those that the put has stored.
    let other = FakeWorker::join(&coordinator, register(2, 1)).await.unwrap();
    other.holds(&[late, old, new], true);
    drop(other);
    coordinator.stop().await;
    let coordinator = Coordinator::start(&place.data()).await;
    let mut away = FakeWorker::join(&coordinator, register(2, 1)).await.unwrap();
    away.holds(&[late, old, new], true);
    let mut data = clients::data(coordinator.connect().await);
    let orphans = data.list_orphans(v1::ListOrphansRequest {}).await.unwrap().into_inner().chunks;
    assert_eq!(orphans.len(), 3);
    // The first order that it gets is for the copy of another failed put.
    let put = Put::begin(&coordinator, "more").await;
    let more = Digest::of(b"more");
    away.stored(&[more]);
    assert_eq!(put.try_commit(more, WorkerId::from_bytes([9; 16])).await.unwrap_err().code, Code::BadRequest);
    assert_eq!(away.next_order().await, ChunkOrder::Drop(vec![more]));
    coordinator.stop().await;
}

/// With a restart every day nothing ever went.
#[tokio::test(flavor = "multi_thread")]
async fn orphans_wait_on_after_a_restart() {
    let place = Place::new();
    let orphan = Digest::of(b"orphan");
    let for_ms = async |coordinator: &Coordinator| {
        let mut data = clients::data(coordinator.connect().await);
        let orphans = data.list_orphans(v1::ListOrphansRequest {}).await.unwrap().into_inner().chunks;
        orphans.first().map_or(0, |orphan| orphan.for_ms)
    };
    let joined = async |coordinator: &Coordinator| {
        let worker = FakeWorker::join(coordinator, register(1, 1)).await.unwrap();
        worker.holds(&[orphan], true);
        worker
    };
    let coordinator = Coordinator::start(&place.data()).await;
    let worker = joined(&coordinator).await;
    while for_ms(&coordinator).await < 1_500 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    coordinator.stop().await;
    let coordinator = Coordinator::start(&place.data()).await;
    let again = joined(&coordinator).await;
    assert!(for_ms(&coordinator).await >= 1_500);
    drop((worker, again));
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn put_is_refused_that_names_a_worker_which_does_not_exist() {
    let place = Place::new();
    let coordinator = Coordinator::start(&place.data()).await;
    let worker = FakeWorker::join(&coordinator, register(1, 1)).await.unwrap();
    worker.holds(&[], true);
    let digest = Digest::of(b"texts");
    let put = Put::begin(&coordinator, "texts").await;
    let refused = put.try_commit(digest, WorkerId::from_bytes([9; 16])).await.unwrap_err();
    assert_eq!(refused.code, Code::BadRequest);
    // The put waits for a worker that has not reported the chunk, and commits when it has.
    let put = Put::begin(&coordinator, "texts").await;
    let mut commit = Box::pin(put.try_commit(digest, worker.id));
    let patience = std::time::Duration::from_millis(200);
    assert!(tokio::time::timeout(patience, &mut commit).await.is_err(), "it waits");
    assert_eq!(listed(&coordinator, "texts").await, None);
    worker.holds(&[digest], false);
    commit.await.unwrap();
    assert_eq!(listed(&coordinator, "texts").await.unwrap().copies_min, 1);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_with_a_newer_journal_is_refused_until_a_restore() {
    let place = Place::new();
    let coordinator = Coordinator::start(&place.data()).await;
    let worker = FakeWorker::join(&coordinator, register(1, 1)).await.unwrap();
    let v1::Registered { cluster, epoch, nonce, revision, .. } = worker.registered.clone();
    worker.holds(&[], true);
    Put::begin(&coordinator, "texts").await.commit(Digest::of(b"texts"), &worker).await;
    let folder = v1::Folder { cluster: cluster.clone(), epoch, nonce, revision: revision + 1, chunks: 0 };
    let seen = |folder: &v1::Folder| v1::Register { folder: Some(folder.clone()), ..register(1, 2) };
    FakeWorker::join(&coordinator, seen(&folder)).await.unwrap();
    for newer in [
        v1::Folder { revision: revision + 2, ..folder.clone() },
        v1::Folder { epoch: epoch + 1, ..folder.clone() },
        v1::Folder { nonce: nonce + 1, ..folder.clone() },
    ] {
        let refused = FakeWorker::join(&coordinator, seen(&newer)).await.err().unwrap();
        assert_eq!(refused.code, Code::JournalBehind, "{newer:?}");
    }
    let other = v1::Folder { cluster: Some(ClusterId::from_bytes([9; 16]).into()), ..folder.clone() };
    assert_eq!(FakeWorker::join(&coordinator, seen(&other)).await.err().unwrap().code, Code::ClusterMismatch);
    let old = v1::Register { folder: None, ..register(3, 1) };
    assert_eq!(FakeWorker::join(&coordinator, old).await.err().unwrap().code, Code::VersionMismatch);
    coordinator.stop().await;

    // A restore leaps over what workers have seen.
    windrow_coordinator::restore(&place.data(), None, None).unwrap();
    let coordinator = Coordinator::start(&place.data()).await;
    let far = v1::Folder { epoch: epoch + 50, nonce: 1, revision: 99, ..folder };
    let back = FakeWorker::join(&coordinator, seen(&far)).await.unwrap();
    assert!(back.registered.epoch > far.epoch);
    assert_eq!(back.registered.cluster, cluster);
    coordinator.stop().await;
}
