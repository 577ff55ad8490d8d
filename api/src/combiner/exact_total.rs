//! Totals that are exact until they are divided.

use super::exact_sum::ExactSum;
use super::wide::{Wide64, Wide128};
use crate::data::decode_error::DecodeError;

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
