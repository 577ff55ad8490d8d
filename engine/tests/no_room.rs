//! Fills the disk at any write of an edge, a merge or a group: the error names the path and the free space, no run is
//! left, and a new attempt gets all its records.

// Failpoints exist only with debug assertions.
#![cfg(debug_assertions)]

mod support;

use std::path::Path;
use windrow_engine::{
    Codec, EdgeSpec, EngineError, GroupArena, LocalSegment, Partitioning, PlainEdge, Share, open_sorted,
};
use windrow_failpoint::arm;
use windrow_format::quota::Quota;
use windrow_model::{Code, Failure};

const RECORDS: u32 = 1_500;
/// Number of times that the edge's segment is read at once, which forces the reader to merge first.
const TIMES: usize = 20;
/// Memory in bytes; small enough that runs are merged in passes.
const MEMORY: usize = 64 << 10;

fn spec(folder: &Path) -> EdgeSpec {
    support::spec(folder, Partitioning::Hash(1), Codec::Lz4, MEMORY)
}

fn write(spec: &EdgeSpec) -> Result<Vec<LocalSegment>, EngineError> {
    let mut edge = PlainEdge::new(spec.clone());
    let mut random = 5u64;
    for n in 0..RECORDS {
        // Compressible values need a buffer when they are read, so more runs than fit are merged in passes.
        let mut value = [7; 300];
        value[..200].fill_with(|| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 56) as u8
        });
        edge.push(&n.reverse_bits().to_be_bytes(), &value)?;
    }
    let result = edge.finish()?;
    Ok(result.segments.iter().map(|s| LocalSegment::of(spec.file.clone(), s, spec.identity)).collect())
}

/// Writes an edge, reads it back and returns the number of records.
fn write_and_read(folder: &Path) -> Result<u32, EngineError> {
    let spec = spec(folder);
    let segments: Vec<_> = write(&spec)?.into_iter().cycle().take(TIMES).collect();
    let mut merged = open_sorted(segments, &spec.folder, &Share::alone(MEMORY, 1), &|| Ok(()))?.pairs;
    let mut records = 0;
    while merged.peek().is_some() {
        merged.advance()?;
        records += 1;
    }
    Ok(records / TIMES as u32)
}

fn runs_left(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("runs")).map_or(0, |entries| entries.count())
}

#[test]
fn full_disk_fails_an_edge_and_leaves_no_run() {
    let folder = tempfile::tempdir().unwrap();
    for place in ["spill", "merge", "shuffle.write"] {
        for pass in [1, 2, 5] {
            let armed = arm(&format!("{place}=enospc@{pass}"));
            let done = write_and_read(folder.path());
            drop(armed);
            let Err(error) = done else {
                assert!(pass > 1, "{place} is not passed");
                continue;
            };
            let failure = Failure::from(error);
            assert_eq!(failure.code, Code::NoSpace, "{place}: {failure}");
            let path = folder.path().to_str().unwrap();
            assert!(failure.message.contains(path) && failure.message.contains(" free"), "{place}: {failure}");
            assert_eq!(runs_left(folder.path()), 0, "{place}");
        }
    }
    let armed = arm("shuffle.write=eio@3");
    assert_eq!(write_and_read(folder.path()).unwrap_err().code(), Code::IoError);
    drop(armed);
    assert_eq!(write_and_read(folder.path()).unwrap(), RECORDS);
    assert_eq!(runs_left(folder.path()), 0);
}

#[test]
fn full_disk_fails_an_edge_of_two_levels_and_leaves_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let spec = EdgeSpec { partitioning: Partitioning::Hash(3_000), ..spec(folder.path()) };
    for (place, passes) in [("spill", [1, 2, 3]), ("shuffle.write", [1, 2, 1_000])] {
        for pass in passes {
            let armed = arm(&format!("{place}=enospc@{pass}"));
            let failure = Failure::from(write(&spec).expect_err("the place is passed"));
            drop(armed);
            assert_eq!(failure.code, Code::NoSpace, "{place}: {failure}");
            assert_eq!(runs_left(folder.path()), 0, "{place}");
        }
    }
    let records = |segments: Vec<LocalSegment>| segments.iter().map(|s| s.records).sum::<u64>();
    assert_eq!(records(write(&spec).unwrap()), u64::from(RECORDS));
    assert_eq!(runs_left(folder.path()), 0);
}

#[test]
fn full_disk_fails_a_group_without_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let _armed = arm("group.spill=enospc");
    let arena = GroupArena::new(folder.path(), &Share::alone(1 << 10, 1));
    (0..200).for_each(|n| assert_eq!(arena.alloc(&[n; 1000]), [n; 1000]));
    assert_eq!(arena.failure().map(|e| e.code()), Some(Code::NoSpace));
}

#[test]
fn removed_runs_are_not_charged_to_the_quota() {
    let folder = tempfile::tempdir().unwrap();
    let all = u64::from(RECORDS) * 300;
    // Every byte is written several times, and read runs are freed.
    let entered = Quota::new(3 * all).enter();
    write(&spec(folder.path())).unwrap();
    drop(entered);
    let _entered = Quota::new(all / 2).enter();
    let error = write_and_read(folder.path()).unwrap_err();
    assert_eq!(error.code(), Code::ScratchQuotaExceeded, "{error}");
    assert!(error.to_string().contains("its quota is"), "{error}");
}
