//! The combiners Sum, Min, Max and Count.

use super::exact_sum::ExactSum;
use super::exact_total::ExactTotal;
use super::fold::Combiner;
use super::wide::{Wide64, Wide128};
use crate::data::arena::Arena;
use crate::data::datum::list::Scalar;
use crate::data::datum::{Datum, IntoDatum, Reader};
use crate::data::decode_error::DecodeError;
use crate::task::unwinding::Unwinding;
use windrow_model::{Code, Failure};

/// Sums the values. Integers are widened to 64 (or 128) bits, so `emit(word, 1)` does not overflow soon. A key whose
/// sum exceeds that width fails the job instead of wrapping around. Partial sums may exceed it, so the result does not
/// depend on how the input is split. Float sums are exact until the end and rounded once, so they do not depend on the
/// order of the values.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum;
/// Keeps the smallest value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Min;
/// Keeps the largest value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Max;
/// Counts the values of any type.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count;

/// Numbers that can be summed.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a number", label = "cannot be summed")]
pub trait Number: Datum {
    /// The accumulator of a sum.
    type Total: Send + 'static;
    /// The type of the sum.
    type Out: IntoDatum;
    /// The exact total of any number of values, without rounding, from which a mean is computed.
    type Exact: ExactTotal;
    /// Returns the exact total of one value.
    fn exact(value: Self::Ref<'_>) -> Self::Exact;
    /// Returns the accumulator of one value.
    fn total(value: Self::Ref<'_>) -> Self::Total;
    /// Adds another accumulator to `into`.
    fn add(into: &mut Self::Total, other: Self::Total);
    /// Converts the accumulator into the sum.
    fn finish(total: Self::Total) -> Self::Out;
    /// Appends the encoding of an accumulator.
    fn encode_total(total: &Self::Total, out: &mut Vec<u8>);
    /// Decodes an accumulator.
    ///
    /// # Errors
    /// The bytes are not an encoding of an accumulator.
    fn decode_total(bytes: &[u8]) -> Result<Self::Total, DecodeError>;
    /// Appends the encoding of the accumulator of one value.
    #[inline]
    fn encode_value(value: Self::Ref<'_>, out: &mut Vec<u8>) {
        Self::encode_total(&Self::total(value), out)
    }
    /// Adds an encoded accumulator to `into`.
    ///
    /// # Errors
    /// The bytes are not an encoding of an accumulator.
    #[inline(always)]
    fn add_encoded(into: &mut Self::Total, bytes: &[u8]) -> Result<(), DecodeError> {
        Self::add(into, Self::decode_total(bytes)?);
        Ok(())
    }
    /// The memory outside of the accumulator, in bytes.
    #[inline]
    fn heap_bytes(_: &Self::Total) -> usize {
        0
    }
}

/// Unsigned numbers: no partial sum is larger than the whole, so overflow does not depend on the split.
macro_rules! unsigned {
    ($($t:ty => $w:ty, $exact:ident;)*) => {$(
        impl Number for $t {
            type Total = $w;
            type Out = $w;
            type Exact = $exact;
            #[inline]
            fn total(value: $t) -> $w { value as $w }
            #[inline]
            fn add(into: &mut $w, other: $w) {
                match into.checked_add(other) {
                    Some(sum) => *into = sum,
                    None => overflow(stringify!($w)),
                }
            }
            fn finish(total: $w) -> $w { total }
            // Most totals that are moved are of one value or of a few: they take one byte of a shuffle.
            #[inline]
            fn encode_total(total: &$w, out: &mut Vec<u8>) {
                match u8::try_from(*total) {
                    Ok(byte) => out.push(byte),
                    Err(_) => out.extend_from_slice(&total.to_le_bytes()),
                }
            }
            #[inline]
            fn decode_total(bytes: &[u8]) -> Result<$w, DecodeError> {
                if let [byte] = bytes {
                    return Ok((*byte).into());
                }
                let bytes = bytes.try_into().map_err(|_| DecodeError::new("sum", "wrong length"))?;
                Ok(<$w>::from_le_bytes(bytes))
            }
            #[inline]
            fn exact(value: $t) -> $exact { $exact::of_unsigned(value.into()) }
        }
    )*};
}
unsigned! {
    u8 => u64, Wide64;
    u16 => u64, Wide64;
    u32 => u64, Wide64;
    u64 => u64, Wide64;
    u128 => u128, Wide128;
}

/// Signed numbers: the total has an extra word, and is checked when it is read.
macro_rules! signed {
    ($($t:ty => $w:ty, $exact:ident;)*) => {$(
        impl Number for $t {
            type Total = $exact;
            type Out = $w;
            type Exact = $exact;
            #[inline]
            fn total(value: $t) -> $exact { $exact::of_signed(value.into()) }
            #[inline]
            fn add(into: &mut $exact, other: $exact) { into.add(other) }
            fn finish(total: $exact) -> $w { total.signed().unwrap_or_else(|| overflow(stringify!($w))) }
            #[inline]
            fn encode_total(total: &$exact, out: &mut Vec<u8>) { total.encode(out) }
            #[inline]
            fn decode_total(bytes: &[u8]) -> Result<$exact, DecodeError> { $exact::decode(bytes) }
            #[inline]
            fn exact(value: $t) -> $exact { Self::total(value) }
        }
    )*};
}
signed! {
    i8 => i64, Wide64;
    i16 => i64, Wide64;
    i32 => i64, Wide64;
    i64 => i64, Wide64;
    i128 => i128, Wide128;
}

#[cold]
fn overflow(width: &str) -> ! {
    let message = format!("a sum does not fit into {width}: emit wider numbers");
    // All values of the key contribute to the overflow, not only the last one.
    Unwinding { failure: Failure::new(Code::UserError, message), of_record: false }.start()
}

macro_rules! floats {
    ($($t:ty),*) => {$(
        impl Number for $t {
            type Total = ExactSum;
            type Out = f64;
            type Exact = ExactSum;
            #[inline]
            fn exact(value: $t) -> ExactSum { ExactSum::of(value as f64) }
            #[inline]
            fn total(value: $t) -> ExactSum { ExactSum::of(value as f64) }
            #[inline]
            fn add(into: &mut ExactSum, other: ExactSum) { into.add(other) }
            fn finish(total: ExactSum) -> f64 { total.value() }
            #[inline]
            fn encode_total(total: &ExactSum, out: &mut Vec<u8>) { total.encode(out) }
            #[inline]
            fn decode_total(bytes: &[u8]) -> Result<ExactSum, DecodeError> { ExactSum::decode(bytes) }
            #[inline]
            fn encode_value(value: $t, out: &mut Vec<u8>) { ExactSum::encode_one(value as f64, out) }
            #[inline(always)]
            fn add_encoded(into: &mut ExactSum, bytes: &[u8]) -> Result<(), DecodeError> { into.add_encoded(bytes) }
            #[inline]
            fn heap_bytes(total: &ExactSum) -> usize { total.heap_bytes() }
        }
    )*};
}
floats!(f32, f64);

impl<V: Number> Combiner<V> for Sum {
    type Acc = V::Total;
    type Out = V::Out;
    #[inline]
    fn create(&self, value: V::Ref<'_>) -> V::Total {
        V::total(value)
    }
    #[inline]
    fn merge(&self, into: &mut V::Total, other: V::Total) {
        V::add(into, other)
    }
    fn finish(&self, acc: V::Total) -> V::Out {
        V::finish(acc)
    }
    #[inline]
    fn encode(&self, acc: &V::Total, out: &mut Vec<u8>) {
        V::encode_total(acc, out)
    }
    #[inline]
    fn decode(&self, bytes: &[u8]) -> Result<V::Total, DecodeError> {
        V::decode_total(bytes)
    }
    #[inline]
    fn encode_value(&self, value: V::Ref<'_>, out: &mut Vec<u8>) {
        V::encode_value(value, out)
    }
    #[inline(always)]
    fn merge_encoded(&self, into: &mut V::Total, bytes: &[u8]) -> Result<(), DecodeError> {
        V::add_encoded(into, bytes)
    }
    #[inline]
    fn heap_bytes(&self, acc: &V::Total) -> usize {
        V::heap_bytes(acc)
    }
}

/// Decodes a number, which borrows nothing.
fn number<V: Scalar>(bytes: &[u8]) -> Result<V, DecodeError> {
    let arena = Arena::new();
    V::decode::<true>(&mut Reader::new(bytes, &arena))
}

macro_rules! extreme {
    ($name:ident, $order:pat) => {
        impl<V: Scalar + IntoDatum> Combiner<V> for $name {
            type Acc = V;
            type Out = V;
            #[inline]
            fn create(&self, value: V) -> V {
                value
            }
            #[inline(always)]
            fn merge(&self, into: &mut V, other: V) {
                if matches!(order(*into, other), $order) {
                    *into = other
                }
            }
            fn finish(&self, acc: V) -> V {
                acc
            }
            fn encode(&self, acc: &V, out: &mut Vec<u8>) {
                V::encode::<true>(*acc, out)
            }
            fn decode(&self, bytes: &[u8]) -> Result<V, DecodeError> {
                number(bytes)
            }
        }
    };
}
extreme!(Min, std::cmp::Ordering::Greater);
extreme!(Max, std::cmp::Ordering::Less);

/// Compares the encoded bytes, an order that is total for floats, too. Encoding numbers does not use the scratch
/// vectors.
#[inline(always)]
fn order<V: Scalar>(a: V, b: V) -> std::cmp::Ordering {
    let (mut x, mut y) = (Vec::new(), Vec::new());
    V::with_bytes(a, &mut x, |a| V::with_bytes(b, &mut y, |b| a.cmp(b)))
}

impl<V: Datum> Combiner<V> for Count {
    type Acc = u64;
    type Out = u64;
    #[inline]
    fn create(&self, _: V::Ref<'_>) -> u64 {
        1
    }
    #[inline]
    fn merge(&self, into: &mut u64, other: u64) {
        *into += other
    }
    fn finish(&self, acc: u64) -> u64 {
        acc
    }
    fn encode(&self, acc: &u64, out: &mut Vec<u8>) {
        <u64 as Number>::encode_total(acc, out)
    }
    fn decode(&self, bytes: &[u8]) -> Result<u64, DecodeError> {
        <u64 as Number>::decode_total(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_below_256_take_one_byte() {
        for (total, length) in [(0u64, 1), (1, 1), (255, 1), (256, 8), (u64::MAX, 8)] {
            let (mut sum, mut count) = (Vec::new(), Vec::new());
            <u64 as Number>::encode_total(&total, &mut sum);
            Combiner::<u64>::encode(&Count, &total, &mut count);
            assert_eq!((sum.len(), &sum), (length, &count));
            assert_eq!(<u64 as Number>::decode_total(&sum).ok(), Some(total));
        }
        assert!(<u64 as Number>::decode_total(&[0; 2]).is_err());
    }
}
