//! Checks edges and their readers against a plain model: the records and their order do not depend on memory, codec or
//! number of runs.

mod support;

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use windrow_engine::{
    Accumulate, BATCH, Codec, CombinedEdge, EdgeResult, EdgeSpec, EngineError, Folder, Identity, LocalSegment, Pairs,
    Partitioning, PlainEdge, Share, open_concat, open_sorted,
};
use windrow_format::shuffle::{SegmentReader, read_index};

use support::{Sum, spec};

type Pair = (Vec<u8>, Vec<u8>);
type Partitions = BTreeMap<u32, Vec<Pair>>;

fn read(spec: &EdgeSpec, result: &EdgeResult) -> Partitions {
    if result.segments.is_empty() {
        assert!(!spec.file.exists());
        return Partitions::new();
    }
    let file = std::fs::read(&spec.file).unwrap();
    assert_eq!(read_index(&file, &spec.identity).unwrap(), result.segments);
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

/// The segments of an edge in the form that a reader opens.
fn local(spec: &EdgeSpec, result: &EdgeResult) -> Vec<LocalSegment> {
    result.segments.iter().map(|s| LocalSegment::of(spec.file.clone(), s, spec.identity)).collect()
}

fn alive() -> Result<(), EngineError> {
    Ok(())
}

fn sorted(segments: Vec<LocalSegment>, scratch: &Path, memory: usize) -> Result<Vec<Pair>, EngineError> {
    drain(open_sorted(segments, scratch, &Share::alone(memory, 1), &alive)?.pairs)
}

fn concat(segments: Vec<LocalSegment>) -> Result<Vec<Pair>, EngineError> {
    let stepped = drain(Box::new(open_concat(segments.clone())?));
    let mut looped = Vec::new();
    let end = open_concat(segments.clone())?.for_each(&alive, |key, value| {
        looped.push((key.to_vec(), value.to_vec()));
        Ok(())
    });
    let mut batched = Vec::new();
    let last = open_concat(segments)?.for_each_batch(&alive, |batch| {
        assert!((1..=BATCH).contains(&batch.len()));
        batched.extend(batch.iter().map(|(key, value)| (key.to_vec(), value.to_vec())));
        Ok(())
    });
    match (&stepped, end, last) {
        (Ok(stepped), Ok(()), Ok(())) => {
            assert!(*stepped == looped && *stepped == batched, "all ways of reading agree")
        }
        (Err(a), Err(b), Err(c)) => assert_eq!([a, &b].map(|e| e.to_string()), [&b, &c].map(|e| e.to_string())),
        (a, b, c) => panic!("{a:?} {b:?} {c:?}"),
    }
    stepped
}

/// Folds the output of an edge.
fn folded<A: Accumulate>(
    accumulate: A,
    segments: Vec<LocalSegment>,
    scratch: &Path,
    memory: usize,
    by_key: bool,
) -> Vec<Pair> {
    let mut folder = Folder::new(accumulate, scratch, &Share::alone(memory, 1), 0).unwrap();
    open_concat(segments).unwrap().for_each_batch(&alive, |batch| folder.push_batch(batch)).unwrap();
    let mut all = Vec::new();
    folder
        .finish(by_key, |accumulate, key, acc| {
            let mut value = Vec::new();
            accumulate.encode(&acc, &mut value);
            all.push((key.to_vec(), value));
            Ok(())
        })
        .unwrap();
    if !by_key {
        all.sort();
    }
    all
}

/// Merges lists of bytes. The stored form grows with every fold, which covers the accounting of heap bytes.
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

fn codecs() -> impl Strategy<Value = Codec> {
    prop_oneof![Just(Codec::None), Just(Codec::Lz4)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn a_plain_edge_keeps_every_pair_in_order(
        pairs in prop::collection::vec((keys(), prop::collection::vec(any::<u8>(), 0..40)), 0..800),
        partitioning in partitionings(),
        codec in codecs(),
        memory in prop_oneof![Just(0usize), 100usize..20_000, Just(8 << 20)],
    ) {
        let folder = tempfile::tempdir().unwrap();
        let spec = spec(folder.path(), partitioning.clone(), codec, memory);
        let mut edge = PlainEdge::new(spec.clone());
        let mut expected = Partitions::new();
        for (key, value) in &pairs {
            edge.push(key, value).unwrap();
            expected.entry(partitioning.of(key)).or_default().push((key.clone(), value.clone()));
        }
        let result = edge.finish().unwrap();
        prop_assert_eq!(read(&spec, &result), expected);
        prop_assert_eq!(result.runs > 0, result.spilled_bytes > 0);
    }

    #[test]
    fn combined_edge_and_reader_fold_every_pair_once(
        pairs in prop::collection::vec((keys(), any::<u8>()), 0..800),
        partitions in 1u32..9,
        codec in codecs(),
        memory in prop_oneof![Just(0usize), 1000usize..40_000, Just(8 << 20)],
        by_key: bool,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let spec = spec(folder.path(), Partitioning::Hash(partitions), codec, memory);
        let mut expected: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut edge = CombinedEdge::new(spec.clone(), Lists).unwrap();
        for (key, value) in &pairs {
            edge.push(key, vec![*value]).unwrap();
            expected.entry(key.clone()).or_default().push(*value);
        }
        expected.values_mut().for_each(|v| v.sort_unstable());
        let result = edge.finish().unwrap();
        let written = read(&spec, &result);
        prop_assert!(written.iter().all(|(p, pairs)| pairs.iter().all(|(k, _)| spec.partitioning.of(k) == *p)));
        if memory > 1 << 20 {
            prop_assert_eq!(written.values().flatten().count(), expected.len(), "nothing is passed on unfolded");
        }
        let scratch = folder.path().join("scratch");
        let got = folded(Lists, local(&spec, &result), &scratch, memory, by_key);
        prop_assert_eq!(got, expected.into_iter().collect::<Vec<_>>());
    }

    /// The digest does not depend on the order of the pairs either; it changes if a key differs, or is pushed once more
    /// or less.
    #[test]
    fn combined_digest_does_not_depend_on_memory_or_codec(
        mut pairs in prop::collection::vec((keys(), any::<u8>()), 1..800),
        partitions in 1u32..9,
        (one, other) in (codecs(), codecs()),
        memory in prop_oneof![Just(0usize), 1000usize..40_000, Just(8 << 20)],
        at: prop::sample::Index,
    ) {
        let digest = |pairs: &[(Vec<u8>, u8)], codec, memory| {
            let folder = tempfile::tempdir().unwrap();
            let spec = spec(folder.path(), Partitioning::Hash(partitions), codec, memory);
            let mut edge = CombinedEdge::new(spec, Lists).unwrap();
            pairs.iter().for_each(|(key, value)| edge.push(key, vec![*value]).unwrap());
            let digests: Vec<u32> = edge.finish().unwrap().segments.iter().map(|s| s.digest).collect();
            assert!(digests.iter().all(|d| *d == digests[0]), "{digests:?}");
            digests[0]
        };
        let first = digest(&pairs, one, 1 << 20);
        prop_assert_eq!(first, digest(&pairs, other, memory));
        pairs.reverse();
        pairs.iter_mut().for_each(|p| p.1 = p.1.wrapping_add(1));
        prop_assert_eq!(first, digest(&pairs, one, memory));
        let at = at.index(pairs.len());
        let again = pairs[at].clone();
        pairs.push(again);
        prop_assert_ne!(first, digest(&pairs, one, memory));
        pairs.pop();
        pairs[at].0.push(7);
        prop_assert_ne!(first, digest(&pairs, one, memory));
    }

    #[test]
    fn sorted_segments_keep_list_order_on_ties(
        lists in prop::collection::vec(prop::collection::vec(keys(), 0..60), 0..40),
        presorted in prop_oneof![Just(0usize), Just(20usize), Just(40usize)],
        codec in codecs(),
        memory in prop_oneof![Just(0usize), 1000usize..20_000, Just(200_000usize), Just(64 << 20)],
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut segments = Vec::new();
        let mut all: Vec<Pair> = Vec::new();
        for (i, list) in lists.iter().enumerate() {
            let mut spec = spec(folder.path(), Partitioning::Fixed(9), codec, 1 << 20);
            spec.file = folder.path().join(format!("in-{i}"));
            spec.identity.task = i as u32;
            let mut edge = PlainEdge::new(spec.clone());
            let mut list = list.clone();
            if i < presorted {
                list.sort();
            }
            for (j, key) in list.iter().enumerate() {
                edge.push(key, format!("{i}/{j}").as_bytes()).unwrap();
            }
            let result = edge.finish().unwrap();
            all.extend(read(&spec, &result).into_values().flatten());
            segments.extend(local(&spec, &result));
        }
        let mut expected = all.clone();
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        let scratch = folder.path().join("scratch");
        prop_assert_eq!(sorted(segments.clone(), &scratch, memory).unwrap(), expected);
        prop_assert_eq!(concat(segments).unwrap(), all);
        if scratch.exists() {
            prop_assert_eq!(std::fs::read_dir(scratch).unwrap().count(), 0);
        }
    }
}

fn drain(mut pairs: Box<dyn Pairs>) -> Result<Vec<Pair>, EngineError> {
    let mut all = Vec::new();
    while let Some((key, value)) = pairs.peek() {
        all.push((key.to_vec(), value.to_vec()));
        pairs.advance()?;
    }
    pairs.advance()?;
    assert!(pairs.peek().is_none());
    Ok(all)
}

#[test]
fn more_segments_than_files_may_be_merged_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut segments = Vec::new();
    for i in 0..1300u32 {
        let mut spec = spec(folder.path(), Partitioning::Fixed(0), Codec::None, 0);
        spec.file = folder.path().join(format!("in-{i}"));
        let mut edge = PlainEdge::new(spec.clone());
        edge.push(&(i ^ 0x155).to_be_bytes(), b"").unwrap();
        edge.push(b"same", &i.to_be_bytes()).unwrap();
        segments.extend(local(&spec, &edge.finish().unwrap()));
    }
    let merged = sorted(segments, &folder.path().join("scratch"), 1 << 30).unwrap();
    assert_eq!(merged.len(), 2600);
    assert!(merged.is_sorted_by_key(|p| p.0.clone()));
    let same: Vec<u32> =
        merged.iter().filter(|p| p.0 == b"same").map(|p| u32::from_be_bytes(*p.1.first_chunk().unwrap())).collect();
    assert!(same.into_iter().eq(0..1300));
}

#[test]
fn damaged_or_missing_segment_is_named_by_its_index() {
    let folder = tempfile::tempdir().unwrap();
    for (ascending, gone) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut segments = Vec::new();
        for i in 0..5u32 {
            let mut spec = spec(folder.path(), Partitioning::Fixed(0), Codec::Lz4, 1 << 20);
            spec.file = folder.path().join(format!("in-{i}"));
            let mut edge = PlainEdge::new(spec.clone());
            for n in 0..20_000u32 {
                edge.push(&if ascending { n } else { !n }.to_be_bytes(), b"value").unwrap();
            }
            let result = edge.finish().unwrap();
            if i == 3 && gone {
                std::fs::remove_file(&spec.file).unwrap();
            } else if i == 3 {
                let mut bytes = std::fs::read(&spec.file).unwrap();
                let last = result.segments[0].length as usize - 10;
                bytes[last] ^= 1;
                std::fs::write(&spec.file, bytes).unwrap();
            }
            segments.extend(local(&spec, &result));
        }
        let scratch = folder.path().join("scratch");
        let mut bad = segments.clone();
        for e in [
            sorted(segments.clone(), &scratch, 1 << 20).unwrap_err(),
            sorted(segments.clone(), &scratch, 0).unwrap_err(),
            concat(segments).unwrap_err(),
        ] {
            assert!(matches!(e, EngineError::Segment { index: 3, .. }), "{e}");
            assert_eq!(e.code(), windrow_model::Code::SegmentCorrupt);
        }
        bad[1].length = 1 << 40;
        assert!(matches!(sorted(bad, &scratch, 1 << 20).unwrap_err(), EngineError::Segment { index: 1, .. }));
    }
}

