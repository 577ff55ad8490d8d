//! Numbers of partitions: which one an edge gets if the plan does not name one, and the bounds of both.
//!
//! The default number follows from the plan and the bytes of all inputs alone. Small inputs get a partition for each
//! 16 MiB. From 2,000 partitions on, their number grows with the input to the power of two thirds and their size to the
//! power of one third: every doubling of the input makes partitions 26 % larger, not only more numerous. The rule is
//! `min(u, cbrt(2,000 u²))` for an input of `u` times 16 MiB, in integers, so that every process computes the same number.
//!
//! | input | partitions | of about |
//! | --- | --- | --- |
//! | 1 GiB | 64 | 16 MiB |
//! | 31.25 GiB | 2,000 | 16 MiB |
//! | 1 TB | 19,224 | 50 MiB |
//! | 10 TB | 89,233 | 107 MiB |
//! | 100 TB | 414,187 | 230 MiB |

use super::{Input, Output, Plan};
use serde::{Deserialize, Serialize};

/// The number of partitions of an edge or a map-only output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Partitions {
    /// Chosen once per job from the plan and the bytes of all its inputs, independent of threads, workers and memory:
    /// see [`PartitionCounts`].
    Auto,
    /// This number.
    Count(u32),
}

impl Partitions {
    /// Most partitions of an edge. The scheduler holds about a kilobyte for each task, so a stage of this many takes
    /// about a gigabyte of the coordinator's memory.
    pub const MAX: u32 = 1_000_000;
    /// Bytes of input for each partition of an `Auto` edge, up to [`AUTO_EVEN`](Self::AUTO_EVEN) partitions.
    pub const AUTO_BYTES: u64 = 16 << 20;
    /// Number of partitions of `Auto` edges from which on their size grows, too.
    pub const AUTO_EVEN: u32 = 2_000;
    /// Most partitions of an `Auto` edge.
    pub const AUTO_MAX: u32 = 500_000;
    /// Most tasks of all stages together that read `Auto` edges; such a stage may have
    /// [`AUTO_EVEN`](Self::AUTO_EVEN) partitions in any case.
    pub const AUTO_TASKS_MAX: u32 = 1_000_000;

    /// The number of partitions of an `Auto` edge in a job with `input_bytes` bytes of input, if its plan has few
    /// stages. Costs about twenty multiplications.
    pub fn auto(input_bytes: u64) -> u32 {
        let units = u128::from(input_bytes.div_ceil(Self::AUTO_BYTES).max(1));
        if units <= u128::from(Self::AUTO_EVEN) {
            return units as u32;
        }
        // The largest number whose cube does not exceed this product of less than 92 bits.
        let cube = u128::from(Self::AUTO_EVEN) * units * units;
        let (mut fits, mut exceeds) = (Self::AUTO_EVEN, Self::AUTO_MAX + 1);
        while exceeds - fits > 1 {
            let middle = fits + (exceeds - fits) / 2;
            let does_fit = u128::from(middle).pow(3) <= cube;
            if does_fit { fits = middle } else { exceeds = middle }
        }
        fits
    }
}

/// The numbers of partitions in one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionCounts {
    auto: u32,
}

impl PartitionCounts {
    /// The numbers of a job with `input_bytes` bytes of input; `chosen` replaces the default. A plan with many stages
    /// gets a smaller default, so that the number of its tasks stays within bounds. Costs a pass over the plan.
    pub fn new(plan: &Plan, chosen: Option<u32>, input_bytes: u64) -> PartitionCounts {
        let default = || {
            let is_auto = |stage: &&super::Stage| plan.partitions_read(stage) == Some(Partitions::Auto);
            let readers = plan.stages.iter().filter(is_auto).count().max(1);
            let readers = u32::try_from(readers).unwrap_or(u32::MAX);
            let due = (Partitions::AUTO_TASKS_MAX / readers).max(Partitions::AUTO_EVEN);
            Partitions::auto(input_bytes).min(due)
        };
        PartitionCounts { auto: chosen.unwrap_or_else(default).max(1) }
    }

    /// The number of partitions of an edge.
    pub fn of(self, partitions: Partitions) -> u32 {
        match partitions {
            Partitions::Auto => self.auto,
            Partitions::Count(n) => n.max(1),
        }
    }
}

