//! The arithmetic mean.

use super::simple::Number;
use super::wide::{Wide64, Wide128};
use super::{Combiner, ExactSum};
use crate::datum::DecodeError;

/// The mean of the values as a double: their exact sum divided by their number, rounded once. It does not depend on the
/// order of the values, and does not overflow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean;

/// The sum and the number of the values so far.
pub struct MeanAcc<T> {
    total: T,
    count: u64,
}

/// A total that is exact until it is divided.
pub trait ExactTotal: Sized + Send + 'static {
    /// Adds another total.
    fn add(&mut self, other: Self);
    /// Returns the total divided by `count`, which is not zero, rounded once.
    fn mean(self, count: u64) -> f64;
    /// Appends the encoding of the total.
    fn encode(&self, out: &mut Vec<u8>);
    /// Decodes a total.
    ///
    /// # Errors
    /// The bytes are not an encoding of a total.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;
    /// The memory outside of `self`, in bytes.
    fn heap_bytes(&self) -> usize {
        0
    }
}

macro_rules! integers {
    ($($t:ty),*) => {$(
        impl ExactTotal for $t {
            #[inline]
            fn add(&mut self, other: Self) {
                <$t>::add(self, other)
            }
            fn mean(self, count: u64) -> f64 {
                <$t>::mean(self, count)
            }
            fn encode(&self, out: &mut Vec<u8>) {
                <$t>::encode(*self, out)
            }
            fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                <$t>::decode(bytes)
            }
        }
    )*};
}
integers!(Wide64, Wide128);

impl ExactTotal for ExactSum {
    #[inline]
    fn add(&mut self, other: Self) {
        ExactSum::add(self, other)
    }
    fn mean(self, count: u64) -> f64 {
        ExactSum::mean(self, count)
    }
    fn encode(&self, out: &mut Vec<u8>) {
        ExactSum::encode(self, out)
    }
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        ExactSum::decode(bytes)
    }
    fn heap_bytes(&self) -> usize {
        ExactSum::heap_bytes(self)
    }
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
