//! The engine's parts: combining with several numbers of distinct keys, scattering, sorting, merging, folding,
//! look-ups, block checksums.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::Path;
use windrow_engine::{
    Accumulate, Codec, CombinedEdge, EdgeSpec, EngineError, Folder, Identity, LocalSegment, Lookup, Memory,
    Partitioning, PlainEdge, Share, open_concat, open_sorted,
};

const PAIRS: u64 = 1_000_000;
const MEMORY: usize = 256 << 20;

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

/// A pseudo-random number for `n`.
fn mixed(n: u64) -> u64 {
    let z = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB)
}

fn spec(folder: &Path, codec: Codec, name: &str) -> EdgeSpec {
    EdgeSpec {
        folder: folder.join("runs"),
        file: folder.join(name),
        identity: Identity::default(),
        partitioning: Partitioning::Hash(8),
        codec,
        share: Share::alone(MEMORY, 2),
        any_order: false,
        in_memory_outputs: None,
        spool: None,
    }
}

fn combine(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut group = c.benchmark_group("combine");
    group.throughput(Throughput::Elements(PAIRS)).sample_size(10);
    for distinct in [100u64, 10_000, 1_000_000] {
        let keys: Vec<[u8; 8]> = (0..PAIRS).map(|n| (mixed(n) % distinct).to_be_bytes()).collect();
        group.bench_function(format!("{distinct} distinct"), |b| {
            b.iter(|| {
                let mut edge = CombinedEdge::new(spec(folder.path(), Codec::None, "out"), Sum).expect("an edge");
                keys.iter().for_each(|key| edge.push(key, 1).expect("a pair"));
                black_box(edge.finish().expect("a file"))
            })
        });
    }
}

fn scatter(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut group = c.benchmark_group("scatter to 8 partitions, 32 bytes a pair");
    group.throughput(Throughput::Elements(PAIRS)).sample_size(10);
    for (name, codec) in [("plain", Codec::None), ("lz4", Codec::Lz4)] {
        let keys: Vec<[u8; 8]> = (0..PAIRS).map(|n| mixed(n).to_be_bytes()).collect();
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut edge = PlainEdge::new(spec(folder.path(), codec, "out"));
                keys.iter().for_each(|key| edge.push(key, &[7; 24]).expect("a pair"));
                black_box(edge.finish().expect("a file"))
            })
        });
    }
}

/// Records of 98 bytes to as many partitions as a job of up to 100 TB has, with the recycled memory of a process.
fn scatter_widely(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut group = c.benchmark_group("scatter, 98 bytes a pair");
    group.throughput(Throughput::Elements(PAIRS)).sample_size(10);
    let keys: Vec<[u8; 8]> = (0..PAIRS).map(|n| mixed(n).to_be_bytes()).collect();
    for (memory, name) in [(8usize << 30, ""), (128 << 20, ", spilled")] {
        let memory = Memory::of_process(memory as u64, 1);
        for partitions in [600, 2_000, 4_999, 5_000, 20_000, 414_187] {
            group.bench_function(format!("{partitions} partitions{name}"), |b| {
                b.iter(|| {
                    let partitioning = Partitioning::Hash(partitions);
                    let spec = spec(folder.path(), Codec::None, "out");
                    let mut edge = PlainEdge::new(EdgeSpec { partitioning, share: memory.begin(2), ..spec });
                    keys.iter().for_each(|key| edge.push(key, &[7; 90]).expect("a pair"));
                    black_box(edge.finish().expect("a file"))
                })
            });
        }
    }
}

/// Sixteen segments of one partition; their keys ascend if `sorted`.
fn segments(folder: &Path, sorted: bool, value: &[u8], distinct: u64) -> Vec<LocalSegment> {
    let mut segments = Vec::new();
    for i in 0..16u64 {
        let mut spec = spec(folder, Codec::None, &format!("in-{sorted}-{distinct}-{i}"));
        spec.partitioning = Partitioning::Fixed(0);
        let mut keys: Vec<u64> = (0..PAIRS / 16).map(|n| mixed(n * 16 + i) % distinct).collect();
        if sorted {
            keys.sort();
        }
        let mut edge = PlainEdge::new(spec.clone());
        keys.iter().for_each(|key| edge.push(&key.to_be_bytes(), value).expect("a pair"));
        let result = edge.finish().expect("a file");
        segments.extend(result.segments.iter().map(|s| LocalSegment::of(spec.file.clone(), s, spec.identity)));
    }
    segments
}

