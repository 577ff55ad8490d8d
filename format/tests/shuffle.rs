//! Promises of the shuffle file: written records are read back; damaged bytes and those of another attempt are refused.

use proptest::prelude::*;
use std::collections::BTreeMap;
use windrow_format::block::{FormatError, Identity, KEY_MAX};
use windrow_format::codec::Codec;
use windrow_format::shuffle::{SegmentReader, ShuffleWriter, read_index, read_index_at};
use windrow_model::{Code, Segment};

type Record = (u32, Vec<u8>, Vec<u8>);

fn identity() -> Identity {
    Identity { job: *b"sixteen bytes id", stage: 1, task: 2, attempt: 3, epoch: 1, output: 0, partition: 0 }
}

fn write(records: &[Record], codec: Codec) -> (Vec<u8>, Vec<Segment>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = ShuffleWriter::create(file.path(), identity(), codec).unwrap();
    for (partition, key, value) in records {
        writer.push(*partition, key, value).unwrap();
    }
    let segments = writer.finish().unwrap();
    (std::fs::read(file.path()).unwrap(), segments)
}

fn read(file: &[u8]) -> Result<Vec<Record>, FormatError> {
    let mut records = Vec::new();
    for s in read_index(file, &identity())? {
        let bytes = &file[s.offset as usize..(s.offset + s.length) as usize];
        let mut reader = SegmentReader::new(bytes, Identity { partition: s.partition, ..identity() });
        let before = records.len();
        while let Some((key, value)) = reader.next()? {
            records.push((s.partition, key.to_vec(), value.to_vec()));
        }
        assert_eq!((records.len() - before) as u64, s.records);
    }
    Ok(records)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn written_records_are_read_back(
        mut records in prop::collection::vec(
            (0u32..6, prop::collection::vec(any::<u8>(), 0..200), prop::collection::vec(0u8..4, 0..2000)), 0..300),
        compressed: bool,
    ) {
        records.sort_by_key(|r| r.0);
        let (file, segments) = write(&records, if compressed { Codec::Lz4 } else { Codec::None });
        prop_assert_eq!(&read_index(&file, &identity()).unwrap(), &segments);
        // The same image in the middle of a larger file.
        let larger = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(larger.path(), [&[0xab; 77][..], &file, &[0xcd; 9]].concat()).unwrap();
        let (opened, length) = (larger.reopen().unwrap(), file.len() as u64);
        prop_assert_eq!(&read_index_at(&opened, 77, length, &identity()).unwrap(), &segments);
        for (base, length) in [(76, length), (77, length - 1), (77, length + 1), (77 + 9, length), (77 + 10, length)] {
            prop_assert!(read_index_at(&opened, base, length, &identity()).is_err());
        }
        prop_assert_eq!(&read(&file).unwrap(), &records);
        let mut raw = BTreeMap::new();
        for (p, k, v) in &records {
            *raw.entry(*p).or_insert(0u64) += k.len() as u64 + v.len() as u64;
        }
        prop_assert!(segments.iter().map(|s| s.partition).eq(raw.keys().copied()));
        prop_assert!(segments.iter().all(|s| s.raw_length >= raw[&s.partition]));
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read_index(&bytes, &identity()).is_err());
        prop_assert!(bytes.is_empty() || SegmentReader::new(&bytes, identity()).next().is_err());
    }
}

fn small() -> Vec<Record> {
    let text = |i: u32| (i / 4, format!("key{i}").into_bytes(), b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_vec());
    (0..12).map(text).collect()
}

#[test]
fn every_flipped_bit_and_every_cut_is_detected() {
    for codec in [Codec::None, Codec::Lz4] {
        let (file, _) = write(&small(), codec);
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut damaged = file.clone();
                damaged[at] ^= 1 << bit;
                let error = read(&damaged).expect_err("damage is found");
                assert_eq!(error.code(), Code::SegmentCorrupt, "byte {at} bit {bit}");
            }
            assert!(read(&file[..at]).is_err(), "cut at {at}");
        }
    }
}

#[test]
fn intact_segment_of_another_attempt_is_refused() {
    let (file, segments) = write(&small(), Codec::Lz4);
    let s = segments[1];
    let bytes = &file[s.offset as usize..(s.offset + s.length) as usize];
    let right = Identity { partition: s.partition, ..identity() };
    assert!(SegmentReader::new(bytes, right).next().unwrap().is_some());
    for wrong in
        [Identity { attempt: 4, ..right }, Identity { partition: 0, ..right }, Identity { job: [0; 16], ..right }]
    {
        assert!(matches!(SegmentReader::new(bytes, wrong).next(), Err(FormatError::Checksum { .. })));
    }
}

#[test]
fn a_file_without_records_has_no_segments() {
    let (file, segments) = write(&[], Codec::None);
    assert_eq!((file.len(), segments.len()), (28, 0));
    assert!(read(&file).unwrap().is_empty());
}

