//! Shuffle files that change while they are read: the error names the segment, and no changed byte is used.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use windrow_engine::{
    Codec, EdgeSpec, EngineError, Folder, Identity, LocalSegment, Lookup, Pairs, Partitioning, PlainEdge, Result,
    Share, open_concat, open_sorted,
};
use windrow_format::block::FormatError;
use windrow_format::segment::BlockCursor;

/// Records of a segment; blocks hold fewer.
const RECORDS: u32 = 20_000;
const SEGMENTS: u32 = 5;
const MEMORY: usize = 64 << 20;

fn alive() -> Result<()> {
    Ok(())
}

/// A segment in a file of its own, with these keys and values of sixteen bytes.
fn segment(folder: &Path, name: u32, keys: impl Iterator<Item = u32>) -> LocalSegment {
    let spec = EdgeSpec {
        folder: folder.join("runs"),
        file: folder.join(format!("in-{name}")),
        identity: Identity { job: [3; 16], task: name, ..Identity::default() },
        partitioning: Partitioning::Fixed(0),
        codec: Codec::None,
        share: Share::alone(MEMORY, 2),
        any_order: false,
        in_memory_outputs: None,
        spool: None,
    };
    let mut edge = PlainEdge::new(spec.clone());
    keys.for_each(|key| edge.push(&key.to_be_bytes(), &[7; 16]).unwrap());
    LocalSegment::of(spec.file.clone(), &edge.finish().unwrap().segments[0], spec.identity)
}

fn segments(folder: &Path, ascending: bool) -> Vec<LocalSegment> {
    let keys = |i: u32| (0..RECORDS).map(move |n| if ascending { n * SEGMENTS + i } else { !(n * SEGMENTS + i) });
    (0..SEGMENTS).map(|i| segment(folder, i, keys(i))).collect()
}

/// Flips a bit in the last byte of the block with this record, in the file that readers have mapped. Returns the offset
/// of the block.
fn change(segment: &LocalSegment, record: u64) -> u64 {
    let bytes = std::fs::read(&segment.path).unwrap();
    let bytes = &bytes[segment.offset as usize..][..segment.length as usize];
    let mut blocks = BlockCursor::new(segment.identity);
    let (mut start, mut records) = (0, 0);
    loop {
        let (header, payload, _) = blocks.next_block(bytes).unwrap().unwrap();
        records += u64::from(header.records);
        if record < records {
            let file = File::options().write(true).open(&segment.path).unwrap();
            file.write_all_at(&[bytes[payload.end - 1] ^ 1], segment.offset + payload.end as u64 - 1).unwrap();
            return start;
        }
        start = payload.end as u64;
    }
}

/// Reads to the end.
fn drain(pairs: &mut dyn Pairs) -> Result<()> {
    while pairs.peek().is_some() {
        pairs.advance()?;
    }
    Ok(())
}

#[track_caller]
fn assert_changed(result: Result<()>, expected: usize, at: u64) {
    match result {
        Err(EngineError::Segment { index, source: FormatError::Changed { offset }, .. }) => {
            assert_eq!((index, offset), (expected, at));
        }
        other => panic!("{other:?}"),
    }
}

/// The indexes of segments whose change was noted by a reader that returned no error.
fn noted(segments: &[LocalSegment]) -> Vec<usize> {
    (0..segments.len()).filter(|i| segments[*i].changed_error(*i).is_some()).collect()
}

#[test]
fn block_that_changes_under_a_sort_in_place_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let segments = segments(folder.path(), false);
    let sorted = open_sorted(segments.clone(), folder.path(), &Share::alone(MEMORY, 1), &alive).unwrap();
    assert_eq!(sorted.spilled.0, 0);
    let mut pairs = sorted.pairs;
    (0..RECORDS).for_each(|_| pairs.advance().unwrap());
    let at = change(&segments[3], RECORDS as u64 / 2);
    assert!(at > 0);
    assert_changed(drain(&mut *pairs), 3, at);
    assert_eq!(noted(&segments), [3]);
}

#[test]
fn block_that_changes_before_its_spill_is_an_error() {
    // More than the entries of one segment, less than those of all.
    const SPILLS: usize = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    let segments = segments(folder.path(), false);
    // Called before each segment is read: at the second call the records of the first segment are in memory and not yet
    // spilled.
    let asked = Cell::new(0);
    let alive = || {
        asked.set(asked.get() + 1);
        if asked.get() == 2 {
            change(&segments[0], 0);
        }
        Ok(())
    };
    let sorted = open_sorted(segments.clone(), folder.path(), &Share::alone(SPILLS, 1), &alive);
    assert_changed(sorted.map(drop), 0, 0);
    assert!(asked.get() < SEGMENTS, "it is found before the rest is read");
    let without = open_sorted(segments[1..].to_vec(), folder.path(), &Share::alone(SPILLS, 1), &|| Ok(())).unwrap();
    assert!(without.spilled.0 > 0, "this memory makes runs");
}

