use super::*;
use crate::segments::open_concat;
use proptest::prelude::*;
use windrow_format::codec::{Codec, Compressor};
use windrow_format::segment_builder::SegmentBuilder;

fn store(memory: &Arc<Memory>) -> InMemoryOutputs {
    InMemoryOutputs::new(memory.clone(), Path::new("folder"))
}

fn of(task: u32) -> Identity {
    Identity { task, ..Identity::default() }
}

fn block(builder: &mut SegmentBuilder, of: &Identity, partition: u32, keys: &[Vec<u8>]) -> (u32, Sealed) {
    keys.iter().for_each(|key| builder.push(key, b"v"));
    let identity = Identity { partition, ..*of };
    (partition, builder.seal(&identity, &mut Compressor::new(Codec::None), Vec::new()))
}

/// Keeps an output of one block for each list of keys, each with a builder of its own.
fn keep(outputs: &InMemoryOutputs, claim: &mut Claim, of: &Identity, list: &[(u32, Vec<Vec<u8>>)]) -> Vec<Segment> {
    let mut builders: HashMap<u32, SegmentBuilder> = HashMap::new();
    let blocks: Blocks = list.iter().map(|(p, keys)| block(builders.entry(*p).or_default(), of, *p, keys)).collect();
    claim.force(blocks.iter().map(|(_, sealed)| sealed.memory()).sum());
    match outputs.keep(of, blocks, claim).unwrap() {
        Kept::Segments(segments) => segments,
        Kept::Refused(_) => panic!("there is room"),
    }
}

/// The segments of a partition, whatever the attempt.
fn partition(outputs: &InMemoryOutputs, partition: u32) -> Vec<LocalSegment> {
    outputs.partition(&Identity { partition, ..of(0) }, |_| true).unwrap()
}

fn keys_of(local: Vec<LocalSegment>) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let keep = |key: &[u8], _: &[u8]| {
        found.push(key.to_vec());
        Ok(())
    };
    open_concat(local).unwrap().for_each(&|| Ok(()), keep).unwrap();
    found
}

proptest! {
    /// Outputs of any sizes are read back by partition, in the order of their tasks, until they are released.
    #[test]
    fn kept_outputs_are_read_back_by_partition(
        tasks in prop::collection::vec(prop::collection::vec((0u32..4, prop::collection::vec(0usize..50_000, 1..4)), 0..8), 1..5),
        small in prop::collection::vec(prop::collection::vec((0u32..4, prop::collection::vec(0usize..40, 1..4)), 0..8), 0..9),
        order in any::<prop::sample::Index>(),
    ) {
        let memory = Memory::new(1 << 30, 1);
        let outputs = store(&memory);
        let mut claim = memory.begin(1).output();
        let tasks: Vec<_> = tasks.into_iter().chain(small).collect();
        let mut expected: Vec<Vec<Vec<Vec<u8>>>> = vec![vec![Vec::new(); 4]; tasks.len()];
        let mut kept = vec![Vec::new(); tasks.len()];
        for at in 0..tasks.len() {
            // Tasks end in any order.
            let task = (at + order.index(tasks.len())) % tasks.len();
            let list: Vec<(u32, Vec<Vec<u8>>)> = tasks[task]
                .iter()
                .map(|(p, lengths)| (*p, lengths.iter().map(|n| vec![*n as u8 ^ task as u8; *n]).collect()))
                .collect();
            list.iter().for_each(|(p, keys)| expected[task][*p as usize].extend(keys.iter().cloned()));
            kept[task] = keep(&outputs, &mut claim, &of(task as u32), &list);
            prop_assert!(kept[task].is_sorted_by_key(|s| s.partition));
        }
        let wanted = |partition: u32| kept.iter().flatten().filter(move |s| s.partition == partition);
        for partition in 0..4 {
            let local = super::tests::partition(&outputs, partition);
            prop_assert_eq!(local.iter().map(|s| s.length).sum::<u64>(), wanted(partition).map(|s| s.length).sum::<u64>());
            prop_assert_eq!(local.iter().map(|s| s.records).sum::<u64>(), wanted(partition).map(|s| s.records).sum::<u64>());
            prop_assert_eq!(
                local.iter().map(|s| s.raw_length).sum::<u64>(),
                wanted(partition).map(|s| s.raw_length).sum::<u64>()
            );
            let all: Vec<Vec<u8>> = expected.iter().flat_map(|task| task[partition as usize].iter().cloned()).collect();
            prop_assert_eq!(keys_of(local), all);
        }
        // Only the released partition is gone.
        let before = super::tests::partition(&outputs, 2);
        prop_assert_eq!(outputs.release_partition(&Identity { partition: 2, ..of(0) }), Vec::new());
        for partition in 0..4 {
            let local = super::tests::partition(&outputs, partition);
            let expected = if partition == 2 { 0 } else { wanted(partition).count() };
            let tasks: std::collections::BTreeSet<u32> = local.iter().map(|s| s.identity.task).collect();
            prop_assert_eq!(tasks.len(), expected);
        }
        let all: Vec<Vec<u8>> = expected.iter().flat_map(|task| task[2].iter().cloned()).collect();
        prop_assert_eq!(keys_of(before), all, "a reader that has begun reads to its end");
        for task in 0..tasks.len() as u32 {
            prop_assert!(outputs.release(&of(task)) && !outputs.release(&of(task)));
        }
        drop(claim);
        prop_assert_eq!(memory.free(), memory.pool());
    }
}