#[test]
fn a_task_that_is_stopped_stops_reading() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(folder.path(), Partitioning::Fixed(0), Codec::None, 8 << 20);
    let mut edge = PlainEdge::new(spec.clone());
    for n in 0..200_000u32 {
        edge.push(&(!n).to_be_bytes(), b"").unwrap();
    }
    let segments = local(&spec, &edge.finish().unwrap());
    let stopped = || Err(EngineError::Decode("stopped".to_string()));
    let e = open_sorted(segments.clone(), folder.path(), &Share::alone(1 << 20, 1), &stopped).err().unwrap();
    assert!(e.to_string().contains("stopped"));
    let e = open_concat(segments).unwrap().for_each(&stopped, |_, _| Ok(())).unwrap_err();
    assert!(e.to_string().contains("stopped"));
}

#[test]
fn tables_larger_than_the_cache_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for memory in [3 << 20, 20 << 20, 200 << 20] {
        let spec = spec(folder.path(), Partitioning::Hash(1), Codec::Lz4, memory);
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
        let scratch = folder.path().join("scratch");
        for by_key in [true, false] {
            let pairs = folded(Sum, local(&spec, &result), &scratch, memory, by_key);
            assert_eq!(pairs.len() as u64, n / 2 + 250 + 5 - 2, "0 and 4 are of both kinds");
            let sum: u64 = pairs.iter().map(|p| u64::from_le_bytes(*p.1.first_chunk().unwrap())).sum();
            assert_eq!(sum, n * (n - 1) / 2);
            assert!(pairs.is_sorted_by(|a, b| a.0 < b.0));
        }
    }
}

