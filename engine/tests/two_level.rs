//! An edge with more partitions than there is memory for open blocks writes the same records, in the same order within
//! each partition, as one with enough memory.

mod support;

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use windrow_engine::{
    Accumulate, Codec, CombinedEdge, EdgeResult, EdgeSpec, EngineError, Identity, InMemoryOutputs, Memory,
    Partitioning, PlainEdge,
};
use windrow_format::block::RAW_TARGET;
use windrow_format::shuffle::{SegmentReader, read_index};

use support::spec;

type Pair = (Vec<u8>, Vec<u8>);

/// Fewest and most partitions for which it depends on memory whether there are two levels.
const PARTITIONS: [u32; 2] = [2_001, 4_999];
/// Enough for an open block of each partition.
const ONE_LEVEL: usize = 256 << 20;
/// Too little for that: with spills, and with enough for all records.
const TWO_LEVELS: [usize; 3] = [0, 4 << 20, 30 << 20];

/// By partition: the records in order, and number, bytes and digest of the segment.
type Content = BTreeMap<u32, (Vec<Pair>, (u64, u64, u32))>;

fn read(spec: &EdgeSpec, result: &EdgeResult) -> Content {
    if result.segments.is_empty() {
        return Content::new();
    }
    let file = std::fs::read(&spec.file).unwrap();
    assert_eq!(read_index(&file, &spec.identity).unwrap(), result.segments);
    let segments = result.segments.iter().map(|s| {
        let bytes = &file[s.offset as usize..(s.offset + s.length) as usize];
        let mut reader = SegmentReader::new(bytes, Identity { partition: s.partition, ..spec.identity });
        let mut pairs = Vec::new();
        while let Some((key, value)) = reader.next().unwrap() {
            pairs.push((key.to_vec(), value.to_vec()));
        }
        assert_eq!(pairs.len() as u64, s.records);
        (s.partition, (pairs, (s.records, s.raw_length, s.digest)))
    });
    segments.collect()
}

/// What a plain edge writes with this memory.
fn plain(pairs: &[Pair], partitioning: &Partitioning, codec: Codec, memory: usize, any_order: bool) -> Content {
    let folder = tempfile::tempdir().unwrap();
    let spec = EdgeSpec { any_order, ..spec(folder.path(), partitioning.clone(), codec, memory) };
    let mut edge = PlainEdge::new(spec.clone());
    pairs.iter().for_each(|(key, value)| edge.push(key, value).unwrap());
    let result = edge.finish().unwrap();
    let content = read(&spec, &result);
    assert_eq!(result.runs > 0, result.spilled_bytes > 0);
    assert!(std::fs::read_dir(&spec.folder).map_or(0, Iterator::count) == 0, "runs are gone");
    content
}

