//! Counts of values between given bounds.

use super::fold::Combiner;
use super::ordered_float::{Quantity, code};
use crate::data::decode_error::DecodeError;

/// How many values of each key lie between the bounds: `Histogram::new([0.0, 10.0])` counts those below 0, those from 0 to
/// below 10, and those from 10, as a list of three numbers. The counts are exact. NaN counts as larger than any bound.
///
/// ```
/// use windrow::prelude::*;
/// fn sizes(files: &Pairs<String, u64>) -> Pairs<String, Vec<u64>> {
///     files.combine(Histogram::new([1e3, 1e6]))
/// }
/// # let got = windrow::testing::run(["1", "1000", "7", "5000000"], |l| sizes(&l.map(|l, out| {
/// #     out.emit("k", l.parse::<u64>()?);
/// #     Ok(())
/// # })));
/// # assert_eq!(got.unwrap(), [("k".to_string(), vec![2, 1, 1])]);
/// ```
#[derive(Clone, Debug)]
pub struct Histogram {
    /// The codes of the bounds, ascending.
    bounds: Vec<u64>,
}

impl Histogram {
    /// Counts between these bounds, in any order; equal ones count as one.
    pub fn new(bounds: impl IntoIterator<Item = f64>) -> Self {
        let mut bounds: Vec<u64> = bounds.into_iter().map(code).collect();
        bounds.sort_unstable();
        bounds.dedup();
        Histogram { bounds }
    }
}

/// The counts of a key.
#[derive(Debug)]
pub enum HistogramAcc {
    /// A single value, by its place in the list of counts.
    One(usize),
    /// All counts.
    Counts(Vec<u64>),
}

impl HistogramAcc {
    fn into_counts(self, length: usize) -> Vec<u64> {
        match self {
            HistogramAcc::Counts(counts) => counts,
            HistogramAcc::One(at) => {
                let mut counts = vec![0; length];
                counts[at] = 1;
                counts
            }
        }
    }
}

impl<V: Quantity> Combiner<V> for Histogram {
    type Acc = HistogramAcc;
    type Out = Vec<u64>;

    #[inline]
    fn create(&self, value: V::Ref<'_>) -> HistogramAcc {
        let value = code(V::quantity(value));
        HistogramAcc::One(self.bounds.partition_point(|bound| *bound <= value))
    }

    fn merge(&self, into: &mut HistogramAcc, other: HistogramAcc) {
        let length = self.bounds.len() + 1;
        let mut counts = std::mem::replace(into, HistogramAcc::One(0)).into_counts(length);
        match other {
            HistogramAcc::One(at) => counts[at] += 1,
            HistogramAcc::Counts(others) => counts.iter_mut().zip(others).for_each(|(a, b)| *a += b),
        }
        *into = HistogramAcc::Counts(counts);
    }

    fn finish(&self, acc: HistogramAcc) -> Vec<u64> {
        acc.into_counts(self.bounds.len() + 1)
    }

    fn encode(&self, acc: &HistogramAcc, out: &mut Vec<u8>) {
        let mut put = |n: u64| out.extend_from_slice(&n.to_le_bytes());
        match acc {
            HistogramAcc::One(at) => (0..=self.bounds.len()).for_each(|i| put(u64::from(i == *at))),
            HistogramAcc::Counts(counts) => counts.iter().for_each(|n| put(*n)),
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<HistogramAcc, DecodeError> {
        match bytes.as_chunks::<8>() {
            (counts, []) if counts.len() == self.bounds.len() + 1 => {
                Ok(HistogramAcc::Counts(counts.iter().map(|n| u64::from_le_bytes(*n)).collect()))
            }
            _ => Err(DecodeError::new("histogram", "wrong length")),
        }
    }

    fn heap_bytes(&self, acc: &HistogramAcc) -> usize {
        match acc {
            HistogramAcc::One(_) => 0,
            HistogramAcc::Counts(counts) => counts.capacity() * 8,
        }
    }
}
