//! About how many bytes each partition of an output has, and which worker holds most of it: sums of the hints in reports.
//!
//! Hints are added once for each task and then dropped, so this costs memory for each partition and not for each task and
//! partition. The worker with most of a partition is found by the majority vote of Boyer and Moore (1981), weighted by
//! bytes: it needs one candidate for each partition, however many tasks write to it.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use windrow_model::edge_report::bytes_of;
use windrow_model::{SizeHints, WorkerId};

/// The bytes that each hint stands for.
static BYTES: LazyLock<[u64; 256]> = LazyLock::new(|| std::array::from_fn(|hint| bytes_of(hint as u8)));

/// The sums of one output's hints.
pub(crate) struct PortSizes {
    partitions: u32,
    /// By group of [`SizeHints::width`] partitions; empty before the first report with dense hints.
    dense: Vec<u64>,
    /// By partition; empty before the first report with sparse hints.
    sparse: Vec<Vote>,
    /// The workers of the votes, and the index of each.
    holders: Vec<WorkerId>,
    index: BTreeMap<WorkerId, u32>,
}

/// The vote of the tasks that name a partition.
#[derive(Clone, Copy, Default)]
struct Vote {
    bytes: u64,
    /// Bytes by which the candidate leads.
    lead: u64,
    candidate: u32,
}

/// A worker with a large part of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    pub worker: WorkerId,
    /// About the bytes that it holds.
    pub local: u64,
    /// About all bytes of the tasks that name the partition.
    pub bytes: u64,
}

impl PortSizes {
    pub(crate) fn new(partitions: u32) -> Self {
        PortSizes { partitions, dense: Vec::new(), sparse: Vec::new(), holders: Vec::new(), index: BTreeMap::new() }
    }

    /// Adds the hints of a task whose output lies on this worker. They fit the number of partitions. Linear in the number
    /// of hints.
    pub(crate) fn add(&mut self, worker: WorkerId, sizes: &SizeHints) {
        match sizes {
            SizeHints::None => {}
            SizeHints::Sparse(list) => {
                if self.sparse.is_empty() {
                    self.sparse = vec![Vote::default(); self.partitions as usize];
                }
                let holders = &mut self.holders;
                let candidate = *self.index.entry(worker).or_insert_with(|| {
                    holders.push(worker);
                    holders.len() as u32 - 1
                });
                for (partition, hint) in list {
                    if let Some(vote) = self.sparse.get_mut(*partition as usize) {
                        vote.add(candidate, BYTES[usize::from(*hint)]);
                    }
                }
            }
            SizeHints::Dense(hints) => {
                self.dense.resize(self.dense.len().max(hints.len()), 0);
                let bytes = &*BYTES;
                for (sum, hint) in self.dense.iter_mut().zip(hints) {
                    *sum = sum.saturating_add(bytes[usize::from(*hint)]);
                }
            }
        }
    }

    /// Adds about the size of each partition to `sizes`, scaled so that the sum is exactly `total`. Without hints all
    /// partitions count as equal. Linear in the number of partitions.
    pub(crate) fn distribute(&self, total: u64, sizes: &mut [u64]) {
        let width = SizeHints::width(self.partitions);
        let estimate = |partition: u32| {
            let group = partition / width;
            let of_group = width.min(self.partitions - group * width);
            let dense = self.dense.get(group as usize).map_or(0, |sum| sum / u64::from(of_group));
            let sparse = self.sparse.get(partition as usize).map_or(0, |vote| vote.bytes);
            dense.saturating_add(sparse) as f64
        };
        let sum: f64 = (0..self.partitions).map(estimate).sum();
        let (scale, even) = match sum > 0.0 {
            true => (total as f64 / sum, 0.0),
            false => (total as f64 / f64::from(self.partitions), 1.0),
        };
        // Differences of a running sum, which ascends and ends at `total`: parts rounded one by one would not add up.
        let (mut running, mut given) = (0.0, 0);
        for (partition, size) in (0..self.partitions).zip(sizes) {
            running += estimate(partition) + even;
            let until = match partition + 1 == self.partitions {
                true => total,
                false => ((running * scale) as u64).clamp(given, total),
            };
            *size = size.saturating_add(until - given);
            given = until;
        }
    }

