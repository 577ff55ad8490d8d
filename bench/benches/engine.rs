//! The engine's parts one by one: combining at several numbers of distinct keys, sorting, merging, block checksums, cuts.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::Path;
use windrow_engine::{
    Accumulate, Codec, CombinedEdge, EdgeSpec, EngineError, Identity, LocalSegment, Pairs, Partitioning, PlainEdge,
    open_merged,
};
use windrow_model::Order;

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

/// The `n`th of many numbers without an order.
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
        order: Order::Key,
        codec,
        memory: MEMORY,
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

fn sort(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut group = c.benchmark_group("sort");
    group.throughput(Throughput::Elements(PAIRS)).sample_size(10);
    for (name, codec) in [("plain", Codec::None), ("lz4", Codec::Lz4)] {
        let keys: Vec<[u8; 8]> = (0..PAIRS).map(|n| mixed(n).to_be_bytes()).collect();
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut edge = PlainEdge::new(spec(folder.path(), codec, "out")).expect("an edge");
                keys.iter().for_each(|key| edge.push(key, &[7; 24]).expect("a pair"));
                black_box(edge.finish().expect("a file"))
            })
        });
    }
}

fn merge(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut segments = Vec::new();
    for i in 0..16u64 {
        let mut spec = spec(folder.path(), Codec::None, &format!("in-{i}"));
        spec.partitioning = Partitioning::Fixed(0);
        let mut edge = PlainEdge::new(spec.clone()).expect("an edge");
        (0..PAIRS / 16).for_each(|n| edge.push(&mixed(n * 16 + i).to_be_bytes(), &[7; 24]).expect("a pair"));
        let result = edge.finish().expect("a file");
        segments.extend(result.segments.iter().map(|s| LocalSegment {
            path: spec.file.clone(),
            offset: s.offset,
            length: s.length,
            identity: spec.identity,
        }));
    }
    let mut group = c.benchmark_group("merge");
    group.throughput(Throughput::Elements(PAIRS)).sample_size(10);
    group.bench_function("16 segments", |b| {
        b.iter_batched(
            || segments.clone(),
            |segments| {
                let mut merged = open_merged(segments, folder.path(), MEMORY).expect("segments");
                let mut bytes = 0;
                while let Some((key, value)) = merged.peek() {
                    bytes += key.len() + value.len();
                    merged.advance().expect("a pair");
                }
                black_box(bytes)
            },
            BatchSize::PerIteration,
        )
    });
}

fn checksum(c: &mut Criterion) {
    let block = vec![7u8; 1 << 20];
    let mut group = c.benchmark_group("checksum");
    group.throughput(Throughput::Bytes(block.len() as u64));
    group.bench_function("crc32c of 1 MiB", |b| b.iter(|| windrow_format::checksum::crc32c(black_box(&block))));
}

criterion_group!(benches, combine, sort, merge, checksum);
criterion_main!(benches);