#[test]
fn block_that_changes_under_a_merge_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let segments = segments(folder.path(), true);
    let mut pairs = open_sorted(segments.clone(), folder.path(), &Share::alone(MEMORY, 1), &alive).unwrap().pairs;
    let at = change(&segments[3], 0);
    assert_changed(drain(&mut *pairs), 3, at);
}

#[test]
fn block_that_changes_under_steps_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let segments = segments(folder.path(), false);
    let mut pairs = open_concat(segments.clone()).unwrap();
    let before = 3 * RECORDS + RECORDS / 2;
    (0..before).for_each(|_| pairs.advance().unwrap());
    let at = change(&segments[3], u64::from(RECORDS / 2));
    assert_changed(drain(&mut pairs), 3, at);
}

#[test]
fn block_that_changes_under_a_fold_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let segments = segments(folder.path(), false);
    let mut folded = Folder::new(Count, folder.path(), &Share::alone(MEMORY, 1), 0).unwrap();
    let (mut read, mut at) = (0u32, 0);
    let result = open_concat(segments.clone()).unwrap().for_each(&alive, |key, _| {
        if read == 3 * RECORDS + RECORDS / 2 {
            at = change(&segments[3], u64::from(RECORDS / 2));
        }
        read += 1;
        folded.push(key, 1)
    });
    assert_changed(result, 3, at);
    assert!(read < 4 * RECORDS, "the last block is the first after the change");
}

#[test]
fn block_that_changes_under_a_table_for_a_join_is_an_error() {
    // A loop calls `alive` after this many pairs.
    const ASKED_AFTER: u32 = 1 << 16;
    let folder = tempfile::tempdir().unwrap();
    let segments = [segment(folder.path(), 0, 0..10), segment(folder.path(), 1, 0..2 * ASKED_AFTER)];
    let size = |of: fn(&LocalSegment) -> u64| segments.iter().map(of).sum::<u64>();
    let size = (size(|s| s.records), size(|s| s.raw_length));
    let claim = Lookup::claim(&Share::alone(MEMORY, 1), size.0, size.1).unwrap();
    let at = Cell::new(None);
    let alive = || {
        if at.get().is_none() {
            at.set(Some(change(&segments[1], u64::from(ASKED_AFTER - 11))));
        }
        Ok(())
    };
    let built = Lookup::build(open_concat(segments.to_vec()).unwrap(), size, claim, folder.path(), &alive);
    assert_changed(built.map(drop), 1, at.get().unwrap());
}

#[test]
fn record_larger_than_a_block_is_verified_after_use() {
    let folder = tempfile::tempdir().unwrap();
    let spec = EdgeSpec {
        folder: folder.path().join("runs"),
        file: folder.path().join("in"),
        identity: Identity::default(),
        partitioning: Partitioning::Fixed(0),
        codec: Codec::None,
        share: Share::alone(MEMORY, 2),
        any_order: false,
        in_memory_outputs: None,
        spool: None,
    };
    let mut edge = PlainEdge::new(spec.clone());
    edge.push(b"key", &vec![7; 3 << 20]).unwrap();
    let segment = LocalSegment::of(spec.file.clone(), &edge.finish().unwrap().segments[0], spec.identity);
    let result = open_concat(vec![segment.clone()]).unwrap().for_each(&alive, |_, value| {
        assert_eq!(value.len(), 3 << 20);
        change(&segment, 0);
        Ok(())
    });
    assert_changed(result, 0, 0);
}

#[test]
fn reader_that_stops_early_leaves_a_note_of_the_change() {
    let folder = tempfile::tempdir().unwrap();
    for ascending in [false, true] {
        let segments = segments(folder.path(), ascending);
        let mut pairs = open_sorted(segments.clone(), folder.path(), &Share::alone(MEMORY, 1), &alive).unwrap().pairs;
        pairs.advance().unwrap();
        change(&segments[2], 0);
        assert_eq!(noted(&segments), [0; 0]);
        drop(pairs);
        assert_eq!(noted(&segments), [2]);
        assert_eq!(segments[2].changed_error(2).unwrap().code(), windrow_model::Code::SegmentCorrupt);
    }
    let segments = segments(folder.path(), false);
    let result = open_concat(segments.clone()).unwrap().for_each(&alive, |_, _| {
        change(&segments[0], 0);
        Err(EngineError::Decode("what the change has led to".to_string()))
    });
    assert!(matches!(result, Err(EngineError::Decode(_))));
    assert_eq!(noted(&segments), [0]);
    // Changes in blocks of which no record was lent do not matter.
    let pairs = open_concat(segments[1..].to_vec()).unwrap();
    change(&segments[1], u64::from(RECORDS - 1));
    drop(pairs);
    assert_eq!(noted(&segments), [0]);
}

/// Counts pairs.
struct Count;

impl windrow_engine::Accumulate for Count {
    type Acc = u64;
    fn merge(&self, into: &mut u64, other: u64) {
        *into += other;
    }
    fn encode(&self, acc: &u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&acc.to_le_bytes());
    }
    fn decode(&self, bytes: &[u8]) -> Result<u64> {
        let bytes = bytes.first_chunk().ok_or_else(|| EngineError::Decode("eight bytes".to_string()))?;
        Ok(u64::from_le_bytes(*bytes))
    }
}