    /// The worker that holds most of a partition, if one stands out. A worker with five eighths of the bytes always does;
    /// one that does has at least a quarter.
    pub(crate) fn leader(&self, partition: usize) -> Option<Leader> {
        let Vote { bytes, lead, candidate } = *self.sparse.get(partition)?;
        // A candidate with a majority of `m` bytes leads by at least `2m - bytes`.
        let local = bytes - (bytes - lead) / 2;
        (lead > bytes / 4).then(|| Leader { worker: self.holders[candidate as usize], local, bytes })
    }
}

impl Vote {
    fn add(&mut self, candidate: u32, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.candidate == candidate {
            self.lead = self.lead.saturating_add(bytes);
        } else if bytes > self.lead {
            (self.candidate, self.lead) = (candidate, bytes - self.lead);
        } else {
            self.lead -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(n: u8) -> WorkerId {
        WorkerId::from_bytes([n; 16])
    }

    fn distributed(sizes: &PortSizes, total: u64) -> Vec<u64> {
        let mut all = vec![0; sizes.partitions as usize];
        sizes.distribute(total, &mut all);
        all
    }

    #[test]
    fn sizes_follow_the_hints_and_add_up() {
        for (partitions, every) in [(1, 1), (7, 1), (64, 3), (65, 1), (1_025, 1), (5_000, 1), (5_000, 100)] {
            let mut sizes = PortSizes::new(partitions);
            let bytes = |p: u32, n: u32| 1_000 * u64::from(1 + p % 7) * u64::from(n);
            let mut total = 0;
            for n in 1..20 {
                let of: Vec<(u32, u64)> = (0..partitions).step_by(every).map(|p| (p, bytes(p, n))).collect();
                total += of.iter().map(|(_, bytes)| bytes).sum::<u64>();
                sizes.add(worker(n as u8), &SizeHints::of(of.into_iter(), partitions));
            }
            let all = distributed(&sizes, total);
            assert_eq!(all.iter().sum::<u64>(), total, "{partitions}");
            if SizeHints::width(partitions) == 1 || every > 1 {
                for p in (0..partitions).step_by(every) {
                    let exact: u64 = (1..20).map(|n| bytes(p, n)).sum();
                    assert!(all[p as usize].abs_diff(exact) * 8 <= exact, "{p}: {} for {exact}", all[p as usize]);
                }
            }
        }
    }

    #[test]
    fn sizes_without_hints_are_even_and_huge_ones_add_up() {
        let mut sizes = PortSizes::new(3);
        assert_eq!(distributed(&sizes, 10), [3, 3, 4]);
        assert_eq!(distributed(&sizes, u64::MAX).iter().map(|n| u128::from(*n)).sum::<u128>(), u128::from(u64::MAX));
        sizes.add(worker(1), &SizeHints::Sparse(vec![(0, 255), (2, 1)]));
        assert_eq!(distributed(&sizes, 0), [0, 0, 0]);
        assert_eq!(distributed(&sizes, u64::MAX).iter().map(|n| u128::from(*n)).sum::<u128>(), u128::from(u64::MAX));
    }

    #[test]
    fn holder_of_most_of_a_partition_is_found() {
        // Each worker's bytes, in blocks and in turn.
        for weights in [vec![5u64, 3], vec![100, 0], vec![70, 10, 10, 10], vec![65, 1, 1, 1, 1, 30]] {
            for in_turn in [false, true] {
                let mut sizes = PortSizes::new(2);
                let most = weights.iter().max().copied().unwrap();
                let rounds: Vec<u64> = if in_turn { vec![1; most as usize] } else { vec![most] };
                let mut left = weights.clone();
                for round in rounds {
                    for (n, left) in left.iter_mut().enumerate() {
                        for _ in 0..round.min(*left) {
                            sizes.add(worker(n as u8), &SizeHints::Sparse(vec![(1, 50)]));
                        }
                        *left -= round.min(*left);
                    }
                }
                let leader = sizes.leader(1).map(|leader| leader.worker);
                let all: u64 = weights.iter().sum();
                assert!(most * 8 <= all * 5 || leader == Some(worker(0)), "{weights:?}: {leader:?}");
                assert_eq!(sizes.leader(0), None);
            }
        }
    }

    #[test]
    fn no_worker_leads_where_many_hold_the_same() {
        let mut sizes = PortSizes::new(1);
        (0..100).for_each(|n| sizes.add(worker(n), &SizeHints::Sparse(vec![(0, 50)])));
        assert_eq!(sizes.leader(0), None);
    }
}
