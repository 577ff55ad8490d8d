//! The distribution of numbers, in little memory: a histogram with steps of at most 3 %.
//!
//! Numbers below 64 have a bucket each; each doubling above that has 32 buckets. Equal numbers in any order give equal
//! distributions, so the summary of a replayed log is that of the live one.

use std::collections::BTreeMap;

/// Buckets of a doubling.
const STEPS: u64 = 32;
/// Numbers below have a bucket each.
const EXACT: u64 = 2 * STEPS;

/// A distribution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    buckets: BTreeMap<u16, u64>,
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
}

fn bucket(value: u64) -> u16 {
    if value < EXACT {
        return value as u16;
    }
    let doublings = value.ilog2() - EXACT.ilog2();
    // The leading bits, of which the first one is always set.
    let leading = value >> (doublings + 1);
    (EXACT + u64::from(doublings) * STEPS + leading - STEPS) as u16
}

/// The largest value of a bucket.
fn top(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < EXACT {
        return bucket;
    }
    let (doublings, leading) = ((bucket - EXACT) / STEPS, (bucket - EXACT) % STEPS + STEPS);
    let shift = doublings as u32 + 1;
    (leading << shift) | ((1 << shift) - 1)
}

impl Distribution {
    /// Adds a number.
    pub fn add(&mut self, value: u64) {
        *self.buckets.entry(bucket(value)).or_default() += 1;
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// How many numbers there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The smallest and the largest, exactly.
    pub fn range(&self) -> (u64, u64) {
        (self.min, self.max)
    }

    /// The number that this many hundredths of all do not exceed, at most 3 % too large. 0 without numbers.
    pub fn percentile(&self, hundredths: u64) -> u64 {
        let rank = (u128::from(self.count) * u128::from(hundredths)).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, n) in &self.buckets {
            seen += u128::from(*n);
            if seen >= rank {
                return top(*bucket).clamp(self.min, self.max);
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_three_percent() {
        let mut values: Vec<u64> = (0..10_000u64).map(|n| n * n % 1_000_003 * (1 + n % 7)).collect();
        let mut distribution = Distribution::default();
        values.iter().for_each(|v| distribution.add(*v));
        values.sort_unstable();
        for hundredths in [1, 5, 25, 50, 75, 95, 99, 100] {
            let exact = values[(values.len() * hundredths as usize).div_ceil(100) - 1];
            let found = distribution.percentile(hundredths);
            assert!(exact <= found && found as f64 <= exact as f64 * 1.032, "{hundredths}: {found} for {exact}");
        }
        assert_eq!(distribution.range(), (values[0], values[values.len() - 1]));
    }

    #[test]
    fn buckets_ascend_up_to_the_largest_number() {
        let values = (0..64).flat_map(|n| [(1u64 << n) - 1, 1 << n, (1 << n) + (1 << n) / 3]).chain([u64::MAX]);
        let mut values: Vec<u64> = values.collect();
        values.sort_unstable();
        for pair in values.windows(2) {
            assert!(bucket(pair[0]) <= bucket(pair[1]), "{pair:?}");
        }
        values.iter().for_each(|v| assert!(top(bucket(*v)) >= *v, "{v}"));
        assert_eq!(Distribution::default().percentile(50), 0);
    }
}
