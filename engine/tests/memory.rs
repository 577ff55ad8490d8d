//! Memory stays within the budget for any data, measured by private pages. This is one test in a process of its own
//! because it reads the size of the whole process.

mod support;

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use windrow_engine::{
    Accumulate, Codec, CombinedEdge, EdgeResult, EdgeSpec, EngineError, Folder, GroupArena, LocalSegment, Memory,
    Partitioning, PlainEdge, Share, open_concat, open_sorted,
};

use support::Sum;

/// Budget in bytes; small in debug builds, where the code is slow.
const BUDGET: usize = if cfg!(debug_assertions) { 1 << 20 } else { 24 << 20 };
const SLACK: usize = 16 << 20;
/// Bytes shared by two tasks.
const SHARED: usize = if cfg!(debug_assertions) { 48 << 20 } else { 192 << 20 };

fn spec(folder: &Path, codec: Codec) -> EdgeSpec {
    support::spec(folder, Partitioning::Hash(4), codec, BUDGET)
}

fn private_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

struct Watch {
    start: usize,
    peak: usize,
}

impl Watch {
    fn look(&mut self) {
        self.peak = self.peak.max(private_bytes().saturating_sub(self.start));
    }
    fn check(self, what: &str) {
        println!("{what}: {} MiB", self.peak >> 20);
        assert!(self.peak <= BUDGET + SLACK, "{what} used {} MiB of {} MiB", self.peak >> 20, BUDGET >> 20);
    }
}

/// Memory left from earlier checks counts: it should have been returned.
fn watch() -> Watch {
    static START: OnceLock<usize> = OnceLock::new();
    Watch { start: *START.get_or_init(private_bytes), peak: 0 }
}

fn local(spec: &EdgeSpec, result: &EdgeResult) -> Vec<LocalSegment> {
    result.segments.iter().map(|s| LocalSegment::of(spec.file.clone(), s, spec.identity)).collect()
}

fn alive() -> Result<(), EngineError> {
    Ok(())
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 16
}

#[test]
fn private_memory_stays_within_the_budget() {
    fifty_times_the_budget();
    partitions_beyond_the_budget();
    one_task_of_two_has_most_of_it();
    two_greedy_tasks_share_it();
    huge_records_are_not_held();
}

/// Runs a function while a thread measures the size of the process; returns the peak.
fn watched(run: impl FnOnce()) -> usize {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut watch = watch();
            while !done.load(Relaxed) {
                watch.look();
                std::thread::yield_now();
            }
            watch.peak
        });
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        done.store(true, Relaxed);
        let peak = watching.join().unwrap();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        peak
    })
}

/// Pushes this many bytes into an edge and returns the number of spills.
fn push(spec: &EdgeSpec, seed: u64, bytes: usize) -> u64 {
    let mut edge = PlainEdge::new(spec.clone());
    let (mut state, value) = (seed, [7u8; 300]);
    for _ in 0..bytes / 308 {
        edge.push(&next(&mut state).to_be_bytes(), &value).unwrap();
    }
    edge.finish().unwrap().runs
}

fn one_task_of_two_has_most_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::new(SHARED, 2);
    let spec = EdgeSpec { share: memory.begin(1), ..spec(folder.path(), Codec::None) };
    let mut runs = 0;
    let peak = watched(|| runs = push(&spec, 1, SHARED / 4 * 3));
    println!("one of two: {} MiB", peak >> 20);
    assert_eq!(runs, 0, "three quarters of all fit while no other task runs");
    assert!((SHARED / 2..=SHARED + SLACK).contains(&peak));
}

fn two_greedy_tasks_share_it() {
    let memory = Memory::new(SHARED, 2);
    // Each task has far more data than memory: it sorts what it has written, and folds.
    let greedy = |seed: u64| {
        let folder = tempfile::tempdir().unwrap();
        let share = memory.begin(3);
        let spec = EdgeSpec { share: share.clone(), ..spec(folder.path(), Codec::None) };
        assert!(push(&spec, seed, 4 * SHARED) > 0);
        let mut edge = CombinedEdge::new(EdgeSpec { file: folder.path().join("folded"), ..spec.clone() }, Sum).unwrap();
        let mut state = seed;
        for _ in 0..SHARED / 16 {
            edge.push(&(next(&mut state) % (1 << 40)).to_be_bytes(), 1).unwrap();
        }
        let result = edge.finish().unwrap();
        let segments = local(&EdgeSpec { file: folder.path().join("folded"), ..spec }, &result);
        let mut sorted = open_sorted(segments, folder.path(), &share, &alive).unwrap().pairs;
        let mut n = 0;
        while sorted.peek().is_some() {
            sorted.advance().unwrap();
            n += 1;
        }
        assert_eq!(n, result.segments.iter().map(|s| s.records).sum::<u64>());
    };
    let peak = watched(|| {
        std::thread::scope(|scope| {
            (1..3).for_each(|seed| {
                scope.spawn(move || greedy(seed));
            })
        })
    });
    println!("two greedy ones: {} MiB of {}", peak >> 20, SHARED >> 20);
    assert!(peak <= SHARED + SLACK, "{} MiB", peak >> 20);
    assert_eq!(memory.free(), memory.pool());
}