impl Plan {
    /// How many partitions a stage reads, and so how many tasks it has; `None` for one that reads a source.
    pub fn partitions_read(&self, stage: &super::Stage) -> Option<Partitions> {
        let edge = stage.inputs.iter().find_map(|input| match input {
            Input::Edge { from } => from.first(),
            Input::Source(_) | Input::Broadcast { .. } => None,
        });
        match self.output(*edge?) {
            Output::Edge { partitions, .. } => Some(*partitions),
            Output::Broadcast | Output::Sink { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::Framing;
    use crate::ids::{Digest, Port, StageId};
    use crate::plan::{Order, Partitioner, SourceSpec, Stage};
    use proptest::prelude::*;

    const TB: u64 = 1_000_000_000_000;

    /// A plan whose stage reads a source, and `readers` more that each read the edge of the stage before.
    fn plan(readers: u32, partitions: Partitions) -> Plan {
        let source = SourceSpec {
            inputs: vec!["/in".into()],
            framing: Framing::Whole,
            header: false,
            sample: false,
            as_is: false,
        };
        let stage = |inputs| Stage {
            label: String::new(),
            place: String::new(),
            inputs,
            outputs: vec![Output::Edge {
                partitions,
                partitioner: Partitioner::Hash,
                order: Order::Key,
                combined: false,
            }],
            deterministic: true,
        };
        let reads = |n| stage(vec![Input::Edge { from: vec![Port { stage: StageId(n), output: 0 }] }]);
        Plan {
            stages: std::iter::once(stage(vec![Input::Source(source)])).chain((0..readers).map(reads)).collect(),
            sinks: vec![],
            collects: vec![],
            sides: vec![],
            fingerprint: Digest([0; 32]),
        }
    }

    fn auto(plan: &Plan, input_bytes: u64) -> u32 {
        PartitionCounts::new(plan, None, input_bytes).of(Partitions::Auto)
    }

    #[test]
    fn default_counts_follow_the_input_to_a_petabyte() {
        let one = plan(1, Partitions::Auto);
        let counts = [0, 1, 1 << 30, 2_000 << 24, TB, 10 * TB, 100 * TB, 1_000 * TB, u64::MAX].map(|n| auto(&one, n));
        assert_eq!(counts, [1, 1, 64, 2_000, 19_224, 89_233, 414_187, 500_000, 500_000]);
        // A partition of 100 TB has between 64 and 256 MiB.
        let bytes = 100 * TB / u64::from(counts[6]);
        assert!((64 << 20..=256 << 20).contains(&bytes), "{bytes}");
    }

    #[test]
    fn many_stages_get_no_more_tasks_than_the_scheduler_takes() {
        for readers in [1, 2, 3, 10, 100, 499, 500] {
            let tasks = u64::from(readers) * u64::from(auto(&plan(readers, Partitions::Auto), 1_000 * TB));
            assert!(tasks <= u64::from(Partitions::AUTO_TASKS_MAX), "{readers} stages have {tasks} tasks");
        }
        assert_eq!(auto(&plan(20, Partitions::Auto), 10 * TB), 50_000);
        // Stages with numbers of their own do not count.
        assert_eq!(auto(&plan(20, Partitions::Count(3)), 10 * TB), 89_233);
        // No plan gets less than it had before there were larger numbers.
        assert_eq!(auto(&plan(5_000, Partitions::Auto), 10 * TB), 2_000);
    }

    #[test]
    fn chosen_number_replaces_the_default_only() {
        let counts = PartitionCounts::new(&plan(1, Partitions::Auto), Some(7), TB);
        assert_eq!((counts.of(Partitions::Auto), counts.of(Partitions::Count(9))), (7, 9));
        assert_eq!(counts.of(Partitions::Count(0)), 1);
    }

    #[test]
    fn explicit_number_beyond_the_maximum_is_refused() {
        let of = |n| {
            let mut plan = plan(1, Partitions::Count(n));
            plan.stages[1].outputs = vec![Output::Broadcast];
            plan.collects =
                vec![crate::plan::Collect { name: "c".into(), from: Port { stage: StageId(1), output: 0 } }];
            plan.check()
        };
        assert_eq!((of(1), of(20_000), of(Partitions::MAX)), (Ok(()), Ok(()), Ok(())));
        for n in [0, Partitions::MAX + 1, u32::MAX] {
            let wrong = of(n).unwrap_err().to_string();
            assert!(wrong.contains("from 1 to 1000000"), "{n}: {wrong}");
        }
    }

    proptest! {
        #[test]
        fn default_counts_are_monotone_and_unchanged_below_2_000(
            input in prop_oneof![0u64..64 << 30, 0u64..2_000 * TB, any::<u64>()],
            more in prop_oneof![0u64..32 << 20, 0u64..2_000 * TB],
            readers in 1u32..30,
        ) {
            let plan = plan(readers, Partitions::Auto);
            let larger = input.saturating_add(more);
            let (count, of_larger) = (auto(&plan, input), auto(&plan, larger));
            prop_assert!(count <= of_larger, "{count} of {input}, {of_larger} of {larger}");
            prop_assert!((1..=Partitions::AUTO_MAX).contains(&count));
            let before = input.div_ceil(16 << 20).max(1);
            if before <= 2_000 {
                prop_assert_eq!(u64::from(count), before);
            } else {
                prop_assert!(u64::from(count) <= before && count >= 2_000);
            }
            // Partitions do not become smaller as the input grows, apart from rounding.
            let bytes = |input: u64, count| input.div_ceil(16 << 20) as f64 / f64::from(count);
            prop_assert!(bytes(input, count) <= bytes(larger, of_larger) * 1.001);
        }
    }
}