/// Lists of bytes, in the order in which they were pushed.
struct Lists;
impl Accumulate for Lists {
    type Acc = Vec<u8>;
    fn merge(&self, into: &mut Vec<u8>, other: Vec<u8>) {
        into.extend(other);
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

fn combined(pairs: &[Pair], partitions: u32, codec: Codec, memory: usize) -> Content {
    let folder = tempfile::tempdir().unwrap();
    // Each edge is of another job: the tables of a stage begin with the size that an earlier task needed.
    static JOBS: AtomicU32 = AtomicU32::new(0);
    let mut spec = spec(folder.path(), Partitioning::Hash(partitions), codec, memory);
    spec.identity.job[..4].copy_from_slice(&JOBS.fetch_add(1, Relaxed).to_le_bytes());
    let mut edge = CombinedEdge::new(spec.clone(), Lists).unwrap();
    pairs.iter().for_each(|(key, value)| edge.push(key, value.clone()).unwrap());
    read(&spec, &edge.finish().unwrap())
}

/// By partition and key.
type Folded = BTreeMap<(u32, Vec<u8>), Vec<u8>>;

/// The values of each key in the order in which they were pushed, and the digest, which is that of the edge.
fn folded(content: &Content) -> (Folded, Option<u32>) {
    let mut values = BTreeMap::new();
    for (partition, (pairs, _)) in content {
        for (key, value) in pairs {
            let all: &mut Vec<u8> = values.entry((*partition, key.clone())).or_default();
            all.extend(value);
        }
    }
    (values, content.values().next().map(|(_, (.., digest))| *digest))
}

/// Pairs that begin blocks of both levels, fill them to the last byte, and exceed them.
fn pairs() -> impl Strategy<Value = Vec<Pair>> {
    let bytes = |range| prop::collection::vec(any::<u8>(), range);
    let around_a_block = (0usize..9, 0usize..8).prop_map(|(key, more)| {
        let value = RAW_TARGET - 4 + more - key;
        (vec![b'k'; key], vec![b'v'; value])
    });
    let pair = prop_oneof![
        400 => (bytes(0..4), bytes(0..40)),
        300 => (prop::collection::vec(b'a'..b'd', 0..9), bytes(0..3)),
        20 => (bytes(100..300), bytes(0..2_000)),
        1 => around_a_block,
        1 => (bytes(0..3), Just(vec![9; 200_000])),
    ];
    prop::collection::vec(pair, 0..3_000)
}

fn partitionings() -> impl Strategy<Value = Partitioning> {
    let [least, most] = PARTITIONS;
    prop_oneof![
        3 => (least..=most).prop_map(Partitioning::Hash),
        1 => (least..=most).prop_map(|n| {
            let splitters = (1..n).map(|i| ((i as u64) << 40).to_be_bytes()[..4].to_vec());
            Partitioning::Range(Arc::new(splitters.collect::<std::collections::BTreeSet<_>>().into_iter().collect()))
        }),
    ]
}

fn codecs() -> impl Strategy<Value = Codec> {
    prop_oneof![Just(Codec::None), Just(Codec::Lz4)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn plain_edge_writes_the_same_partitions_in_two_levels(
        pairs in pairs(),
        partitioning in partitionings(),
        codec in codecs(),
        any_order: bool,
    ) {
        let expected = plain(&pairs, &partitioning, codec, ONE_LEVEL, any_order);
        prop_assert_eq!(expected.values().map(|(pairs, _)| pairs.len()).sum::<usize>(), pairs.len());
        for memory in TWO_LEVELS {
            prop_assert!(plain(&pairs, &partitioning, codec, memory, any_order) == expected, "{memory} bytes");
        }
    }

    #[test]
    fn combined_edge_writes_the_same_partitions_in_two_levels(
        pairs in pairs(),
        partitions in PARTITIONS[0]..=PARTITIONS[1],
        codec in codecs(),
    ) {
        let expected = combined(&pairs, partitions, codec, ONE_LEVEL);
        for memory in TWO_LEVELS {
            let got = combined(&pairs, partitions, codec, memory);
            prop_assert!(folded(&got) == folded(&expected), "{memory} bytes");
        }
    }
}

/// Where the table has room for all keys, the bytes are the same, too.
#[test]
fn combined_edge_with_room_for_its_table_writes_the_same_bytes() {
    let pairs: Vec<Pair> = (0..20_000u64).map(|n| ((n % 5_000).to_be_bytes().to_vec(), vec![n as u8])).collect();
    for codec in [Codec::None, Codec::Lz4] {
        let expected = combined(&pairs, 3_000, codec, ONE_LEVEL);
        assert!(combined(&pairs, 3_000, codec, 40 << 20) == expected, "{codec:?}");
        assert_eq!(expected.values().map(|(pairs, _)| pairs.len()).sum::<usize>(), 5_000);
    }
}

/// Groups go to the file one after the other without a spill.
#[test]
fn large_output_of_two_levels_is_written_group_by_group() {
    let key = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes().to_vec();
    let pairs: Vec<Pair> = (0..40_000u64).map(|n| (key(n), vec![n as u8; 100])).collect();
    for codec in [Codec::None, Codec::Lz4] {
        let folder = tempfile::tempdir().unwrap();
        let spec = spec(folder.path(), Partitioning::Hash(3_000), codec, 30 << 20);
        let mut edge = PlainEdge::new(spec.clone());
        pairs.iter().for_each(|(key, value)| edge.push(key, value).unwrap());
        let result = edge.finish().unwrap();
        assert_eq!((result.runs, result.spilled_bytes), (0, 0));
        let expected = plain(&pairs, &spec.partitioning, codec, ONE_LEVEL, false);
        assert!(read(&spec, &result) == expected, "{codec:?}");
    }
}

/// An output in memory for readers of the same process.
#[test]
fn small_output_of_two_levels_is_kept_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::new(40 << 20, 1);
    let outputs = Arc::new(InMemoryOutputs::new(memory.clone(), folder.path()));
    let spec = EdgeSpec {
        share: memory.begin(2),
        in_memory_outputs: Some(outputs),
        ..spec(folder.path(), Partitioning::Hash(20_000), Codec::None, 0)
    };
    let mut edge = PlainEdge::new(spec.clone());
    (0..30_000u64).for_each(|n| edge.push(&n.to_be_bytes(), b"value").unwrap());
    let result = edge.finish().unwrap();
    assert_eq!((result.runs, spec.file.exists(), spec.folder.exists()), (0, false, false));
    assert_eq!(result.segments.iter().map(|s| s.records).sum::<u64>(), 30_000);
    assert!(result.segments.is_sorted_by_key(|s| s.partition) && result.segments.len() > 10_000);
}

#[test]
fn edge_of_two_levels_without_pairs_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(folder.path(), Partitioning::Hash(1_000_000), Codec::None, 1 << 20);
    let result = PlainEdge::new(spec.clone()).finish().unwrap();
    assert!(result.segments.is_empty() && !spec.file.exists() && !spec.folder.exists());
}
