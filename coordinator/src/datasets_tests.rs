//! Promises of the table of datasets.

use super::*;
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
    (1..=workers).for_each(|n| table.worker_joined(worker(n)));
    table
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
    let drop_of =
        |n: u8, chunks: &[u8]| Order::Drop { worker: worker(n), digests: chunks.iter().map(|c| digest(*c)).collect() };
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
    let copy = |n: u8| Order::Copy { worker: worker(3), digest: digest(n), from: vec![worker(1)] };
    assert_eq!(table.orders(NOW), [copy(1), copy(2)]);
    assert_eq!(table.orders(NOW), [], "ordered once");
    table.held(worker(3), [digest(1)]);
    table.not_copied(worker(3), digest(2), NOW);
    assert_eq!(table.orders(NOW), [], "not at once");
    assert_eq!(table.next_deadline(), Some(NOW.plus_ms(COPY_PAUSE_MS)));
    assert_eq!(table.orders(NOW.plus_ms(COPY_PAUSE_MS)), [copy(2)]);
    table.held(worker(3), [digest(2)]);
    assert_eq!((names(&table)[0].2, table.next_deadline()), (2, None));
}

#[test]
fn a_worker_that_returns_offers_its_copies_again() {
    let mut table = Datasets::new(vec![Dataset { name: "a".into(), version: 4, ..dataset(&[1]) }]);
    assert_eq!(names(&table), [("a".to_string(), 4, 0)]);
    assert_eq!(table.pin(job(1), ["a"].into_iter()).unwrap_err().code, Code::ChunkUnavailable);
    table.worker_joined(worker(1));
    table.held(worker(1), [digest(1), digest(9)]);
    assert!(table.pin(job(1), ["a"].into_iter()).is_ok());
    assert_eq!(table.orders(NOW), [Order::Drop { worker: worker(1), digests: vec![digest(9)] }]);
    table.worker_joined(worker(2));
    let copy = Order::Copy { worker: worker(2), digest: digest(1), from: vec![worker(1)] };
    assert_eq!(table.orders(NOW), [copy], "with a second worker there can be a second copy");
    table.worker_joined(worker(1));
    assert_eq!(table.list()[0].copies_min, 0, "what it holds it must tell again");
}
