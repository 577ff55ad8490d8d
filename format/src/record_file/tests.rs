//! Tests of files of records: any change of any byte is an error.

use super::*;
use crate::block::each_record;
use crate::error::FormatError;

fn description(packed: bool) -> Description {
    Description { types: "(u64, String)".into(), part: 1, parts: 3, keyed: true, sorted: false, packed }
}

fn written(records: &[Vec<u8>], packed: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut file = RecordFileWriter::begin(&description(packed), &mut out);
    records.iter().for_each(|record| file.push(record, &mut out).unwrap());
    file.end(&mut out);
    out
}

/// The records with their places.
fn read(bytes: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, RecordFileError> {
    let mut file = RecordFile::open(bytes)?;
    let mut records = Vec::new();
    while let Some(block) = file.next_block()? {
        each_record::<FormatError>(block.bytes, block.records, &mut |at, _, value| {
            records.push((block.place + at as u64, value.to_vec()));
            Ok(())
        })
        .unwrap();
    }
    Ok(records)
}

/// Enough records for several blocks, some of them empty, one larger than a block.
fn records() -> Vec<Vec<u8>> {
    let mut records: Vec<Vec<u8>> = (0..9000u32).map(|i| i.to_le_bytes().repeat(i as usize % 9)).collect();
    records.insert(4000, vec![7; 100_000]);
    records
}

#[test]
fn records_read_back_in_order_with_ascending_places() {
    for packed in [false, true] {
        for records in [vec![], vec![vec![]], records()] {
            let bytes = written(&records, packed);
            assert_eq!(bytes, written(&records, packed), "equal records have equal bytes");
            let got = read(&bytes).unwrap();
            assert!(got.windows(2).all(|pair| pair[0].0 < pair[1].0));
            assert_eq!(got.into_iter().map(|(_, record)| record).collect::<Vec<_>>(), records);
            assert_eq!(read_description(&bytes[..]).unwrap(), description(packed));
        }
    }
    assert!(written(&records(), true).len() < written(&records(), false).len() * 3 / 4);
}

#[test]
fn every_changed_byte_and_every_cut_is_an_error() {
    let records: Vec<Vec<u8>> = (0..40u8).map(|i| vec![i; 5]).collect();
    for packed in [false, true] {
        let bytes = written(&records, packed);
        for at in 0..bytes.len() {
            for bit in [0, 7] {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(read(&changed).is_err(), "bit {bit} of byte {at}");
            }
            assert!(read(&bytes[..at]).is_err(), "cut at {at}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(read(&longer), Err(RecordFileError::Damaged { offset, .. }) if offset == bytes.len() as u64));
    }
}

#[test]
fn lost_and_swapped_blocks_are_errors() {
    let bytes = written(&records(), false);
    let mut offsets = Vec::new();
    let mut file = RecordFile::open(&bytes).unwrap();
    loop {
        offsets.push(file.offset() as usize);
        if file.next_block().unwrap().is_none() {
            break;
        }
    }
    let [first, second, third] = offsets[..3] else { panic!("at least three blocks") };
    let without_first = [&bytes[..first], &bytes[second..]].concat();
    let swapped = [&bytes[..first], &bytes[second..third], &bytes[first..second], &bytes[third..]].concat();
    let last = *offsets.last().unwrap();
    let without_last = [&bytes[..offsets[offsets.len() - 2]], &bytes[last..]].concat();
    for damaged in [without_first, swapped, without_last] {
        assert!(matches!(read(&damaged), Err(RecordFileError::Damaged { .. })));
    }
}

#[test]
fn impossible_lengths_are_refused_before_memory_is_taken() {
    let mut bytes = written(&[vec![1]], false);
    bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(read_description(&bytes[..]), Err(RecordFileError::Damaged { offset: 8, .. })));
    bytes[8..12].copy_from_slice(&9u32.to_le_bytes());
    assert!(matches!(read(&bytes), Err(RecordFileError::Newer { found: 9, reads: 1 })));
    assert!(matches!(read(b"a\nb\n"), Err(RecordFileError::Foreign)));
    assert!(matches!(read(b""), Err(RecordFileError::Foreign)));
}
