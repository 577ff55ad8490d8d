//! Promises of the table of datasets.

use super::*;
use crate::copies::{COPY_PAUSE_MS, TRIES_MAX};
use crate::holders::TELLING_MAX_MS;
use windrow_model::{DatasetChunk, Framing};

const NOW: Time = Time(1_000);

fn worker(n: u8) -> WorkerId {
    WorkerId::from_bytes([n; 16])
}
fn digest(n: u8) -> Digest {
    Digest([n; 32])
}
fn job(n: u8) -> JobId {
    JobId::from_bytes([n; 16])
}
fn dataset(chunks: &[u8]) -> Dataset {
    let chunks = chunks.iter().map(|n| DatasetChunk { digest: digest(*n), length: 10 }).collect();
    Dataset { name: String::new(), version: 0, framing: Framing::Delimiter(b'\n'), replicas: 2, chunks }
}
fn cluster(workers: u8) -> Datasets {
    let mut table = Datasets::default();
    (1..=workers).for_each(|n| join(&mut table, n, &[]));
    table
}
/// A worker begins its life, and tells that it holds these.
fn join(table: &mut Datasets, n: u8, chunks: &[u8]) {
    table.worker_joined(worker(n), Incarnation(1), NOW);
    table.held(worker(n), chunks.iter().map(|c| digest(*c)));
    table.told_all(worker(n));
}
fn copy(to: u8, chunk: u8, from: u8) -> Order {
    Order::Copy { worker: worker(to), digest: digest(chunk), from: vec![worker(from)] }
}
fn drop_of(n: u8, chunks: &[u8]) -> Order {
    Order::Drop { worker: worker(n), digests: chunks.iter().map(|c| digest(*c)).collect() }
}
/// A task of a job leaves a chunk on a worker.
fn keep(table: &mut Datasets, n: u8, chunk: u8) {
    table.keep_output(job(1), worker(n), DatasetChunk { digest: digest(chunk), length: 10 });
}
/// Puts a dataset whose chunks are on workers 1 and 2.
fn put(table: &mut Datasets, name: &str, chunks: &[u8], overwrite: bool) -> u64 {
    let (id, _, _) = table.begin_put(name, overwrite, 0).unwrap();
    for n in [1, 2] {
        table.held(worker(n), chunks.iter().map(|c| digest(*c)));
    }
    let recorded = table.commit_put(id, dataset(chunks)).unwrap();
    let version = recorded.version;
    table.recorded(recorded, true);
    table.end_put(id);
    version
}
fn names(table: &Datasets) -> Vec<(String, u64, u32)> {
    table.list().into_iter().map(|d| (d.name, d.version, d.copies_min)).collect()
}

#[test]
fn a_copy_that_is_damaged_is_made_again_from_the_other() {
    let mut table = cluster(2);
    put(&mut table, "set", &[1, 2], false);
    assert_eq!(table.orders(NOW), []);
    table.pin(job(5), ["set"].into_iter()).unwrap();
    assert_eq!(table.lost(worker(1), &[digest(1), digest(9)]), []);
    assert_eq!(names(&table), [("set".to_string(), 1, 1)]);
    assert_eq!(table.orders(NOW), [copy(1, 1, 2)]);
    table.held(worker(1), [digest(1)]);
    assert_eq!(names(&table), [("set".to_string(), 1, 2)]);
    assert_eq!(table.lost(worker(2), &[digest(1)]), []);
    assert_eq!(table.lost(worker(1), &[digest(1)]), [(job(5), digest(1))], "who reads it waits for nothing");
}

#[test]
fn a_name_appears_when_it_is_recorded_and_not_before() {
    let mut table = cluster(2);
    let (id, workers, replicas) = table.begin_put("a", false, 0).unwrap();
    assert_eq!((workers, replicas), (vec![worker(1), worker(2)], 2));
    table.held(worker(1), [digest(1)]);
    let recorded = table.commit_put(id, dataset(&[1])).unwrap();
    assert_eq!(names(&table), []);
    assert_eq!(table.begin_put("a", true, 0).unwrap_err().code, Code::DatasetExists, "two at once");
    table.recorded(recorded, true);
    assert_eq!(names(&table), [("a".to_string(), 1, 1)]);
    assert_eq!(table.begin_put("a", false, 0).unwrap_err().code, Code::DatasetExists);
    assert_eq!(table.begin_put("../a", false, 0).unwrap_err().code, Code::BadRequest);
    assert_eq!(table.begin_put("b", false, 3).unwrap_err().code, Code::BadRequest, "more copies than workers");
    assert_eq!(cluster(0).begin_put("b", false, 0).unwrap_err().code, Code::ChunkUnavailable);
}

