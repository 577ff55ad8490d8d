//! Edges and merges against a plain model: whatever the memory, the codec or the number of runs, the records and their order are the
//! same.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use windrow_engine::{
    Accumulate, Codec, CombinedEdge, EdgeResult, EdgeSpec, EngineError, Identity, LocalSegment, Pairs, Partitioning,
    PlainEdge, open_concat, open_merged,
};
use windrow_format::block;
use windrow_format::checksum::{Crc32c, crc32c};
use windrow_format::shuffle::{SegmentReader, read_index};
use windrow_model::Order;

type Pair = (Vec<u8>, Vec<u8>);
type Partitions = BTreeMap<u32, Vec<Pair>>;

fn spec(folder: &Path, partitioning: Partitioning, order: Order, codec: Codec, memory: usize) -> EdgeSpec {
    let identity = Identity { job: [3; 16], stage: 1, task: 2, attempt: 0, epoch: 1, output: 0, partition: 0 };
    EdgeSpec { folder: folder.join("runs"), file: folder.join("out"), identity, partitioning, order, codec, memory }
}

fn read(spec: &EdgeSpec, result: &EdgeResult) -> Partitions {
    let file = std::fs::read(&spec.file).unwrap();
    assert_eq!(read_index(&file).unwrap(), result.segments);
    let mut partitions = Partitions::new();
    for s in &result.segments {
        let bytes = &file[s.offset as usize..(s.offset + s.length) as usize];
        let mut reader = SegmentReader::new(bytes, Identity { partition: s.partition, ..spec.identity });
        let pairs = partitions.entry(s.partition).or_default();
        while let Some((key, value)) = reader.next().unwrap() {
            pairs.push((key.to_vec(), value.to_vec()));
        }
    }
    if let Ok(left) = std::fs::read_dir(&spec.folder) {
        assert_eq!(left.count(), 0, "runs are gone");
    }
    partitions
}

/// Adds numbers up; the value's stored form is as long as the number of folds, to exercise heap accounting.
struct Lists;
impl Accumulate for Lists {
    type Acc = Vec<u8>;
    fn merge(&self, into: &mut Vec<u8>, other: Vec<u8>) {
        into.extend(other);
        into.sort_unstable();
    }
    fn encode(&self, acc: &Vec<u8>, out: &mut Vec<u8>) {
        out.extend_from_slice(acc);
    }
    fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, EngineError> {
        Ok(bytes.to_vec())
    }
    fn heap_bytes(&self, acc: &Vec<u8>) -> usize {
        acc.capacity()
    }
}

struct Sum;
impl Accumulate for Sum {
    type Acc = u64;
    fn merge(&self, into: &mut u64, other: u64) {
        *into += other;
    }
    fn encode(&self, acc: &u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&acc.to_le_bytes());
    }
    fn decode(&self, bytes: &[u8]) -> Result<u64, EngineError> {
        let bytes = bytes.try_into().map_err(|_| EngineError::Decode("eight bytes".into()))?;
        Ok(u64::from_le_bytes(bytes))
    }
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(b'a'..b'd', 0..5),
        3 => prop::collection::vec(0u8..2, 5..20),
        2 => prop::collection::vec(b'x'..b'z', 60..70),
        1 => prop::collection::vec(any::<u8>(), 1000..1100),
    ]
}

fn partitionings() -> impl Strategy<Value = Partitioning> {
    let range = prop::collection::btree_set(keys(), 0..6);
    prop_oneof![
        (1u32..9).prop_map(Partitioning::Hash),
        (0u32..4).prop_map(Partitioning::Fixed),
        range.prop_map(|s| Partitioning::Range(Arc::new(s.into_iter().collect()))),
    ]
}

fn digests(result: &EdgeResult) -> impl Iterator<Item = (u32, u32)> + '_ {
    result.segments.iter().map(|s| (s.partition, s.digest))
}