/// An output of an attempt that was given up is not read, though its blocks are in the same batch.
#[test]
fn batch_keeps_attempts_of_a_task_apart() {
    let memory = Memory::new(64 << 20, 1);
    let outputs = store(&memory);
    let mut claim = memory.begin(1).output();
    let attempts = [0, 1, 2].map(|attempt| Identity { attempt, ..of(7) });
    attempts.iter().for_each(|of| drop(keep(&outputs, &mut claim, of, &[(3, vec![vec![of.attempt as u8]])])));
    let read = |attempt: u32| {
        let of_edge = Identity { partition: 3, ..Identity::default() };
        keys_of(
            outputs.partition(&of_edge, |of| *of == Identity { partition: 3, ..attempts[attempt as usize] }).unwrap(),
        )
    };
    assert_eq!(read(1), [[1]]);
    assert!(outputs.release(&attempts[0]));
    assert_eq!((read(2), read(1)), (vec![vec![2]], vec![vec![1]]));
}

/// Outputs may always hold a quarter of the limit; beyond it they must leave a quarter free.
#[test]
fn blocks_beyond_the_resident_limit_are_returned() {
    let one = |task| block(&mut SegmentBuilder::default(), &of(task), 0, &[vec![7; 10_000]]);
    let size = one(0).1.memory();
    let memory = Memory::new(16 * size, 1);
    let outputs = store(&memory);
    let share = memory.begin(1);
    let mut claim = share.output();
    let keep = |task: u32, claim: &mut Claim| {
        claim.force(size);
        matches!(outputs.keep(&of(task), vec![one(task)], claim), Ok(Kept::Segments(_)))
    };
    let mut kept = 0;
    while keep(kept, &mut claim) {
        kept += 1;
    }
    assert_eq!(kept, 8);
    // While another consumer holds the rest, outputs may hold only the quarter.
    (2..kept).for_each(|task| assert!(outputs.release(&of(task))));
    let mut other = share.output();
    other.grow(8 * size).unwrap();
    let mut again = 0;
    while keep(100 + again, &mut claim) {
        again += 1;
    }
    assert_eq!(again, 2);
    drop(other);
    assert!(keep(200, &mut claim));
}

#[test]
fn a_sorted_segment_is_one_piece() {
    let mut builder = SegmentBuilder::default();
    let blocks: Blocks = (0..9u8).map(|i| block(&mut builder, &of(0), 3, &[vec![i; 60_000]])).collect();
    let memory = Memory::new(64 << 20, 1);
    let outputs = store(&memory);
    let mut claim = memory.begin(1).output();
    claim.force(blocks.iter().map(|(_, sealed)| sealed.memory()).sum());
    let Ok(Kept::Segments(_)) = outputs.keep(&of(0), blocks, &mut claim) else { panic!("there is room") };
    assert_eq!(partition(&outputs, 3).len(), 1);
}

