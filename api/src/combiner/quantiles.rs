//! Quantiles by a mergeable sketch: a histogram of the leading bits of floats.
//!
//! The buckets are those of the bitwise interpolated mapping of DDSketch (Masson, Rim, Lee 2019): the sign, the exponent and
//! the first seven bits of the mantissa. So a bucket is at most 1/128 of its values wide, counts of buckets add up exactly, in
//! any order, and no logarithm is computed, which another machine might round in another way.

use super::fold::Combiner;
use super::ordered_float::{Quantity, code, value};
use crate::data::datum::Datum;
use crate::data::decode_error::DecodeError;
use std::collections::BTreeMap;

/// Values of a key up to which its quantiles are exact.
const EXACT_MAX: usize = 512;
/// Bits of a value's code that its bucket leaves out.
const BUCKET_BITS: u32 = 45;

/// The quantiles of the values of each key: `Quantiles([0.5, 0.99])` gives the median and the 99th percentile. The
/// `q`-quantile is the smallest value that at least the share `q` of the values does not exceed; 0 gives the smallest value
/// and 1 the largest. Shares outside of that count as the nearest of both.
///
/// Up to 512 values of a key the result is exact. Beyond that it differs from the exact value by at most 0.4 % of it; the
/// smallest and the largest value are always exact. It does not depend on the order of the values. Integers become floats. NaN
/// is the largest value. The memory of a key grows with the ratio of its largest to its smallest values: 128 counts for
/// each doubling.
///
/// ```
/// use windrow::prelude::*;
/// fn latencies(requests: &Pairs<String, u64>) -> Pairs<String, [f64; 2]> {
///     requests.combine(Quantiles([0.5, 0.99]))
/// }
/// # let lines: Vec<String> = (1..=101).map(|n| n.to_string()).collect();
/// # let got = windrow::testing::run(&lines, |l| latencies(&l.map(|l, out| { out.emit("k", l.parse::<u64>()?); Ok(()) })));
/// # assert_eq!(got.unwrap(), [("k".to_string(), [51.0, 100.0])]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Quantiles<const N: usize>(pub [f64; N]);

/// The values of a key, as codes.
#[derive(Debug)]
pub enum QuantilesAcc {
    /// A single value.
    One(u64),
    /// All values, in any order: at most 512.
    Few(Vec<u64>),
    /// Counts by bucket.
    Many(Buckets),
}

/// Counts of values by bucket, and the extremes.
#[derive(Debug)]
pub struct Buckets {
    counts: BTreeMap<u32, u64>,
    least: u64,
    largest: u64,
}

impl Buckets {
    fn of(values: &[u64]) -> Buckets {
        let mut buckets = Buckets { counts: BTreeMap::new(), least: u64::MAX, largest: 0 };
        values.iter().for_each(|v| buckets.add(*v));
        buckets
    }

    fn add(&mut self, value: u64) {
        self.include(value, value);
        *self.counts.entry((value >> BUCKET_BITS) as u32).or_default() += 1;
    }

    fn include(&mut self, least: u64, largest: u64) {
        self.least = self.least.min(least);
        self.largest = self.largest.max(largest);
    }

    /// A value for the one of this rank, from 1.
    fn of_rank(&self, rank: u64) -> f64 {
        let mut seen = 0u64;
        let found = self.counts.iter().find(|(_, count)| {
            seen = seen.saturating_add(**count);
            seen >= rank
        });
        let bucket = found.map_or(u32::MAX, |(bucket, _)| *bucket);
        let first = u64::from(bucket) << BUCKET_BITS;
        let (a, b) = (value(first), value(first | ((1 << BUCKET_BITS) - 1)));
        // The bucket of an infinity holds nothing else, and ends among the bits of NaN.
        let middle = if a.is_finite() && b.is_finite() { a + (b - a) / 2.0 } else { a };
        value(code(middle).clamp(self.least, self.largest))
    }
}