fn alive() -> Result<(), EngineError> {
    Ok(())
}

fn read(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut group = c.benchmark_group("read 16 segments");
    group.throughput(Throughput::Elements(PAIRS)).sample_size(10);
    for (name, sorted) in [("sort", false), ("merge", true)] {
        let segments = segments(folder.path(), sorted, &[7; 24], u64::MAX);
        group.bench_function(name, |b| {
            b.iter(|| {
                let sorted =
                    open_sorted(segments.clone(), folder.path(), &Share::alone(MEMORY, 1), &alive).expect("segments");
                let mut pairs = sorted.pairs;
                let mut bytes = 0;
                while let Some((key, value)) = pairs.peek() {
                    bytes += key.len() + value.len();
                    pairs.advance().expect("a pair");
                }
                black_box(bytes)
            })
        });
    }
    for distinct in [10_000u64, 1_000_000] {
        let segments = segments(folder.path(), false, &1u64.to_le_bytes(), distinct);
        group.bench_function(format!("fold, {distinct} distinct"), |b| {
            b.iter(|| {
                let mut folding = Folder::new(Sum, folder.path(), &Share::alone(MEMORY, 1), 0).expect("memory");
                let pairs = open_concat(segments.clone()).expect("segments");
                pairs.for_each(&alive, |key, value| folding.push(key, Sum.decode(value)?)).expect("pairs");
                let mut sum = 0;
                let add = |_: &Sum, _: &[u8], acc: u64| {
                    sum += acc;
                    Ok(())
                };
                folding.finish(true, add).expect("pairs");
                black_box(sum)
            })
        });
        group.bench_function(format!("look up, {distinct} distinct"), |b| {
            let size = segments.iter().fold((0, 0), |(n, bytes), s| (n + s.records, bytes + s.raw_length));
            let pairs = open_concat(segments.clone()).expect("segments");
            let claim = Lookup::claim(&Share::alone(MEMORY, 1), size.0, size.1).expect("memory");
            let lookup = Lookup::build(pairs, size, claim, folder.path(), &alive).expect("pairs");
            b.iter(|| {
                let mut found = 0;
                for n in 0..PAIRS {
                    found += u64::from(lookup.find(lookup.probe(&(mixed(n) % distinct).to_be_bytes())).is_some());
                }
                black_box(found)
            })
        });
    }
}

/// Sorts a partition of several times its memory, with and without an idle thread.
fn sort_beyond_memory(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let segments = segments(folder.path(), false, &[7; 24], u64::MAX);
    let mut group = c.benchmark_group("sort in 10 MiB");
    group.throughput(Throughput::Elements(PAIRS)).sample_size(10);
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let sort = || {
            let share = Share::alone(10 << 20, 1);
            let mut pairs = open_sorted(segments.clone(), folder.path(), &share, &alive).expect("segments").pairs;
            let mut bytes = 0;
            while let Some((key, value)) = pairs.peek() {
                bytes += key.len() + value.len();
                pairs.advance().expect("a pair");
            }
            black_box(bytes)
        };
        group.bench_function(format!("threads: {threads}"), |b| b.iter(|| pool.install(sort)));
    }
}

fn checksum(c: &mut Criterion) {
    let block = vec![7u8; 1 << 20];
    let mut group = c.benchmark_group("checksum");
    group.throughput(Throughput::Bytes(block.len() as u64));
    group.bench_function("crc32c of 1 MiB", |b| b.iter(|| windrow_format::checksum::crc32c(black_box(&block))));
}

criterion_group!(benches, combine, scatter, scatter_widely, read, sort_beyond_memory, checksum);
criterion_main!(benches);
