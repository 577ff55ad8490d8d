//! Where a task finds the outputs that it reads: in place, or fetched from their holders.

use super::scripted::{Scripted, Then, pieces};
use super::{Peer, contents, image, made, text};
use crate::neighbours::Whereabouts;
use crate::staging::{Staged, WantedPort};
use crate::tables::Table;
use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use windrow_attempts::StageError;
use windrow_format::block::Identity;
use windrow_format::stage_index::StageIndex;
use windrow_model::{
    AttemptId, Code, EdgePort, Failure, OutputRef, Port, StageId, StageOutputs, TableVersion, Task, TaskId, WorkerId,
};
use windrow_proto::v1;
use windrow_sim::samples::{attempt, task};

/// A reader of stage 0, for this partition.
fn reader(partition: u32) -> Box<Task> {
    let id = attempt(1, partition);
    task(AttemptId { task: TaskId { stage: StageId(1), ..id.task }, ..id }, vec![])
}

/// The table in which these attempts, each with its holder, count for tasks 0, 1, 2 …
fn table(outputs: &[Option<(&Peer, AttemptId)>]) -> Arc<Table> {
    let job = attempt(1, 0).task.job;
    let outputs = outputs.iter().map(|output| output.map(|(peer, attempt)| (peer.scratch.worker(), attempt)));
    Arc::new(Table::new(StageOutputs::new(job, StageId(0), TableVersion::default(), outputs, vec![0])))
}

/// The first output of stage 0, of three partitions, as a task reads it.
fn port(table: &Arc<Table>) -> WantedPort {
    let port = Port { stage: StageId(0), output: 0 };
    let port = EdgePort { port, partitions: 3, version: TableVersion::default(), digest: 0 };
    WantedPort { input: 0, at: 0, port, table: table.clone() }
}

async fn stage(
    here: &Peer,
    partition: u32,
    table: &Arc<Table>,
    peers: &HashMap<WorkerId, Whereabouts>,
) -> Result<Staged, StageError> {
    here.staging().stage(&reader(partition), &[port(table)], peers, &HashMap::new(), &made()).await
}

/// The segments of a partition by task: those in place, and those that were fetched.
fn read(staged: &Staged, partition: u32) -> [Vec<(u32, Vec<u8>)>; 2] {
    let [port] = &staged.ports[..] else { panic!("one port") };
    let images = port.places.in_place.iter().map(|(_, image)| image.clone()).collect();
    let of: Vec<AttemptId> = port.places.in_place.iter().map(|(attempt, _)| *attempt).collect();
    let owner = move |position: u32| Identity::of_output(&of[position as usize], 0);
    let index = StageIndex::build(images, 3, 1 << 20, owner).unwrap();
    let in_place = index.partition(partition).unwrap().into_iter().map(|(position, segment)| {
        let (attempt, image) = &port.places.in_place[position as usize];
        let bytes = fs::read(&image.file).unwrap()[segment.offset as usize..][..segment.length as usize].to_vec();
        (attempt.task.index, bytes)
    });
    let fetched = port.fetched.iter().flat_map(|file| {
        let (mut rest, mut all) = (contents(&file.path), Vec::new());
        for (task, length) in file.task.iter().zip(&file.length) {
            let behind = rest.split_off(*length as usize);
            all.push((*task, std::mem::replace(&mut rest, behind)));
        }
        assert!(rest.is_empty());
        all
    });
    [in_place.collect(), fetched.collect()]
}

fn lost(peer: &Peer, attempt: AttemptId) -> OutputRef {
    OutputRef { worker: peer.scratch.worker(), attempt, output: 0 }
}