/// Only the caller's record is in memory: the edge writes huge records to the disk and reads them in place there.
fn huge_records_are_not_held() {
    let folder = tempfile::tempdir().unwrap();
    let huge = vec![7u8; 60 << 20];
    let mut watch = watch();
    watch.start += huge.len();
    for codec in [Codec::None, Codec::Lz4] {
        let spec = spec(folder.path(), codec);
        let mut edge = PlainEdge::new(spec.clone());
        for n in 0..4u64 {
            edge.push(&(9 - n).to_be_bytes(), &huge).unwrap();
            edge.push(&n.to_be_bytes(), b"small").unwrap();
            watch.look();
        }
        let result = edge.finish().unwrap();
        watch.look();
        let share = Share::alone(BUDGET, 2);
        let mut sorted = open_sorted(local(&spec, &result), folder.path(), &share, &alive).unwrap().pairs;
        let mut values = GroupArena::new(folder.path(), &share);
        let mut n = 0;
        while let Some((_, value)) = sorted.peek() {
            assert!(values.alloc(value).len() == value.len());
            watch.look();
            sorted.advance().unwrap();
            n += 1;
        }
        assert_eq!(n, 8);
        values.reset();
        assert!(values.failure().is_none());
    }
    watch.check("huge records");
}

fn fifty_times_the_budget() {
    let folder = tempfile::tempdir().unwrap();
    let mut state = 7;
    plain_edges(folder.path(), &mut state);
    combined_edges(folder.path(), &mut state);
    groups(folder.path());
}

/// An open block for each of 100,000 partitions would take 100 MiB. The list of segments and the index of the file take
/// 90 bytes for each of them.
fn partitions_beyond_the_budget() {
    let folder = tempfile::tempdir().unwrap();
    for codec in [Codec::Lz4, Codec::None] {
        let mut watch = watch();
        let spec = EdgeSpec { partitioning: Partitioning::Hash(100_000), ..spec(folder.path(), codec) };
        let mut edge = PlainEdge::new(spec.clone());
        let mut state = 5;
        let records = 20 * BUDGET as u64 / 108;
        for n in 0..records {
            edge.push(&next(&mut state).to_be_bytes(), &[n as u8; 100]).unwrap();
            if n % 4096 == 0 {
                watch.look();
            }
        }
        let mut result = None;
        let peak = watched(|| result = Some(edge.finish().unwrap()));
        let result = result.unwrap();
        assert!(result.runs > 0);
        assert_eq!(result.segments.iter().map(|s| s.records).sum::<u64>(), records);
        watch.peak = watch.peak.max(peak);
        drop(result);
        watch.check("partitions beyond the budget");
    }
}

fn plain_edges(folder: &Path, state: &mut u64) {
    for codec in [Codec::Lz4, Codec::None] {
        let mut watch = watch();
        let spec = spec(folder, codec);
        let mut edge = PlainEdge::new(spec.clone());
        let mut pushed = 0;
        let value = [7u8; 300];
        let mut n = 0u64;
        while pushed < 50 * BUDGET {
            let length = next(state) as usize % 300;
            edge.push(&next(state).to_be_bytes(), &value[..length]).unwrap();
            pushed += 8 + length;
            n += 1;
            if n.is_multiple_of(50_000) {
                watch.look();
            }
        }
        let result = edge.finish().unwrap();
        assert!(result.runs > 0);
        watch.look();
        assert_eq!(result.segments.iter().map(|s| s.records).sum::<u64>(), n);
        // The reader sorts all of it, which was spilled before. Idle threads help with large parts.
        let helpers = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        helpers.install(|| {
            let sorted = open_sorted(local(&spec, &result), folder, &Share::alone(BUDGET, 1), &alive).unwrap();
            watch.look();
            assert!(sorted.spilled.0 >= 3);
            let mut merged = sorted.pairs;
            let mut left = n;
            while merged.peek().is_some() {
                merged.advance().unwrap();
                left -= 1;
                if left.is_multiple_of(200_000) {
                    watch.look();
                }
            }
            assert_eq!(left, 0);
        });
        watch.check("plain");
    }
}

fn combined_edges(folder: &Path, state: &mut u64) {
    for long in [false, true] {
        let mut watch = watch();
        let spec = spec(folder, Codec::Lz4);
        let mut edge = CombinedEdge::new(spec.clone(), Sum).unwrap();
        let mut pushed = 0;
        let mut n = 0u64;
        while pushed < 50 * BUDGET {
            let key = next(state) % (1 << 40);
            if long {
                edge.push(format!("a key that does not fit into its slot {key:020}").as_bytes(), 1).unwrap();
                pushed += 59;
            } else {
                edge.push(&key.to_be_bytes(), 1).unwrap();
                pushed += 16;
            }
            n += 1;
            if n.is_multiple_of(50_000) {
                watch.look();
            }
        }
        let result = edge.finish().unwrap();
        assert!(result.runs > 5);
        watch.look();
        let mut fold = Folder::new(Sum, folder, &Share::alone(BUDGET, 1), 1 << 30).unwrap();
        let mut read = 0u64;
        open_concat(local(&spec, &result))
            .unwrap()
            .for_each(&alive, |key, value| {
                read += 1;
                if read.is_multiple_of(50_000) {
                    watch.look();
                }
                fold.push(key, Sum.decode(value)?)
            })
            .unwrap();
        let mut sum = 0;
        let spilled = fold
            .finish(true, |_, _, acc| {
                sum += acc;
                if sum.is_multiple_of(50_000) {
                    watch.look();
                }
                Ok(())
            })
            .unwrap();
        assert!(spilled.0 > 5);
        assert_eq!(sum, n);
        watch.check("combined");
    }
}

fn groups(folder: &Path) {
    let mut watch = watch();
    let mut arena = GroupArena::new(folder, &Share::alone(BUDGET, 1));
    for _ in 0..2 {
        for i in 0..10 * BUDGET / 1000 {
            arena.alloc(&[i as u8; 1000]);
            if i % 20_000 == 0 {
                watch.look();
            }
        }
        arena.reset();
    }
    assert!(arena.failure().is_none());
    watch.check("group");
}
