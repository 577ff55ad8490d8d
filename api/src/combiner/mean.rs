//! The arithmetic mean.

use super::Combiner;
use super::simple::Number;
use crate::datum::DecodeError;

/// The mean of the values as a double; the sum behind it is exact, so the order does not matter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean;

/// Sum and count of the values so far.
pub struct MeanAcc<T> {
    total: T,
    count: u64,
}

/// What a mean is made from.
pub trait ToF64 {
    fn to_f64(self) -> f64;
}
macro_rules! to_f64 { ($($t:ty),*) => {$( impl ToF64 for $t { fn to_f64(self) -> f64 { self as f64 } } )*} }
to_f64!(u64, i64, u128, i128, f64);

impl<V: Number<Out: ToF64>> Combiner<V> for Mean {
    type Acc = MeanAcc<V::Total>;
    type Out = f64;
    #[inline]
    fn create(&self, value: V::Ref<'_>) -> Self::Acc {
        MeanAcc { total: V::total(value), count: 1 }
    }
    #[inline]
    fn merge(&self, into: &mut Self::Acc, other: Self::Acc) {
        V::add(&mut into.total, other.total);
        into.count += other.count;
    }
    fn finish(&self, acc: Self::Acc) -> f64 {
        V::finish(acc.total).to_f64() / acc.count as f64
    }
    fn encode(&self, acc: &Self::Acc, out: &mut Vec<u8>) {
        out.extend_from_slice(&acc.count.to_le_bytes());
        V::encode_total(&acc.total, out)
    }
    fn decode(&self, bytes: &[u8]) -> Result<Self::Acc, DecodeError> {
        let (count, total) = bytes.split_first_chunk::<8>().ok_or_else(|| DecodeError::new("mean", "too short"))?;
        Ok(MeanAcc { total: V::decode_total(total)?, count: u64::from_le_bytes(*count) })
    }
    fn heap_bytes(&self, acc: &Self::Acc) -> usize {
        V::heap_bytes(&acc.total)
    }
}