/// Of a plain edge's segment: whatever the memory, the runs, the blocks and the codec.
fn record_digest(pairs: &[Pair]) -> u32 {
    let mut digest = Crc32c::new();
    let mut open: Vec<u8> = Vec::new();
    for (key, value) in pairs {
        let (lengths, n) = block::lengths(key.len(), value.len());
        let record = [&lengths[..n], key, value].concat();
        if !open.is_empty() && open.len() + record.len() > block::RAW_TARGET {
            digest.update(&crc32c(&std::mem::take(&mut open)).to_le_bytes());
        }
        open.extend_from_slice(&record);
    }
    digest.update(&crc32c(&open).to_le_bytes());
    digest.value()
}

/// Of a combined edge's.
fn key_digest(pairs: &[Pair]) -> u32 {
    let mut crc = Crc32c::new();
    for (key, _) in pairs {
        crc.update(&(key.len() as u32).to_le_bytes());
        crc.update(key);
    }
    crc.value()
}

fn codecs() -> impl Strategy<Value = Codec> {
    prop_oneof![Just(Codec::None), Just(Codec::Lz4)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn a_plain_edge_keeps_every_pair_in_order(
        pairs in prop::collection::vec((keys(), prop::collection::vec(any::<u8>(), 0..40)), 0..800),
        partitioning in partitionings(),
        by_key: bool,
        codec in codecs(),
        memory in prop_oneof![Just(0usize), 100usize..20_000, Just(8 << 20)],
    ) {
        let folder = tempfile::tempdir().unwrap();
        let order = if by_key { Order::Key } else { Order::Arrival };
        let spec = spec(folder.path(), partitioning.clone(), order, codec, memory);
        let mut edge = PlainEdge::new(spec.clone()).unwrap();
        let mut expected = Partitions::new();
        for (key, value) in &pairs {
            edge.push(key, value).unwrap();
            expected.entry(partitioning.of(key)).or_default().push((key.clone(), value.clone()));
        }
        if by_key {
            expected.values_mut().for_each(|p| p.sort_by(|a, b| a.0.cmp(&b.0)));
        }
        let result = edge.finish().unwrap();
        prop_assert!(digests(&result).eq(expected.iter().map(|(p, pairs)| (*p, record_digest(pairs)))));
        prop_assert_eq!(read(&spec, &result), expected);
        prop_assert_eq!(result.runs > 0, result.spilled_bytes > 0);
        prop_assert!(memory > 0 || pairs.len() < 2 || result.runs > 1);
    }

    #[test]
    fn a_combined_edge_folds_every_pair_once(
        pairs in prop::collection::vec((keys(), any::<u8>()), 0..800),
        partitioning in partitionings(),
        codec in codecs(),
        memory in prop_oneof![Just(0usize), 1000usize..40_000, Just(8 << 20)],
    ) {
        let folder = tempfile::tempdir().unwrap();
        let spec = spec(folder.path(), partitioning.clone(), Order::Key, codec, memory);
        let mut expected: BTreeMap<u32, BTreeMap<Vec<u8>, Vec<u8>>> = BTreeMap::new();
        let mut edge = CombinedEdge::new(spec.clone(), Lists).unwrap();
        for (key, value) in &pairs {
            edge.push(key, vec![*value]).unwrap();
            expected.entry(partitioning.of(key)).or_default().entry(key.clone()).or_default().push(*value);
        }
        expected.values_mut().flat_map(|p| p.values_mut()).for_each(|v| v.sort_unstable());
        let expected: Partitions = expected.into_iter().map(|(p, m)| (p, m.into_iter().collect())).collect();
        let result = edge.finish().unwrap();
        prop_assert!(digests(&result).eq(read(&spec, &result).iter().map(|(p, pairs)| (*p, key_digest(pairs)))));
        prop_assert_eq!(read(&spec, &result), expected);
    }

    #[test]
    fn merged_segments_are_sorted_and_ties_keep_the_order_of_the_list(
        lists in prop::collection::vec(prop::collection::vec(keys(), 0..60), 0..40),
        codec in codecs(),
        memory in prop_oneof![Just(0usize), Just(200_000usize), Just(64 << 20)],
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut segments = Vec::new();
        let mut all: Vec<Pair> = Vec::new();
        let mut expected: Vec<Pair> = Vec::new();
        for (i, list) in lists.iter().enumerate() {
            let mut spec = spec(folder.path(), Partitioning::Fixed(9), Order::Key, codec, 1 << 20);
            spec.file = folder.path().join(format!("in-{i}"));
            spec.identity.task = i as u32;
            let mut edge = PlainEdge::new(spec.clone()).unwrap();
            for (j, key) in list.iter().enumerate() {
                edge.push(key, format!("{i}/{j}").as_bytes()).unwrap();
            }
            let result = edge.finish().unwrap();
            all.extend(read(&spec, &result).into_values().flatten());
            for s in result.segments {
                let identity = Identity { partition: 9, ..spec.identity };
                segments.push(LocalSegment { path: spec.file.clone(), offset: s.offset, length: s.length, identity });
            }
            expected.extend(list.iter().enumerate().map(|(j, k)| (k.clone(), format!("{i}/{j}").into_bytes())));
        }
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        let scratch = folder.path().join("scratch");
        prop_assert_eq!(drain(open_merged(segments.clone(), &scratch, memory).unwrap()), expected);
        prop_assert_eq!(drain(open_concat(segments).unwrap()), all);
        if scratch.exists() {
            prop_assert_eq!(std::fs::read_dir(scratch).unwrap().count(), 0);
        }
    }
}

fn drain(mut pairs: impl Pairs) -> Vec<Pair> {
    let mut all = Vec::new();
    while let Some((key, value)) = pairs.peek() {
        all.push((key.to_vec(), value.to_vec()));
        pairs.advance().unwrap();
    }
    pairs.advance().unwrap();
    assert!(pairs.peek().is_none());
    all
}

#[test]
fn more_segments_than_files_may_be_merged_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut segments = Vec::new();
    for i in 0..1300u32 {
        let mut spec = spec(folder.path(), Partitioning::Fixed(0), Order::Key, Codec::None, 0);
        spec.file = folder.path().join(format!("in-{i}"));
        let mut edge = PlainEdge::new(spec.clone()).unwrap();
        edge.push(b"same", &i.to_be_bytes()).unwrap();
        edge.push(&(i ^ 0x155).to_be_bytes(), b"").unwrap();
        for s in edge.finish().unwrap().segments {
            let (path, identity) = (spec.file.clone(), spec.identity);
            segments.push(LocalSegment { path, offset: s.offset, length: s.length, identity });
        }
    }
    let merged = drain(open_merged(segments, &folder.path().join("scratch"), 1 << 30).unwrap());
    assert_eq!(merged.len(), 2600);
    assert!(merged.is_sorted_by_key(|p| p.0.clone()));
    let same: Vec<u32> =
        merged.iter().filter(|p| p.0 == b"same").map(|p| u32::from_be_bytes(*p.1.first_chunk().unwrap())).collect();
    assert!(same.into_iter().eq(0..1300));
}