fn assert_lost(staged: Result<Staged, StageError>, expected: OutputRef, code: Code) {
    match staged {
        Err(StageError::SegmentLost(lost, failure)) => assert_eq!((*lost, failure.code), (expected, code), "{failure}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn own_outputs_are_used_in_place() {
    let (here, there) = (Peer::start().await, Peer::start().await);
    let [a, b, c, d] = ["own", "other", "own spooled", "other again"].map(text);
    let spool = here.spool(attempt(1, 0));
    here.finished(attempt(1, 0), &[(0, &b), (1, &a)]);
    there.finished(attempt(1, 1), &[(1, &b)]);
    here.spooled(attempt(1, 3), &[(0, &a)], &spool);
    here.spooled(attempt(1, 4), &[(1, &c), (2, &a)], &spool);
    there.finished(attempt(1, 5), &[(1, &d)]);
    there.finished(attempt(1, 6), &[(2, &d)]);
    let held = |peer, n| Some((peer, attempt(1, n)));
    let table = table(&[
        held(&here, 0),
        held(&there, 1),
        None,
        held(&here, 3),
        held(&here, 4),
        held(&there, 5),
        held(&there, 6),
    ]);
    let staged = stage(&here, 1, &table, &there.known_by_address()).await.unwrap();
    assert_eq!(staged.made.len(), 1, "one file per peer");
    assert_eq!(read(&staged, 1), [vec![(0, a.clone()), (4, c)], vec![(1, b.clone()), (5, d.clone())]]);
    let files = here.scratch.attempt(&reader(1).attempt);
    assert_eq!(staged.made, [files.fetched(there.scratch.worker(), 0, 0)]);
    // The places are found once; another partition is fetched by itself.
    let again = stage(&here, 2, &table, &there.known_by_address()).await.unwrap();
    assert_eq!(again.ports[0].places.id, staged.ports[0].places.id);
    assert_eq!(read(&again, 2), [vec![(4, a)], vec![(6, d)]]);
}

#[tokio::test]
async fn every_holder_is_fetched_from() {
    let here = Peer::start().await;
    let mut peers = Vec::new();
    for n in 0..20 {
        let peer = Peer::start().await;
        (0..5).for_each(|k| peer.finished(attempt(1, n + 20 * k), &[(k % 3, &text(&format!("{n} {k}")))]));
        peers.push(peer);
    }
    let outputs: Vec<_> = (0..100).map(|n| Some((&peers[n as usize % 20], attempt(1, n)))).collect();
    let table = table(&outputs);
    let known: HashMap<_, _> = peers.iter().flat_map(Peer::known_by_address).collect();
    for partition in 0..3 {
        let staged = stage(&here, partition, &table, &known).await.unwrap();
        let [_, mut fetched] = read(&staged, partition);
        fetched.sort();
        let expected = (0..100).filter(|n| n / 20 % 3 == partition);
        assert_eq!(fetched, expected.map(|n| (n, text(&format!("{} {}", n % 20, n / 20)))).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn outputs_of_a_neighbour_are_used_in_place() {
    let (here, neighbour, there) = (Peer::start().await, Peer::start().await, Peer::start().await);
    let [near, far, spooled] = ["near", "far", "near spooled"].map(text);
    let spool = neighbour.spool(attempt(1, 0));
    neighbour.finished(attempt(1, 0), &[(0, &near), (1, &near)]);
    there.finished(attempt(1, 1), &[(1, &far)]);
    neighbour.spooled(attempt(1, 2), &[(1, &spooled)], &spool);
    let mut peers = there.known_by_address();
    peers.extend(neighbour.known_with_home());
    let outputs = [Some((&neighbour, attempt(1, 0))), Some((&there, attempt(1, 1))), Some((&neighbour, attempt(1, 2)))];
    let staged = stage(&here, 1, &table(&outputs), &peers).await.unwrap();
    assert_eq!(read(&staged, 1), [vec![(0, near.clone()), (2, spooled)], vec![(1, far)]]);
    let files: Vec<_> = staged.ports[0].places.in_place.iter().map(|(_, image)| image.file.to_path_buf()).collect();
    assert_eq!(files, [neighbour.scratch.attempt(&attempt(1, 0)).edge(0), spool.path().to_path_buf()]);
    assert_eq!(staged.made.len(), 1);

    let only_near = table(&outputs[..1]);
    let asked = neighbour.asked();
    for partition in [2, 0] {
        let staged = stage(&here, partition, &only_near, &peers).await.unwrap();
        assert!(staged.made.is_empty());
    }
    assert_eq!(neighbour.asked(), asked + 1, "one call, with the list, for all readers");
}

/// Only a running worker knows what became of an output.
#[tokio::test]
async fn output_missing_at_a_neighbour_is_lost() {
    let (here, neighbour) = (Peer::start().await, Peer::start().await);
    (0..3).for_each(|n| neighbour.finished(attempt(1, n), &[(0, &text("abc"))]));
    neighbour.outputs.remove(&attempt(1, 1));
    let table = table(&[0, 1, 2].map(|n| Some((&neighbour, attempt(1, n)))));
    let staged = stage(&here, 0, &table, &neighbour.known_with_home()).await;
    assert_lost(staged, lost(&neighbour, attempt(1, 1)), Code::StaleAttempt);
    // It is looked for again.
    neighbour.finished(attempt(1, 1), &[(0, &text("abc"))]);
    let staged = stage(&here, 0, &table, &neighbour.known_with_home()).await.unwrap();
    assert_eq!(staged.ports[0].places.in_place.len(), 3);
}

#[tokio::test]
async fn outputs_of_a_lying_neighbour_are_fetched() {
    let reply = |files: &[&str], file: &[u32]| v1::LocateOutputsReply {
        files: files.iter().map(|file| file.as_bytes().to_vec()).collect(),
        file: file.to_vec(),
        base: vec![0; file.len()],
        length: vec![80; file.len()],
        ..v1::LocateOutputsReply::default()
    };
    let refused = v1::LocateOutputsReply {
        failure: Some(Failure::new(Code::FetchFailed, "its disk fails").into()),
        ..v1::LocateOutputsReply::default()
    };
    let unknown = v1::LocateOutputsReply { unknown: true, ..v1::LocateOutputsReply::default() };
    let lies = [
        reply(&["/etc/hostname", "worker"], &[1, 2]),
        reply(&["../worker", "worker"], &[1, 2]),
        reply(&["missing"], &[1, 1]),
        reply(&["worker"], &[1]),
        reply(&["worker"], &[1, 2]),
        reply(&["worker\0"], &[1, 1]),
        reply(&[""], &[1, 1]),
        v1::LocateOutputsReply::default(),
        refused,
        unknown,
    ];
    let here = Peer::start().await;
    for lie in lies {
        let liar = Peer::start_that_locates(Some(lie.clone())).await;
        (0..2).for_each(|n| liar.finished(attempt(1, n), &[(0, &text("abc"))]));
        let table = table(&[0, 1].map(|n| Some((&liar, attempt(1, n)))));
        let staged = stage(&here, 0, &table, &liar.known_with_home()).await.unwrap();
        assert_eq!(read(&staged, 0), [vec![], vec![(0, text("abc")), (1, text("abc"))]], "{lie:?}");
    }
}

#[tokio::test]
async fn loss_beyond_the_list_is_that_of_the_last_output() {
    let stale = Failure::new(Code::StaleAttempt, "gone");
    let lie = v1::LocateOutputsReply {
        failure: Some(stale.clone().into()),
        failed: u32::MAX,
        ..v1::LocateOutputsReply::default()
    };
    let (here, liar) = (Peer::start().await, Peer::start_that_locates(Some(lie)).await);
    let table = table(&[0, 1].map(|n| Some((&liar, attempt(1, n)))));
    let staged = stage(&here, 0, &table, &liar.known_with_home()).await;
    assert_lost(staged, lost(&liar, attempt(1, 1)), Code::StaleAttempt);

    let refusal = v1::SegmentPiece { index: 9, failure: Some(stale.into()), ..v1::SegmentPiece::default() };
    let peer = Scripted::always(pieces(&[refusal]), Then::End).await;
    let known = HashMap::from([(liar.scratch.worker(), Whereabouts { address: peer.url.clone(), home: None })]);
    assert_lost(stage(&here, 0, &table, &known).await, lost(&liar, attempt(1, 1)), Code::StaleAttempt);
}

#[tokio::test]
async fn output_of_an_unknown_peer_is_lost() {
    let (here, there) = (Peer::start().await, Peer::start().await);
    there.finished(attempt(1, 0), &[(0, &text("abc"))]);
    let staged = stage(&here, 0, &table(&[Some((&there, attempt(1, 0)))]), &HashMap::new()).await;
    assert_lost(staged, lost(&there, attempt(1, 0)), Code::FetchFailed);
}

#[tokio::test]
async fn own_missing_output_is_lost() {
    let here = Peer::start().await;
    (0..2).for_each(|n| here.finished(attempt(1, n), &[(0, &text("abc"))]));
    let outputs = [0, 1].map(|n| Some((&here, attempt(1, n))));
    fs::remove_file(here.scratch.attempt(&attempt(1, 1)).edge(0)).unwrap();
    assert_lost(
        stage(&here, 0, &table(&outputs), &HashMap::new()).await,
        lost(&here, attempt(1, 1)),
        Code::FetchFailed,
    );
    here.outputs.remove(&attempt(1, 0));
    assert_lost(
        stage(&here, 0, &table(&outputs), &HashMap::new()).await,
        lost(&here, attempt(1, 0)),
        Code::FetchFailed,
    );
}

/// A reader that failed at an output makes the next one look for it again.
#[tokio::test]
async fn forgotten_places_are_found_again() {
    let here = Peer::start().await;
    here.finished(attempt(1, 0), &[(0, &text("abc"))]);
    let table = table(&[Some((&here, attempt(1, 0)))]);
    let staging = here.staging();
    let find = async || staging.stage(&reader(0), &[port(&table)], &HashMap::new(), &HashMap::new(), &made()).await;
    assert!(staging.at_once(&reader(0), &[port(&table)]).is_none(), "the places are not known yet");
    let first = find().await.unwrap().ports[0].places.clone();
    let at_once = staging.at_once(&reader(1), &[port(&table)]).unwrap();
    assert_eq!(at_once.ports[0].places.id, first.id);
    table.forget_places(0, first.id + 1);
    assert_eq!(find().await.unwrap().ports[0].places.id, first.id, "other places are meant");
    here.outputs.remove(&attempt(1, 0));
    table.forget_places(0, first.id);
    assert!(staging.at_once(&reader(0), &[port(&table)]).is_none());
    assert!(matches!(find().await, Err(StageError::SegmentLost(..))));
    here.finished(attempt(1, 0), &[(0, &text("abc"))]);
    let found = find().await.unwrap().ports[0].places.clone();
    assert!(
        found.id != first.id && found.in_place[0].1.length == image(attempt(1, 0), &[(0, &text("abc"))]).len() as u64
    );
}

#[tokio::test]
async fn outputs_that_are_fetched_are_not_staged_at_once() {
    let (here, there) = (Peer::start().await, Peer::start().await);
    here.finished(attempt(1, 0), &[(0, &text("own"))]);
    there.finished(attempt(1, 1), &[(0, &text("other"))]);
    let table = table(&[Some((&here, attempt(1, 0))), Some((&there, attempt(1, 1)))]);
    let staging = here.staging();
    let peers = there.known_by_address();
    staging.stage(&reader(0), &[port(&table)], &peers, &HashMap::new(), &made()).await.unwrap();
    assert!(staging.at_once(&reader(1), &[port(&table)]).is_none());
}