/// On trial, passed on, and through rings: on each path a pair counts its key once.
#[test]
fn combined_digest_is_the_same_on_every_path() {
    let folder = tempfile::tempdir().unwrap();
    let digest = |memory: usize, reverse: bool| {
        let spec = spec(folder.path(), Partitioning::Hash(3), Codec::None, memory);
        let mut edge = CombinedEdge::new(spec, Sum).unwrap();
        let n = 300_000u64;
        for i in 0..n {
            let i = if reverse { n - 1 - i } else { i };
            match i % 5 {
                0 => edge.push(&(i % 100).to_be_bytes(), 1).unwrap(),
                1 => edge.push(format!("a key that is kept in the arena {i}").as_bytes(), 1).unwrap(),
                2 => edge.push(format!("{i:>70}").as_bytes(), 1).unwrap(),
                _ => edge.push(&i.to_be_bytes(), 1).unwrap(),
            }
        }
        let result = edge.finish().unwrap();
        let records: u64 = result.segments.iter().map(|s| s.records).sum();
        (result.segments[0].digest, records)
    };
    let (digests, records): (Vec<u32>, Vec<u64>) =
        [(4 << 20, false), (64 << 20, true), (500 << 20, false), (100_000, true)]
            .map(|(m, r)| digest(m, r))
            .into_iter()
            .unzip();
    assert!(digests.iter().all(|d| *d == digests[0]), "{digests:?}");
    assert!(records.iter().any(|n| *n != records[0]), "they were folded to different degrees: {records:?}");
}