#[test]
fn a_damaged_segment_is_named_by_its_place_in_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let mut segments = Vec::new();
    for i in 0..5u32 {
        let mut spec = spec(folder.path(), Partitioning::Fixed(0), Order::Key, Codec::Lz4, 1 << 20);
        spec.file = folder.path().join(format!("in-{i}"));
        let mut edge = PlainEdge::new(spec.clone()).unwrap();
        for n in 0..20_000u32 {
            edge.push(&n.to_be_bytes(), b"value").unwrap();
        }
        let s = edge.finish().unwrap().segments[0];
        if i == 3 {
            let mut bytes = std::fs::read(&spec.file).unwrap();
            let last = s.length as usize - 10;
            bytes[last] ^= 1;
            std::fs::write(&spec.file, bytes).unwrap();
        }
        segments.push(LocalSegment { path: spec.file, offset: 0, length: s.length, identity: spec.identity });
    }
    fn end(pairs: Result<impl Pairs, EngineError>) -> EngineError {
        let mut pairs = match pairs {
            Ok(pairs) => pairs,
            Err(e) => return e,
        };
        loop {
            assert!(pairs.peek().is_some());
            if let Err(e) = pairs.advance() {
                return e;
            }
        }
    }
    let scratch = folder.path().join("scratch");
    for e in [
        end(open_merged(segments.clone(), &scratch, 1 << 20)),
        end(open_merged(segments.clone(), &scratch, 0)),
        end(open_concat(segments.clone())),
    ] {
        assert!(matches!(e, EngineError::Segment { index: 3, .. }), "{e}");
        assert_eq!(e.code(), windrow_model::Code::SegmentCorrupt);
    }
    segments[1].length = 1 << 40;
    assert!(matches!(end(open_merged(segments, &scratch, 1 << 20)), EngineError::Segment { index: 1, .. }));
}

