//! Names, workers and puts for tests.

use crate::*;
use windrow_model::{Dataset, DatasetChunk, Digest, Framing, Incarnation, JobId, Time, WorkerId};

pub(crate) const NOW: Time = Time(1_000);

pub(crate) fn worker(n: u8) -> WorkerId {
    WorkerId::from_bytes([n; 16])
}
pub(crate) fn digest(n: u8) -> Digest {
    Digest([n; 32])
}
pub(crate) fn job(n: u8) -> JobId {
    JobId::from_bytes([n; 16])
}
pub(crate) fn dataset(chunks: &[u8]) -> Dataset {
    let chunks = chunks.iter().map(|n| DatasetChunk { digest: digest(*n), length: 10 }).collect();
    Dataset { name: String::new(), version: 0, framing: Framing::Delimiter(b'\n'), replicas: 2, chunks }
}
pub(crate) fn cluster(workers: u8) -> Datasets {
    let mut table = Datasets::default();
    (1..=workers).for_each(|n| join(&mut table, n, &[]));
    table
}
/// A worker joins and lists these chunks.
pub(crate) fn join(table: &mut Datasets, n: u8, chunks: &[u8]) {
    table.worker_joined(worker(n), Incarnation(1), NOW);
    table.held(worker(n), chunks.iter().map(|c| digest(*c)));
    table.inventory_complete(worker(n));
}
pub(crate) fn copy(to: u8, chunk: u8, from: u8) -> Order {
    Order::Copy { worker: worker(to), digest: digest(chunk), from: vec![worker(from)] }
}
pub(crate) fn drop_of(n: u8, chunks: &[u8]) -> Order {
    Order::Drop { worker: worker(n), digests: chunks.iter().map(|c| digest(*c)).collect() }
}
/// The orders at this time, with a journal that records reservations at once.
pub(crate) fn orders(table: &mut Datasets, now: Time) -> Vec<Order> {
    let mut orders = table.orders(now);
    if let Some(id) = table.take_orphan_changes(now, false).and_then(|changes| changes.reserves) {
        table.reservation_recorded(id);
        orders.extend(table.orders(now));
    }
    orders
}
/// A task of a job leaves a chunk on a worker.
pub(crate) fn keep(table: &mut Datasets, n: u8, chunk: u8) {
    table.keep_output(job(1), worker(n), DatasetChunk { digest: digest(chunk), length: 10 });
}
/// Puts a dataset whose chunks are on workers 1 and 2.
pub(crate) fn put(table: &mut Datasets, name: &str, chunks: &[u8], overwrite: bool) -> u64 {
    let (id, _, _) = table.begin_put(name, overwrite, 0).unwrap();
    for n in [1, 2] {
        table.held(worker(n), chunks.iter().map(|c| digest(*c)));
    }
    commit(table, id, dataset(chunks))
}
/// Commits a put, and records its dataset. Returns the version.
pub(crate) fn commit(table: &mut Datasets, put: PutId, dataset: Dataset) -> u64 {
    let recorded = table.commit_put(put, dataset).unwrap();
    let version = recorded.version;
    table.recorded(recorded, true);
    table.end_put(put, NOW);
    version
}
/// A client stores these chunks on a worker.
pub(crate) fn store(table: &mut Datasets, n: u8, chunks: &[u8], at: Time) {
    let digests: Vec<Digest> = chunks.iter().map(|c| digest(*c)).collect();
    table.arrived(worker(n), &digests, at);
    table.held(worker(n), digests);
}
/// A coordinator that starts with dataset `a` of chunk 1, and with these deletions in its journal.
pub(crate) fn with_one_dataset(dropped: &[u8]) -> Datasets {
    let a = Dataset { name: "a".into(), version: 4, ..dataset(&[1]) };
    Datasets::new(vec![a], dropped.iter().map(|n| digest(*n)).collect(), Orphans::default())
}
pub(crate) fn trash_of(n: u8, chunks: &[u8]) -> Order {
    Order::Trash { worker: worker(n), digests: chunks.iter().map(|c| digest(*c)).collect() }
}
pub(crate) fn names(table: &Datasets) -> Vec<(String, u64, u32)> {
    table.list().into_iter().map(|d| (d.name, d.version, d.copies_min)).collect()
}