#[test]
fn what_was_not_recorded_is_not_there_and_its_chunks_go() {
    let mut table = cluster(1);
    let (id, ..) = table.begin_put("a", false, 1).unwrap();
    table.held(worker(1), [digest(1)]);
    let lost = table.commit_put(id, dataset(&[1])).unwrap();
    assert_eq!(table.orders(NOW), [], "never while the put is open");
    table.recorded(lost, false);
    table.end_put(id);
    assert_eq!(names(&table), []);
    assert_eq!(table.orders(NOW), [Order::Drop { worker: worker(1), digests: vec![digest(1)] }]);
    assert!(table.is_dropping());
    table.dropped(worker(1));
    assert!(!table.is_dropping());
}

#[test]
fn a_job_keeps_its_version_until_it_ends() {
    let mut table = cluster(2);
    put(&mut table, "a", &[1, 2], false);
    let pinned = table.pin(job(1), ["a"].into_iter()).unwrap();
    assert_eq!(put(&mut table, "a", &[2, 3], true), 2);
    table.remove("a").unwrap();
    assert_eq!(table.remove("a").unwrap_err().code, Code::DatasetNotFound);
    assert_eq!(pinned["a"].version, 1);
    assert_eq!(table.orders(NOW), [drop_of(1, &[3]), drop_of(2, &[3])]);
    table.unpin(job(1));
    assert_eq!(table.orders(NOW), [drop_of(1, &[1, 2]), drop_of(2, &[1, 2])]);
}

#[test]
fn a_lost_copy_is_made_again_where_there_is_none() {
    let mut table = cluster(3);
    put(&mut table, "a", &[1, 2], false);
    assert_eq!(table.orders(NOW), []);
    table.worker_left(worker(2));
    assert_eq!(table.orders(NOW), [copy(3, 1, 1), copy(3, 2, 1)]);
    assert_eq!(table.orders(NOW), [], "ordered once");
    table.held(worker(3), [digest(1)]);
    table.not_copied(worker(3), digest(2), Code::ChunkUnavailable, NOW);
    assert_eq!(table.orders(NOW), [], "not at once");
    assert_eq!(table.next_deadline(), Some(NOW.plus_ms(COPY_PAUSE_MS)));
    assert_eq!(table.orders(NOW.plus_ms(COPY_PAUSE_MS)), [copy(3, 2, 1)]);
    table.held(worker(3), [digest(2)]);
    assert_eq!((names(&table)[0].2, table.next_deadline()), (2, None));
}

#[test]
fn a_worker_that_returns_offers_its_copies_again() {
    let mut table = Datasets::new(vec![Dataset { name: "a".into(), version: 4, ..dataset(&[1]) }]);
    assert_eq!(names(&table), [("a".to_string(), 4, 0)]);
    assert_eq!(table.pin(job(1), ["a"].into_iter()).unwrap_err().code, Code::ChunkUnavailable);
    join(&mut table, 1, &[1, 9]);
    assert!(table.pin(job(1), ["a"].into_iter()).is_ok());
    assert_eq!(table.orders(NOW), [drop_of(1, &[9])]);
    join(&mut table, 2, &[]);
    assert_eq!(table.orders(NOW), [copy(2, 1, 1)], "with a second worker there can be a second copy");
    table.worker_joined(worker(1), Incarnation(2), NOW);
    assert_eq!(table.list()[0].copies_min, 0, "in another life it must tell again what it holds");
    assert!(table.may_be_incomplete(["a"].into_iter()));
    table.told_all(worker(1));
    assert!(!table.may_be_incomplete(["a"].into_iter()), "now it is known to be");
}