#[test]
fn full_batches_are_merged_before_a_reader_asks() {
    let memory = Memory::new(256 << 20, 1);
    let outputs = store(&memory);
    let mut claim = memory.begin(1).output();
    let list: Vec<(u32, Vec<Vec<u8>>)> = (0..4000).map(|p| (p, vec![vec![p as u8; 3000]])).collect();
    (0..3).for_each(|task| drop(keep(&outputs, &mut claim, &of(task), &list)));
    let edges = outputs.edges();
    let edge = edges.values().next().unwrap();
    assert_eq!((edge.batches.len(), edge.small.len()), (1, 1));
}

/// Memory that another consumer holds.
fn exhausted() -> (Arc<Memory>, Claim) {
    let memory = Memory::new(8 << 20, 1);
    let mut other = memory.begin(1).fixed();
    other.force(memory.limit());
    (memory, other)
}

/// Batches are files if memory is short: they are read back, returned to the system as readers finish, and removed.
#[test]
fn batches_go_to_files_when_memory_is_short() {
    const PARTITIONS: u32 = 4000;
    let folder = tempfile::tempdir().unwrap();
    let (memory, other) = exhausted();
    let outputs = InMemoryOutputs::new(memory.clone(), folder.path());
    let mut claim = memory.begin(1).output();
    let key = |task: u32, p: u32| vec![task as u8 ^ p as u8; 500];
    let list = |task: u32| (0..PARTITIONS).map(|p| (p, vec![key(task, p)])).collect::<Vec<_>>();
    let tasks = 5u32;
    let kept: Vec<Vec<Segment>> = (0..tasks).map(|task| keep(&outputs, &mut claim, &of(task), &list(task))).collect();
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files(), tasks as usize, "each output is larger than a batch may be");
    let mut freed = 0;
    for p in 0..PARTITIONS {
        if p % 97 == 0 {
            let expected: Vec<Vec<u8>> = (0..tasks).map(|task| key(task, p)).collect();
            assert_eq!(keys_of(partition(&outputs, p)), expected);
        }
        let holes = outputs.release_partition(&Identity { partition: p, ..of(0) });
        freed += holes.iter().map(|hole| hole.to - hole.from).sum::<u64>();
    }
    let stored: u64 = kept.iter().flatten().map(|s| s.length).sum();
    assert!(freed >= stored, "{freed} of {stored}");
    (0..tasks).for_each(|task| assert!(outputs.release(&of(task))));
    assert_eq!(files(), 0);
    drop((claim, other));
    assert_eq!(memory.free(), memory.pool());
}

/// A segment whose place cannot be found in a damaged file is an error of its reader, never left out.
#[test]
fn damaged_batch_file_loses_no_segment_silently() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, _other) = exhausted();
    let outputs = InMemoryOutputs::new(memory.clone(), folder.path());
    let mut claim = memory.begin(1).output();
    let list: Vec<(u32, Vec<Vec<u8>>)> = (0..2).map(|p| (p, vec![vec![p as u8; 1]])).collect();
    (0..3).for_each(|task| drop(keep(&outputs, &mut claim, &of(task), &list)));
    let path = folder.path().join("batch");
    {
        let mut edges = outputs.edges();
        let edge = edges.values_mut().next().unwrap();
        let small = edge.take_small();
        memory.resize_resident(small.iter().map(SmallOutput::memory).sum(), 0);
        let merged = Batch::on_disk(small, &path).unwrap();
        edge.add(merged);
    }
    let bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        for bit in [1, 0x80] {
            let mut damaged = bytes.clone();
            damaged[at] ^= bit;
            std::fs::write(&path, &damaged).unwrap();
            let mut errors = 0;
            for p in 0..2 {
                let mut found = 0;
                let read = outputs.partition(&Identity { partition: p, ..of(0) }, |_| true).and_then(|local| {
                    open_concat(local)?.for_each(&|| Ok(()), |_, _| {
                        found += 1;
                        Ok(())
                    })
                });
                match read {
                    Ok(()) => assert_eq!(found, 3),
                    Err(_) => errors += 1,
                }
            }
            assert_eq!(errors, 1, "byte {at}");
        }
    }
}
