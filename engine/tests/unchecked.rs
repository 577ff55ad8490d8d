//! Blocks for readers in the same process have no checksums, unless they leave its memory.

use std::path::Path;
use std::sync::Arc;
use windrow_engine::{
    Codec, EdgeResult, EdgeSpec, Identity, InMemoryOutputs, LocalSegment, Memory, Partitioning, PlainEdge, open_concat,
    open_sorted,
};

const PARTITIONS: u32 = 4;
const VALUE: [u8; 1000] = [7; 1000];

/// Writes `bytes` bytes into an edge whose output may stay in this memory.
fn write(folder: &Path, memory: &Arc<Memory>, outputs: &Arc<InMemoryOutputs>, bytes: usize) -> (EdgeResult, u32) {
    let mut edge = PlainEdge::new(EdgeSpec {
        folder: folder.to_path_buf(),
        file: folder.join("file"),
        identity: Identity::default(),
        partitioning: Partitioning::Hash(PARTITIONS),
        codec: Codec::None,
        share: memory.begin(1),
        any_order: false,
        in_memory_outputs: Some(outputs.clone()),
        spool: None,
    });
    let records = (bytes / VALUE.len()) as u32;
    (0..records).for_each(|n| edge.push(&n.to_be_bytes(), &VALUE).unwrap());
    (edge.finish().unwrap(), records)
}

fn count(segments: Vec<LocalSegment>) -> u32 {
    let mut records = 0;
    let each = |_: &[u8], value: &[u8]| {
        records += u32::from(value == VALUE);
        Ok(())
    };
    open_concat(segments).unwrap().for_each(&|| Ok(()), each).unwrap();
    records
}

/// The output is refused as a whole, or a part of it was spilled before.
#[test]
fn blocks_that_leave_memory_have_checksums() {
    for (bytes, spills) in [(3 << 20, false), (8 << 20, true)] {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new(4 << 20, 1);
        let outputs = Arc::new(InMemoryOutputs::new(memory.clone(), folder.path()));
        let (result, records) = write(folder.path(), &memory, &outputs, bytes);
        assert!(result.has_file && (result.runs > 0) == spills, "{result:?}");
        let of_task = |task| {
            let of = |s| LocalSegment::of(folder.path().join("file"), s, Identity { task, ..Identity::default() });
            result.segments.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(count(of_task(0)), records);
        assert!(open_concat(of_task(1)).is_err(), "an intact block of another task");
    }
}

#[test]
fn blocks_in_memory_are_read_without_checksums() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::new(64 << 20, 1);
    let outputs = Arc::new(InMemoryOutputs::new(memory.clone(), folder.path()));
    let (result, records) = write(folder.path(), &memory, &outputs, 3 << 20);
    assert!(!result.has_file && result.segments.len() == PARTITIONS as usize);
    let partition = |n| outputs.partition(&Identity { partition: n, ..Identity::default() }, |_| true).unwrap();
    assert_eq!((0..PARTITIONS).map(|n| count(partition(n))).sum::<u32>(), records);
    let mut sorted = open_sorted(partition(1), folder.path(), &memory.begin(1), &|| Ok(())).unwrap().pairs;
    let mut keys = Vec::new();
    while let Some((key, _)) = sorted.peek() {
        keys.push(key.to_vec());
        sorted.advance().unwrap();
    }
    assert!(keys.is_sorted() && keys.len() as u32 == count(partition(1)));
}