#[test]
fn a_session_that_breaks_forgets_no_copy_and_what_is_gone_is_known_when_all_is_told() {
    let mut table = cluster(2);
    put(&mut table, "a", &[1, 2, 3], false);
    table.worker_joined(worker(1), Incarnation(1), NOW);
    assert_eq!(table.list()[0].copies_min, 2);
    assert!(table.is_being_told());
    table.held(worker(1), [digest(1)]);
    // Meanwhile it gets another one.
    table.held(worker(1), [digest(3)]);
    table.told_all(worker(1));
    assert!(!table.is_being_told());
    let copies = [1, 2, 3].map(|n| table.copies(digest(n)));
    assert_eq!(copies, [2, 1, 2]);
    assert_eq!(table.orders(NOW), [copy(1, 2, 2)]);
}

#[test]
fn who_never_tells_everything_is_not_waited_for_for_ever() {
    let mut table = cluster(1);
    table.worker_joined(worker(1), Incarnation(1), NOW);
    table.held(worker(1), [digest(1)]);
    assert_eq!(table.orders(NOW), [], "it might tell of a chunk that it is about to delete");
    let until = NOW.plus_ms(TELLING_MAX_MS);
    assert_eq!(table.next_deadline(), Some(until));
    table.give_up_silent(until);
    assert_eq!(table.orders(until), [drop_of(1, &[1])]);
    assert_eq!((table.is_being_told(), table.next_deadline()), (false, None));
}

/// One that is full, or cannot reach who has the chunk, was asked again and again although others could make the copy.
#[test]
fn a_copy_that_one_worker_cannot_make_is_made_by_another() {
    let mut table = cluster(3);
    table.held(worker(3), [digest(1)]);
    keep(&mut table, 3, 1);
    assert_eq!(table.orders(NOW), [copy(1, 1, 3)]);
    table.not_copied(worker(1), digest(1), Code::ChunkUnavailable, NOW);
    assert_eq!(table.orders(NOW), [copy(2, 1, 3)]);
    assert!(!table.is_settled(digest(1)));
    table.held(worker(2), [digest(1)]);
    assert!(table.is_settled(digest(1)));
    // Who has said that it is full is not even asked.
    table.note_room(worker(1), true);
    keep(&mut table, 3, 2);
    assert_eq!(table.orders(NOW), [copy(2, 2, 3)]);
}

#[test]
fn a_chunk_whose_copy_nobody_can_make_is_not_waited_for_and_copied_when_somebody_can() {
    let mut table = cluster(2);
    keep(&mut table, 1, 1);
    assert_eq!(table.orders(NOW), [copy(2, 1, 1)]);
    table.not_copied(worker(2), digest(1), Code::NoSpace, NOW);
    assert!(table.is_settled(digest(1)), "it will have no room in a moment either");
    assert_eq!(table.orders(NOW), []);
    let later = table.next_deadline().unwrap();
    assert!(later > NOW);
    assert_eq!(table.orders(later), [copy(2, 1, 1)]);
    table.held(worker(2), [digest(1)]);
    assert_eq!((table.copies(digest(1)), table.next_deadline()), (2, None));

    keep(&mut table, 1, 2);
    let mut now = later;
    for tries in 1..=TRIES_MAX {
        assert!(!table.is_settled(digest(2)), "{tries}");
        assert_eq!(table.orders(now), [copy(2, 2, 1)]);
        table.not_copied(worker(2), digest(2), Code::ChunkUnavailable, now);
        assert_eq!(table.orders(now), []);
        now = table.next_deadline().unwrap();
    }
    assert!(table.is_settled(digest(2)));

    keep(&mut table, 1, 3);
    table.note_room(worker(2), true);
    assert!(table.is_settled(digest(3)));
    assert!(!table.is_settled(digest(4)), "nobody has it");
    table.note_room(worker(2), false);
    assert!(!table.is_settled(digest(3)));
}

#[test]
fn copies_that_a_task_waits_for_come_first() {
    let mut table = cluster(1);
    let (id, ..) = table.begin_put("a", false, 0).unwrap();
    let many = dataset(&[1, 2, 3, 4, 5, 6, 7, 8]);
    table.held(worker(1), many.chunks.iter().map(|c| c.digest));
    let recorded = table.commit_put(id, many).unwrap();
    table.recorded(recorded, true);
    table.end_put(id);
    join(&mut table, 2, &[]);
    keep(&mut table, 1, 9);
    assert_eq!(table.orders(NOW), [copy(2, 9, 1), copy(2, 1, 1), copy(2, 2, 1), copy(2, 3, 1)]);
}
