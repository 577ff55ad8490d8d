//! Messages of other releases, made by hand: fields that they do not know are missing. Either it works, or the error says why.

mod support;

use support::*;
use windrow_model::*;
use windrow_net::clients;
use windrow_proto::v1::{self, from_worker::Message as Say, put_request};

/// Before cluster ids, digests of inputs, complete beats and lengths of chunks.
fn report_of_old(task: &Task) -> v1::TaskReport {
    v1::TaskReport { read: 0, counters: None, ..report_of(task).into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_that_knows_fewer_fields_runs_jobs() {
    let (place, coordinator, mut client) = start().await;
    let old = v1::Register { life: 0, home: None, release: String::new(), ..register(1, 1) };
    let mut worker = FakeWorker::join(&coordinator, old).await.unwrap();
    worker.say(Say::ChunksHeld(v1::ChunksHeld { last: true, ..Default::default() }));
    let spec = place.spec(1);
    client.submit(&spec).await.unwrap();
    let run = |worker: &FakeWorker, task: &Task| {
        // An empty beat says nothing of attempts.
        worker.say(Say::Beat(v1::Beat::default()));
        worker.done_with(task, report_of_old(task));
    };
    worker.work_with(spec.id, run).await;
    assert_eq!(client.end_of(spec.id).await.state, JobState::Done);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_of_a_release_without_cluster_ids_is_refused() {
    let place = Place::new();
    let coordinator = Coordinator::start(&place.data()).await;
    let refused = async |register| FakeWorker::join(&coordinator, register).await.err().unwrap();
    let old = refused(v1::Register { folder: None, ..register(1, 1) }).await;
    assert_eq!(old.code, Code::VersionMismatch);
    assert!(old.message.contains("cluster ids"), "{old}");
    let protocol = Some(v1::ProtocolRange { min: 1, max: 1, release: "0.0.9".into() });
    let older = refused(v1::Register { protocol, ..register(1, 1) }).await;
    assert_eq!(older.code, Code::VersionMismatch);
    assert!(older.message.contains("0.0.9") && older.message.contains("protocol 1"), "{older}");
    let unnamed = refused(v1::Register { protocol: None, ..register(1, 1) }).await;
    assert_eq!(unnamed.code, Code::BadRequest);
    assert!(unnamed.message.contains("protocol range"), "{unnamed}");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_knows_fewer_fields_submits_and_watches() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let spec = place.spec(1);
    let old = v1::JobSpec { options: None, name: String::new(), ..spec.clone().into() };
    client.0.submit(v1::SubmitRequest { spec: Some(old.clone()) }).await.unwrap();
    worker.work_until_dropped(spec.id).await;
    assert_eq!(client.end_of(spec.id).await.state, JobState::Done);

    // What is missing and needed is named.
    let missing = async |spec: v1::JobSpec| {
        let mut client = coordinator.client().await;
        failure(client.0.submit(v1::SubmitRequest { spec: Some(spec) }).await.unwrap_err())
    };
    for (spec, field) in [
        (v1::JobSpec { id: None, ..old.clone() }, "spec.id"),
        (v1::JobSpec { plan: None, ..old.clone() }, "spec.plan"),
        (v1::JobSpec { binary: None, ..old.clone() }, "spec.binary"),
        (v1::JobSpec { program: String::new(), ..old.clone() }, "spec.program"),
    ] {
        let refused = missing(spec).await;
        assert_eq!(refused.code, Code::BadRequest);
        assert!(refused.message.contains(&format!("`{field}` is missing")), "{refused}");
    }
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn message_of_a_later_release_is_refused_by_name() {
    let place = Place::new();
    let coordinator = Coordinator::start(&place.data()).await;
    FakeWorker::join(&coordinator, register(1, 1)).await.unwrap();
    // A kind of message that this release does not know arrives without content.
    let mut data = clients::data(coordinator.connect().await);
    let refused = failure(data.put(tokio_stream::iter([v1::PutRequest { message: None }])).await.err().unwrap());
    assert_eq!(refused.code, Code::BadRequest);
    assert!(refused.message.contains("`BeginPut`"), "{refused}");
    let begin = v1::BeginPut { name: "set".into(), ..Default::default() };
    let begin = v1::PutRequest { message: Some(put_request::Message::Begin(begin)) };
    let refused = failure(data.put(tokio_stream::iter([begin])).await.err().unwrap());
    assert_eq!(refused.code, Code::BadRequest);
    assert!(refused.message.contains("framing"), "{refused}");
    coordinator.stop().await;
}