#[test]
fn tables_larger_than_the_cache_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for memory in [3 << 20, 20 << 20, 200 << 20] {
        let spec = spec(folder.path(), Partitioning::Hash(3), Order::Key, Codec::Lz4, memory);
        let mut edge = CombinedEdge::new(spec.clone(), Sum).unwrap();
        let n = 400_000u64;
        for i in 0..n {
            let key = match i % 4 {
                0 => format!("{i}"),
                1 => format!("a key that is kept in the arena {i}"),
                2 => format!("{:>70}", i % 1000),
                _ => format!("{}", i % 5),
            };
            edge.push(key.as_bytes(), i).unwrap();
        }
        let result = edge.finish().unwrap();
        assert_eq!(result.runs > 0, memory < 100 << 20, "{}", result.runs);
        let read = read(&spec, &result);
        let pairs: Vec<&Pair> = read.values().flatten().collect();
        assert_eq!(pairs.len() as u64, n / 2 + 250 + 5 - 2, "0 and 4 are of both kinds");
        let sum: u64 = pairs.iter().map(|p| u64::from_le_bytes(*p.1.first_chunk().unwrap())).sum();
        assert_eq!(sum, n * (n - 1) / 2);
        assert!(read.values().all(|p| p.is_sorted_by(|a, b| a.0 < b.0)));
    }
}

#[test]
fn records_beyond_the_budget_and_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(folder.path(), Partitioning::Hash(2), Order::Key, Codec::Lz4, 1 << 20);
    let mut edge = PlainEdge::new(spec.clone()).unwrap();
    let huge: Vec<u8> = (0..3u32 << 20).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    edge.push(b"k", b"1").unwrap();
    edge.push(b"k", &huge).unwrap();
    edge.push(b"k", b"3").unwrap();
    let e = edge.push(&vec![0; (16 << 20) + 1], b"").unwrap_err();
    assert_eq!(e.code(), windrow_model::Code::RecordTooLarge);
    let read = read(&spec, &edge.finish().unwrap());
    let values: Vec<&[u8]> = read.values().flatten().map(|p| p.1.as_slice()).collect();
    assert!(values == [b"1".as_slice(), &huge, b"3"]);

    let mut edge = CombinedEdge::new(spec.clone(), Sum).unwrap();
    edge.push(&huge, 1).unwrap();
    edge.push(&huge, 2).unwrap();
    edge.push(b"small", 3).unwrap();
    let e = edge.push(&vec![0; (16 << 20) + 1], 1).unwrap_err();
    assert_eq!(e.code(), windrow_model::Code::RecordTooLarge);
    let read = self::read(&spec, &edge.finish().unwrap());
    assert_eq!(read.values().flatten().count(), 2);
}

#[test]
fn edges_that_are_given_up_drop_what_they_hold() {
    struct Counted(Arc<()>);
    struct Drops;
    impl Accumulate for Drops {
        type Acc = Counted;
        fn merge(&self, _: &mut Counted, _: Counted) {}
        fn encode(&self, acc: &Counted, _: &mut Vec<u8>) {
            let _ = &acc.0;
        }
        fn decode(&self, _: &[u8]) -> Result<Counted, EngineError> {
            Err(EngineError::Decode("not stored".into()))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let count = Arc::new(());
    for n in [10, 1000, 300_000u32] {
        let spec = spec(folder.path(), Partitioning::Hash(2), Order::Key, Codec::None, 100 << 20);
        let mut edge = CombinedEdge::new(spec, Drops).unwrap();
        for i in 0..n {
            edge.push(&(i % (n / 2)).to_be_bytes(), Counted(count.clone())).unwrap();
        }
        assert!(Arc::strong_count(&count) > n as usize / 2);
        drop(edge);
        assert_eq!(Arc::strong_count(&count), 1);
    }
}
