//! Tables of outputs and addresses of their holders come to a worker once in a session, and again only when they change.

mod support;

use support::*;
use windrow_model::*;
use windrow_proto::v1;
use windrow_proto::v1::to_worker::Message as ToWorker;

/// Maps and six reduces.
fn six_reduces(place: &Place) -> JobSpec {
    let mut spec = place.spec(1);
    for output in &mut spec.plan.stages[0].outputs {
        if let Output::Edge { partitions, .. } = output {
            *partitions = Partitions::Count(6);
        }
    }
    spec.options.backup_attempts = false;
    spec
}

fn at(id: u8, incarnation: u64, port: u16) -> v1::Register {
    v1::Register { address: format!("http://127.0.0.1:{port}"), ..register(id, incarnation) }
}

fn of_stage(task: &Task, stage: u32) -> bool {
    task.attempt.task.stage == StageId(stage)
}

#[tokio::test(flavor = "multi_thread")]
async fn table_and_addresses_come_once_in_a_session() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let spec = six_reduces(&place);
    assert_eq!(
        client.run(&mut worker, &spec).await.tasks.done,
        6 + client.get(spec.id).await.unwrap().stages[0].tasks.total
    );
    assert_eq!((worker.tables.len(), worker.peers.len()), (1, 1));
    assert_eq!(worker.tables[0].workers().collect::<Vec<_>>(), [worker.id]);
    // Another job has another table; the address is known.
    let again = JobSpec { id: JobId::from_bytes([2; 16]), ..six_reduces(&place) };
    std::fs::remove_dir_all(place.output()).unwrap();
    client.submit(&again).await.unwrap();
    worker.work_until_dropped(again.id).await;
    assert_eq!((worker.tables.len(), worker.peers.len()), (2, 1));
    coordinator.stop().await;
}

/// Lets the worker finish all maps. Returns them, and the first reduce that it gets.
async fn finish_maps(worker: &mut FakeWorker) -> (Vec<Task>, Task) {
    let mut maps = Vec::new();
    loop {
        let task = worker.next_task().await;
        if of_stage(&task, 1) {
            return (maps, task);
        }
        worker.done(&task);
        maps.push(task);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn returning_worker_gets_tables_anew_and_others_its_address() {
    let patient = |config: &mut windrow_coordinator::Config| config.lease_ms = 120_000;
    let (place, coordinator, mut client, mut holder) = start_configured(patient).await;
    let spec = six_reduces(&place);
    client.submit(&spec).await.unwrap();
    let (maps, _) = finish_maps(&mut holder).await;
    assert_eq!(holder.tables.len(), 1);
    let mut reader = FakeWorker::join(&coordinator, at(2, 1, 7)).await.unwrap();
    let first = loop {
        match reader.hear().await.unwrap() {
            ToWorker::Assign(assign) => break Task::try_from(assign.task.unwrap()).unwrap(),
            ToWorker::CheckStaging(check) => reader.check_staging(check),
            _ => {}
        }
    };
    assert!(of_stage(&first, 1));
    assert_eq!(reader.peers, [(holder.id, "http://127.0.0.1:1".to_string())]);
    // The holder returns at another address, in a new incarnation, with all of its outputs.
    let attempts = maps.iter().map(|task| held(task, true)).collect();
    let inventory = v1::Inventory { attempts, last: true, ..Default::default() };
    let mut holder = FakeWorker::join_with(&coordinator, at(1, 2, 9), inventory).await.unwrap();
    assert!(of_stage(&holder.next_task().await, 1));
    assert_eq!((holder.tables.len(), holder.peers.len()), (1, 1), "they come anew in a new session");
    reader.done(&first);
    while reader.peers.len() == 1 {
        match reader.hear().await.unwrap() {
            ToWorker::Assign(assign) => reader.done(&assign.task.unwrap().try_into().unwrap()),
            ToWorker::Grant(grant) => reader.publish(grant.attempt.unwrap().try_into().unwrap()),
            _ => {}
        }
    }
    assert_eq!(reader.peers[1], (holder.id, "http://127.0.0.1:9".to_string()));
    assert_eq!(reader.tables.len(), 1, "the table has not changed");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_table_is_sent_again() {
    let (place, coordinator, mut client, mut worker) = start_with_worker().await;
    let spec = six_reduces(&place);
    client.submit(&spec).await.unwrap();
    let (_, reduce) = finish_maps(&mut worker).await;
    let (holder, lost) = worker.tables[0].attempts().next().unwrap();
    let damaged = v1::SegmentLost {
        reader: Some(reduce.attempt.into()),
        lost: Some(OutputRef { worker: holder, attempt: lost, output: 0 }.into()),
        failure: Some(Failure::new(Code::SegmentCorrupt, "damaged").into()),
    };
    worker.say(v1::from_worker::Message::SegmentLost(damaged));
    worker.work_until_dropped(spec.id).await;
    assert_eq!(client.end_of(spec.id).await.state, JobState::Done);
    assert_eq!(worker.tables.len(), 2);
    assert!(worker.tables[0].version < worker.tables[1].version);
    let again = worker.tables[1].attempt(lost.task.index).unwrap().1;
    assert!(again.number > lost.number);
    coordinator.stop().await;
}
