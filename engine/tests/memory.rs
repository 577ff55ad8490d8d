//! Memory is bounded for any data: private pages stay within the budget, whatever is pushed. One test in its own process, because it
//! reads the whole process's size.

use std::path::Path;
use windrow_engine::{
    Accumulate, Codec, CombinedEdge, EdgeResult, EdgeSpec, EngineError, Folder, GroupArena, Identity, LocalSegment,
    Partitioning, PlainEdge, Share, open_concat, open_sorted,
};

/// Small where the code is slow.
const BUDGET: usize = if cfg!(debug_assertions) { 1 << 20 } else { 24 << 20 };
const SLACK: usize = 32 << 20;

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
        bytes.try_into().map(u64::from_le_bytes).map_err(|_| EngineError::Decode("eight bytes".into()))
    }
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
        self.peak = self.peak.max(private_bytes() - self.start.min(private_bytes()));
    }
    fn check(self, what: &str) {
        println!("{what}: {} MiB", self.peak >> 20);
        assert!(self.peak <= BUDGET + SLACK, "{what} used {} MiB of {} MiB", self.peak >> 20, BUDGET >> 20);
    }
}

fn watch() -> Watch {
    Watch { start: private_bytes(), peak: 0 }
}

fn spec(folder: &Path, codec: Codec) -> EdgeSpec {
    let identity = Identity { job: [3; 16], stage: 1, task: 2, attempt: 0, epoch: 1, output: 0, partition: 0 };
    let (folder, file) = (folder.join("runs"), folder.join("out"));
    EdgeSpec {
        folder,
        file,
        identity,
        partitioning: Partitioning::Hash(4),
        codec,
        share: Share::alone(BUDGET, 2),
        any_order: false,
        residents: None,
    }
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
fn fifty_times_the_budget_stays_within_the_budget() {
    let folder = tempfile::tempdir().unwrap();
    let mut state = 7;
    for codec in [Codec::Lz4, Codec::None] {
        let mut watch = watch();
        let spec = spec(folder.path(), codec);
        let mut edge = PlainEdge::new(spec.clone());
        let mut pushed = 0;
        let value = [7u8; 300];
        let mut n = 0u64;
        while pushed < 50 * BUDGET {
            let length = next(&mut state) as usize % 300;
            edge.push(&next(&mut state).to_be_bytes(), &value[..length]).unwrap();
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
        // The reader sorts all of it, which was spilled before.
        let sorted = open_sorted(local(&spec, &result), folder.path(), &Share::alone(BUDGET, 1), &alive).unwrap();
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
        watch.check("plain");
    }

    for long in [false, true] {
        let mut watch = watch();
        let spec = spec(folder.path(), Codec::Lz4);
        let mut edge = CombinedEdge::new(spec.clone(), Sum).unwrap();
        let mut pushed = 0;
        let mut n = 0u64;
        while pushed < 50 * BUDGET {
            let key = next(&mut state) % (1 << 40);
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
        let mut folder = Folder::new(Sum, folder.path(), &Share::alone(BUDGET, 1), 1 << 30).unwrap();
        let mut read = 0u64;
        open_concat(local(&spec, &result))
            .unwrap()
            .for_each(&alive, |key, value| {
                read += 1;
                if read.is_multiple_of(50_000) {
                    watch.look();
                }
                folder.push(key, Sum.decode(value)?)
            })
            .unwrap();
        let mut sum = 0;
        let spilled = folder
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

    let mut watch = watch();
    let mut arena = GroupArena::new(folder.path(), &Share::alone(BUDGET, 1));
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
