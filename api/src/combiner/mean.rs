//! The arithmetic mean.

use super::exact_total::ExactTotal;
use super::fold::Combiner;
use super::simple::Number;
use crate::data::decode_error::DecodeError;

/// The mean of the values as a double: their exact sum divided by their number, rounded once. It does not depend on the
/// order of the values, and does not overflow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean;

/// The sum and the number of the values so far.
pub struct MeanAcc<T> {
    total: T,
    count: u64,
}

impl<V: Number> Combiner<V> for Mean {
    type Acc = MeanAcc<V::Exact>;
    type Out = f64;
    #[inline]
    fn create(&self, value: V::Ref<'_>) -> Self::Acc {
        MeanAcc { total: V::exact(value), count: 1 }
    }
    #[inline]
    fn merge(&self, into: &mut Self::Acc, other: Self::Acc) {
        into.total.add(other.total);
        into.count += other.count;
    }
    fn finish(&self, acc: Self::Acc) -> f64 {
        // A key has at least one value, but a decoded accumulator may be damaged.
        acc.total.mean(acc.count.max(1))
    }
    fn encode(&self, acc: &Self::Acc, out: &mut Vec<u8>) {
        out.extend_from_slice(&acc.count.to_le_bytes());
        acc.total.encode(out)
    }
    fn decode(&self, bytes: &[u8]) -> Result<Self::Acc, DecodeError> {
        let (count, total) = bytes.split_first_chunk::<8>().ok_or_else(|| DecodeError::new("mean", "too short"))?;
        Ok(MeanAcc { total: ExactTotal::decode(total)?, count: u64::from_le_bytes(*count) })
    }
    fn heap_bytes(&self, acc: &Self::Acc) -> usize {
        acc.total.heap_bytes()
    }
}