/// Hashes of neighbouring keys are nearly linear, so a plain sum of them would be equal here.
#[test]
fn combined_digest_differs_for_neighbouring_keys() {
    let folder = tempfile::tempdir().unwrap();
    let digest = |keys: [u64; 2]| {
        let mut edge =
            CombinedEdge::new(spec(folder.path(), Partitioning::Hash(1), Codec::None, 1 << 20), Sum).unwrap();
        keys.iter().for_each(|key| edge.push(&key.to_be_bytes(), 1).unwrap());
        edge.finish().unwrap().segments[0].digest
    };
    for n in 0..1_000 {
        assert_ne!(digest([n, n + 3]), digest([n + 1, n + 2]), "{n}");
    }
}

/// If the order is arbitrary, digests depend on the records only, not on their order or on the cut into blocks.
#[test]
fn any_order_digests_depend_on_records_alone() {
    let folder = tempfile::tempdir().unwrap();
    let digests = |pairs: &[Pair], memory: usize, codec: Codec| -> Vec<(u32, u32)> {
        let spec = spec(folder.path(), Partitioning::Hash(3), codec, memory);
        let mut edge = PlainEdge::new(EdgeSpec { any_order: true, ..spec });
        pairs.iter().for_each(|(key, value)| edge.push(key, value).unwrap());
        edge.finish().unwrap().segments.iter().map(|s| (s.partition, s.digest)).collect()
    };
    let small = (0..20_000u32).map(|i| (format!("key {}", i % 700).into_bytes(), i.to_le_bytes().to_vec()));
    // Includes a record that is a block of its own.
    let mut pairs: Vec<Pair> = small.chain([(b"huge".to_vec(), vec![7; 200_000])]).collect();
    let expected = digests(&pairs, 16 << 20, Codec::None);
    assert_eq!(expected.len(), 3);
    for seed in 0..4u64 {
        pairs.sort_by_key(|(key, value)| windrow_engine::hash(&[&key[..], value, &seed.to_le_bytes()].concat()));
        assert_eq!(digests(&pairs, 16 << 20, Codec::None), expected, "{seed}");
        assert_eq!(digests(&pairs, 1 << 20, Codec::Lz4), expected, "{seed}");
    }

    let keyed = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
    let changes: [&[Pair]; 5] = [
        &[],
        &[keyed(b"a", b"1"), keyed(b"b", b"2")],
        &[keyed(b"a", b"2"), keyed(b"b", b"1")],
        &[keyed(b"a", b"12"), keyed(b"b", b"")],
        &[keyed(b"a", b"1"), keyed(b"a", b"1"), keyed(b"b", b"2")],
    ];
    let digests_of_changes = changes.map(|more| digests(&[&pairs[..], more].concat(), 16 << 20, Codec::None));
    for (i, a) in digests_of_changes.iter().enumerate() {
        assert!(digests_of_changes[..i].iter().all(|b| a != b), "{i}");
    }
    let huge = pairs.iter().position(|(key, _)| key == b"huge").unwrap();
    pairs[huge].1[100_000] ^= 1;
    assert_ne!(digests(&pairs, 16 << 20, Codec::None), expected);
}

