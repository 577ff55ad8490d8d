//! The formats: cutting files, words of text, sealing and opening blocks with each codec, frames between a worker and
//! its executors.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use windrow_format::block::{self, Identity, RAW_TARGET};
use windrow_format::codec::{self, Codec, Compressor};
use windrow_format::cut::cut;
use windrow_format::segment_builder::{Sealed, SegmentBuilder};
use windrow_model::Framing;
use windrow_proto::frame::{FrameDecoder, encode_frame};
use windrow_proto::v1;

/// Text of this many bytes, with lines of about forty bytes.
fn text(bytes: usize) -> Vec<u8> {
    let words = ["the", "windrow", "lies", "in", "long", "rows", "until", "everyone", "gathers", "it"];
    let mut text = Vec::with_capacity(bytes);
    let mut state = 1u64;
    while text.len() < bytes {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        text.extend_from_slice(words[(state >> 33) as usize % words.len()].as_bytes());
        text.push(if state >> 61 == 0 { b'\n' } else { b' ' });
    }
    text.truncate(bytes);
    text
}

fn splitter(c: &mut Criterion) {
    let file = text(64 << 20);
    let mut group = c.benchmark_group("cut 64 MiB of lines");
    for chunk in [64 << 10, 4 << 20] {
        let chunks = file.len() / chunk;
        group.throughput(Throughput::Elements(chunks as u64));
        group.bench_function(format!("into {chunks} chunks"), |b| {
            b.iter(|| cut(Framing::Delimiter(b'\n'), black_box(&file[..]), chunk as u64, &[]).expect("memory is read"))
        });
    }
}

fn words(c: &mut Criterion) {
    let text = String::from_utf8(text(1 << 20)).expect("ASCII");
    let mut group = c.benchmark_group("words of 1 MiB of lines");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("words", |b| {
        b.iter(|| black_box(&text).lines().flat_map(windrow::words).map(str::len).sum::<usize>())
    });
    group.bench_function("split_ascii_whitespace", |b| {
        b.iter(|| black_box(&text).lines().flat_map(str::split_ascii_whitespace).map(str::len).sum::<usize>())
    });
}

/// A builder with one block of words.
fn filled(words: &[u8]) -> SegmentBuilder {
    let mut builder = SegmentBuilder::default();
    for word in words.split(|b| *b == b' ') {
        if builder.is_full_for(word.len(), 8, RAW_TARGET) {
            break;
        }
        builder.push(word, &[1, 0, 0, 0, 0, 0, 0, 0]);
    }
    builder
}

fn sealed(words: &[u8], codec: Codec) -> Sealed {
    filled(words).seal(&Identity::default(), &mut Compressor::new(codec), Vec::new())
}

fn blocks(c: &mut Criterion) {
    let words = text(1 << 20);
    for (name, codec) in [("plain", Codec::None), ("lz4", Codec::Lz4)] {
        let block = sealed(&words, codec);
        let mut group = c.benchmark_group(format!("a block of 64 KiB, {name}"));
        group.throughput(Throughput::Bytes(block.header.raw_length as u64));
        let mut compressor = Compressor::new(codec);
        group.bench_function("seal", |b| {
            let seal = |mut builder: SegmentBuilder| builder.seal(&Identity::default(), &mut compressor, Vec::new());
            b.iter_batched(|| filled(&words), seal, BatchSize::SmallInput)
        });
        group.bench_function("open and read", |b| {
            let mut raw = Vec::new();
            b.iter(|| {
                let (header, payload, _) =
                    block::open(black_box(block.as_slice()), &Identity::default(), 0).expect("it was just sealed");
                let records = match header.codec {
                    Codec::None => payload,
                    codec => {
                        codec::decompress(codec, payload, header.raw_length as usize, &mut raw).expect("it is whole");
                        &raw[..]
                    }
                };
                let mut bytes = 0;
                block::each_record(records, header.records, &mut |_, key, value| {
                    bytes += key.len() + value.len();
                    Ok::<(), block::FormatError>(())
                })
                .expect("it is whole");
                bytes
            })
        });
    }
}

fn frames(c: &mut Criterion) {
    let message = v1::RunTask { folder: vec![b'x'; 100], ..Default::default() };
    let mut group = c.benchmark_group("a frame of 100 bytes");
    group.throughput(Throughput::Elements(1));
    group.bench_function("write", |b| b.iter(|| encode_frame(black_box(&message)).expect("it is short")));
    let frame = encode_frame(&message).expect("it is short");
    let mut decoder = FrameDecoder::default();
    group.bench_function("read", |b| {
        b.iter(|| {
            decoder.push(black_box(&frame));
            decoder.next_frame::<v1::RunTask>().expect("it is whole")
        })
    });
}

criterion_group!(benches, splitter, words, blocks, frames);
criterion_main!(benches);