impl QuantilesAcc {
    fn into_buckets(self) -> Buckets {
        match self {
            QuantilesAcc::One(value) => Buckets::of(&[value]),
            QuantilesAcc::Few(values) => Buckets::of(&values),
            QuantilesAcc::Many(buckets) => buckets,
        }
    }
}

/// The rank, from 1, of a quantile of `count` values.
fn rank(q: f64, count: u64) -> u64 {
    // A product such as 0.55 * 100 is a little larger than the whole number it stands for.
    ((q.clamp(0.0, 1.0) * count as f64 - 1e-9).ceil() as u64).clamp(1, count.max(1))
}

const FEW: u8 = 0;
const MANY: u8 = 1;

impl<V: Quantity, const N: usize> Combiner<V> for Quantiles<N>
where
    [f64; N]: crate::data::datum::IntoDatum,
{
    type Acc = QuantilesAcc;
    type Out = [f64; N];

    #[inline]
    fn create(&self, value: V::Ref<'_>) -> QuantilesAcc {
        QuantilesAcc::One(code(V::quantity(value)))
    }

    fn merge(&self, into: &mut QuantilesAcc, other: QuantilesAcc) {
        use QuantilesAcc::{Few, Many, One};
        match (&mut *into, other) {
            (Many(buckets), One(value)) => buckets.add(value),
            (Many(buckets), Few(values)) => values.iter().for_each(|v| buckets.add(*v)),
            (Many(buckets), Many(others)) => {
                buckets.include(others.least, others.largest);
                others
                    .counts
                    .into_iter()
                    .for_each(|(bucket, count)| *buckets.counts.entry(bucket).or_default() += count)
            }
            (Few(values), One(value)) if values.len() < EXACT_MAX => values.push(value),
            (Few(values), Few(others)) if values.len() + others.len() <= EXACT_MAX => values.extend(others),
            (One(value), One(other)) => *into = Few(vec![*value, other]),
            (One(value), Few(mut others)) if others.len() < EXACT_MAX => {
                others.push(*value);
                *into = Few(others)
            }
            (_, other) => {
                let buckets = std::mem::replace(into, One(0)).into_buckets();
                *into = Many(buckets);
                Combiner::<V>::merge(self, into, other)
            }
        }
    }

    fn finish(&self, acc: QuantilesAcc) -> [f64; N] {
        match acc {
            QuantilesAcc::One(only) => self.0.map(|_| value(only)),
            QuantilesAcc::Few(mut values) => {
                values.sort_unstable();
                self.0.map(|q| value(values[rank(q, values.len() as u64) as usize - 1]))
            }
            QuantilesAcc::Many(buckets) => {
                let count = buckets.counts.values().fold(0u64, |sum, n| sum.saturating_add(*n));
                let of = |q: f64| match rank(q, count) {
                    1 => value(buckets.least),
                    rank if rank == count => value(buckets.largest),
                    rank => buckets.of_rank(rank),
                };
                self.0.map(of)
            }
        }
    }

    fn encode(&self, acc: &QuantilesAcc, out: &mut Vec<u8>) {
        let few = |values: &[u64], out: &mut Vec<u8>| {
            // In order, so that equal accumulators have equal bytes.
            let mut values = values.to_vec();
            values.sort_unstable();
            out.push(FEW);
            values.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
        };
        match acc {
            QuantilesAcc::One(value) => few(&[*value], out),
            QuantilesAcc::Few(values) => few(values, out),
            QuantilesAcc::Many(buckets) => {
                out.push(MANY);
                out.extend_from_slice(&buckets.least.to_le_bytes());
                out.extend_from_slice(&buckets.largest.to_le_bytes());
                buckets.counts.iter().for_each(|(bucket, count)| <(u32, u64)>::encode::<false>((*bucket, *count), out));
            }
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<QuantilesAcc, DecodeError> {
        let invalid = || DecodeError::new("quantiles", "invalid length or form");
        let word = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).map_err(|_| invalid());
        let (form, bytes) = bytes.split_first().ok_or_else(invalid)?;
        match *form {
            FEW if !bytes.is_empty() && bytes.len() <= EXACT_MAX * 8 => {
                Ok(QuantilesAcc::Few(bytes.chunks(8).map(word).collect::<Result<_, _>>()?))
            }
            MANY => {
                let (extremes, counts) = bytes.split_at_checked(16).ok_or_else(invalid)?;
                let (least, largest) = (word(&extremes[..8])?, word(&extremes[8..])?);
                let pair = |bytes: &[u8]| {
                    let (bucket, count) = bytes.split_first_chunk::<4>().ok_or_else(invalid)?;
                    let count = count.try_into().map(u64::from_be_bytes).map_err(|_| invalid())?;
                    Ok((u32::from_be_bytes(*bucket), count))
                };
                let counts = counts.chunks(12).map(pair).collect::<Result<_, DecodeError>>()?;
                Ok(QuantilesAcc::Many(Buckets { counts, least, largest }))
            }
            _ => Err(invalid()),
        }
    }

    fn heap_bytes(&self, acc: &QuantilesAcc) -> usize {
        match acc {
            QuantilesAcc::One(_) => 0,
            QuantilesAcc::Few(values) => values.capacity() * 8,
            QuantilesAcc::Many(buckets) => buckets.counts.len() * 24,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OF: Quantiles<5> = Quantiles([0.0, 0.3, 0.5, 0.999, 1.0]);

    /// The accumulator of these values, encoded and decoded after each.
    fn folded(values: &[f64]) -> QuantilesAcc {
        let mut all: Option<QuantilesAcc> = None;
        for value in values {
            let new = Combiner::<f64>::create(&OF, *value);
            match &mut all {
                None => all = Some(new),
                Some(all) => Combiner::<f64>::merge(&OF, all, new),
            }
        }
        let mut bytes = Vec::new();
        Combiner::<f64>::encode(&OF, &all.unwrap(), &mut bytes);
        Combiner::<f64>::decode(&OF, &bytes).unwrap()
    }

    fn bytes(acc: &QuantilesAcc) -> Vec<u8> {
        let mut bytes = Vec::new();
        Combiner::<f64>::encode(&OF, acc, &mut bytes);
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn grouping_does_not_matter_and_quantiles_are_close(
            values in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::INFINITE, 1..700),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut merged = folded(&values);
            let cut = cut.index(values.len());
            if cut > 0 {
                let (left, right) = values.split_at(cut);
                for (a, b) in [(left, right), (right, left)] {
                    merged = folded(a);
                    Combiner::<f64>::merge(&OF, &mut merged, folded(b));
                    prop_assert_eq!(bytes(&merged), bytes(&folded(&values)));
                }
            }
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let got = Combiner::<f64>::finish(&OF, merged);
            for (q, got) in OF.0.iter().zip(got) {
                let want = sorted[rank(*q, sorted.len() as u64) as usize - 1];
                prop_assert!(got == want || (got - want).abs() <= want.abs() / 256.0, "{} for {}", got, want);
            }
        }
    }

    #[test]
    fn ranks_of_whole_products_are_exact() {
        assert_eq!([rank(0.0, 10), rank(0.1, 10), rank(0.55, 100), rank(1.0, 7), rank(7.0, 3)], [1, 1, 55, 7, 3]);
        assert_eq!(rank(f64::NAN, 5), 1);
    }

    #[test]
    fn not_a_number_is_the_largest() {
        let values: Vec<f64> = [f64::NAN].into_iter().chain((0..600).map(f64::from)).collect();
        let got = Combiner::<f64>::finish(&OF, folded(&values));
        assert!(got[0] == 0.0 && got[2] < 600.0 && got[4].is_nan(), "{got:?}");
    }
}