#[test]
fn records_larger_than_a_block_and_empty_ones_are_kept() {
    let mut noise = 1u64;
    let mut large: Vec<u8> = Vec::new();
    while large.len() < 3 << 20 {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        large.push((noise >> 56) as u8);
    }
    let records = vec![
        (0, vec![], vec![]),
        (0, b"a".to_vec(), vec![]),
        (0, b"b".to_vec(), large.clone()),
        (1, large[..1 << 20].to_vec(), vec![]),
        (1, b"x".to_vec(), vec![0; 5 << 20]),
        (7, b"".to_vec(), b"v".to_vec()),
    ];
    for codec in [Codec::None, Codec::Lz4] {
        assert!(read(&write(&records, codec).0).unwrap() == records);
    }
}

#[test]
fn a_key_beyond_the_limit_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = ShuffleWriter::create(file.path(), identity(), Codec::None).unwrap();
    let error = writer.push(0, &vec![0; KEY_MAX + 1], b"").unwrap_err();
    assert_eq!(error.code(), Code::RecordTooLarge);
    writer.push(0, &vec![0; KEY_MAX], b"").unwrap();
}

fn golden(version: u32) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/shuffle-{version}"))
}

fn golden_records() -> Vec<Record> {
    vec![(2, b"apple".to_vec(), b"1".to_vec()), (2, b"pear".to_vec(), vec![7; 200]), (5, vec![], b"x".to_vec())]
}

/// Pins the bytes of this version: two releases that meet in one cluster must agree on them, or refuse each other.
#[test]
fn the_bytes_of_version_5_never_change() {
    let (file, _) = write(&golden_records(), Codec::None);
    if std::env::var_os("WINDROW_WRITE_GOLDEN").is_some() {
        std::fs::write(golden(5), &file).unwrap();
    }
    assert_eq!(file, std::fs::read(golden(5)).unwrap());
}

#[test]
fn files_of_every_version_are_read() {
    for version in [2, 3, 4, 5] {
        assert_eq!(read(&std::fs::read(golden(version)).unwrap()).unwrap(), golden_records());
    }
}

/// An index names the segments of its partitions. That of another attempt would make records of the others disappear.
#[test]
fn index_of_another_attempt_is_refused() {
    let right = identity();
    let others = [
        Identity { job: [0; 16], ..right },
        Identity { stage: 9, ..right },
        Identity { task: 9, ..right },
        Identity { attempt: 9, ..right },
        Identity { epoch: 9, ..right },
        Identity { output: 9, ..right },
    ];
    for version in [2, 3, 4, 5] {
        let image = std::fs::read(golden(version)).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &image).unwrap();
        let at = |owner| {
            let length = image.len() as u64;
            [read_index(&image, owner), read_index_at(file.as_file(), 0, length, owner)]
        };
        let same_of_any_partition = Identity { partition: 7, ..right };
        assert!(at(&right).into_iter().chain(at(&same_of_any_partition)).all(|read| read.is_ok()));
        for other in &others {
            for read in at(other) {
                assert!(matches!(read, Err(FormatError::Checksum { .. })), "{version} {other:?}");
            }
        }
    }
}

/// A record larger than a megabyte is a block by itself.
#[test]
fn large_first_block_hides_no_other_owner() {
    let large = vec![(1, b"k".to_vec(), vec![7; 2 << 20])];
    let (image, _) = write(&large, Codec::None);
    assert!(read_index(&image, &identity()).is_ok());
    assert!(read_index(&image, &Identity { task: 9, ..identity() }).is_err());
}

#[test]
fn segment_records_whether_its_keys_ascend() {
    let keys = |n: u32| (0..n).map(|i| (0, format!("key {i:09}").into_bytes(), vec![7; 100])).collect::<Vec<Record>>();
    let mut unsorted = keys(3000);
    unsorted.push((0, b"key".to_vec(), vec![]));
    // One block, and several; equal keys ascend, and so does a key that extends its predecessor.
    let mut equal = keys(1500);
    equal.extend(std::iter::repeat_n((0, b"key 0000014990".to_vec(), vec![1; 90]), 1500));
    for codec in [Codec::None, Codec::Lz4] {
        for (records, sorted) in [(keys(1), true), (keys(3000), true), (equal.clone(), true), (unsorted.clone(), false)]
        {
            let (file, segments) = write(&records, codec);
            let segment = &file[..segments[0].length as usize];
            assert_eq!(windrow_format::segment_builder::is_sorted(segment).unwrap(), sorted);
        }
    }
    // Each partition on its own.
    let (file, segments) = write(&[(0, b"b".to_vec(), vec![]), (1, b"a".to_vec(), vec![])], Codec::None);
    let second = &file[segments[1].offset as usize..][..segments[1].length as usize];
    assert!(windrow_format::segment_builder::is_sorted(second).unwrap());
}
