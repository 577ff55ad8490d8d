//! The ways in which a case is run, and its records.

use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use windrow::prelude::*;
use windrow::testing::run_with;
use windrow::{Datum, JobOptions};

/// How a case is run.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) chunk_bytes: Option<u64>,
    pub(crate) partitions: Option<u32>,
    pub(crate) threads: usize,
    pub(crate) memory_bytes: u64,
}

pub(crate) fn way() -> impl Strategy<Value = Way> {
    let chunk_bytes = prop_oneof![Just(None), (1u64..40).prop_map(Some), (100u64..2000).prop_map(Some)];
    let memory_bytes = prop_oneof![Just(1 << 20), Just(4 << 20), Just(64 << 20)];
    (chunk_bytes, proptest::option::of(1u32..=8), 1usize..=3, memory_bytes).prop_map(
        |(chunk_bytes, partitions, threads, memory_bytes)| Way { chunk_bytes, partitions, threads, memory_bytes },
    )
}

/// Pairs of a few keys, so that keys have several values, of each kind of sign.
pub(crate) fn pairs() -> impl Strategy<Value = Vec<(String, i64)>> {
    vec(("[a-c]{0,2}é?", -50i64..50), 0..120)
}

pub(crate) fn run<R: Datum>(
    pairs: &[(String, i64)],
    way: &Way,
    make: impl FnOnce(Pairs<String, i64>) -> Records<R>,
) -> Vec<R> {
    let options = JobOptions { chunk_bytes: way.chunk_bytes, partitions: way.partitions, ..JobOptions::default() };
    let lines = pairs.iter().map(|(k, v)| format!("{k} {v}"));
    run_with(lines, options, way.threads, way.memory_bytes, |lines| {
        make(lines.map(|line, out| {
            let (k, v) = line.split_once(' ').ok_or_else(|| Error::msg("no pair"))?;
            out.emit(k, v.parse::<i64>()?);
            Ok(())
        }))
    })
    .unwrap()
}

pub(crate) fn grouped(pairs: &[(String, i64)]) -> BTreeMap<String, Vec<i64>> {
    let mut groups: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (k, v) in pairs {
        groups.entry(k.clone()).or_default().push(*v);
    }
    groups
}

/// Results in the order of their keys; the order within a key is kept. Partitions come one after the other.
pub(crate) fn by_key<K: Ord + Clone, V>(mut records: Vec<(K, V)>) -> Vec<(K, V)> {
    records.sort_by(|a, b| a.0.cmp(&b.0));
    records
}

/// The pairs with a value below zero, and the others.
pub(crate) fn sides(all: &Pairs<String, i64>) -> (Pairs<String, i64>, Pairs<String, i64>) {
    (all.filter(|(_, v)| v < 0), all.filter(|(_, v)| v >= 0))
}
pub(crate) type Owned = Vec<(String, i64)>;
pub(crate) fn model_sides(pairs: &[(String, i64)]) -> (Owned, Owned) {
    pairs.iter().cloned().partition(|(_, v)| *v < 0)
}