/// Distinct keys are passed on unfolded, and later repeated keys are folded again.
#[test]
fn folding_stops_for_distinct_keys_and_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(folder.path(), Partitioning::Hash(3), Codec::None, 64 << 20);
    let mut edge = CombinedEdge::new(spec.clone(), Sum).unwrap();
    let (distinct, same) = (600_000u64, 2_000_000u64);
    for i in 0..distinct {
        edge.push(&i.to_be_bytes(), 1).unwrap();
    }
    for i in 0..same {
        edge.push(&(i % 100).to_be_bytes(), 1).unwrap();
    }
    let result = edge.finish().unwrap();
    let written: u64 = result.segments.iter().map(|s| s.records).sum();
    assert!((distinct..distinct + same / 2).contains(&written), "{written} pairs were written");
    let pairs = folded(Sum, local(&spec, &result), folder.path(), 64 << 20, true);
    assert_eq!(pairs.len() as u64, distinct);
    assert_eq!(u64::from_le_bytes(*pairs[0].1.first_chunk().unwrap()), 1 + same / 100);
}

#[test]
fn records_beyond_the_budget_and_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(folder.path(), Partitioning::Hash(2), Codec::Lz4, 1 << 20);
    let mut edge = PlainEdge::new(spec.clone());
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
    let pairs = folded(Sum, local(&spec, &edge.finish().unwrap()), folder.path(), 1 << 20, true);
    assert_eq!(pairs.len(), 2);
    assert_eq!(pairs[0], (huge, 3u64.to_le_bytes().to_vec()));
}

#[test]
fn dropped_edges_drop_their_accumulators() {
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
        let spec = spec(folder.path(), Partitioning::Hash(2), Codec::None, 100 << 20);
        let mut edge = CombinedEdge::new(spec, Drops).unwrap();
        for i in 0..n {
            edge.push(&(i % (n / 2)).to_be_bytes(), Counted(count.clone())).unwrap();
        }
        assert!(Arc::strong_count(&count) > n as usize / 2);
        drop(edge);
        assert_eq!(Arc::strong_count(&count), 1);
    }
}
