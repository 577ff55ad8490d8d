//! The trait of combiners, and tuples of combiners.

use crate::data::datum::{Datum, IntoDatum};
use crate::data::decode_error::DecodeError;

/// Folds values into an accumulator, in any grouping and any order: `merge` must be associative and commutative, or the
/// result depends on how the input is split.
///
/// The engine's tables hold accumulators unencoded. `encode` and `decode` are called only where an accumulator is
/// spilled or moved to another process.
///
/// ```
/// use windrow::prelude::*;
/// use windrow::DecodeError;
///
/// /// Whether all values of a key are true.
/// struct All;
/// impl Combiner<bool> for All {
///     type Acc = bool;
///     type Out = bool;
///     fn create(&self, v: bool) -> bool { v }
///     fn merge(&self, into: &mut bool, other: bool) { *into &= other }
///     fn finish(&self, acc: bool) -> bool { acc }
///     fn encode(&self, acc: &bool, out: &mut Vec<u8>) { out.push(*acc as u8) }
///     fn decode(&self, bytes: &[u8]) -> Result<bool, DecodeError> { Ok(bytes == [1]) }
/// }
/// fn all(pairs: &Pairs<String, bool>) -> Pairs<String, bool> { pairs.combine(All) }
/// ```
pub trait Combiner<V: Datum>: Send + Sync + 'static {
    /// The accumulator of a key's values.
    type Acc: Send + 'static;
    /// The result of `finish`: any type that can be emitted.
    type Out: IntoDatum;
    /// Creates the accumulator of one value.
    fn create(&self, value: V::Ref<'_>) -> Self::Acc;
    /// Merges another accumulator of the same key into `into`.
    fn merge(&self, into: &mut Self::Acc, other: Self::Acc);
    /// Converts the accumulator of all values of a key into the result.
    fn finish(&self, acc: Self::Acc) -> Self::Out;
    /// Appends the encoding of an accumulator.
    fn encode(&self, acc: &Self::Acc, out: &mut Vec<u8>);
    /// Decodes an accumulator.
    ///
    /// # Errors
    /// The bytes are not an encoding of an accumulator.
    fn decode(&self, bytes: &[u8]) -> Result<Self::Acc, DecodeError>;
    /// Appends what [`encode`](Self::encode) would append for the accumulator of this one value. It serves values that
    /// are moved before they are merged with another.
    #[inline]
    fn encode_value(&self, value: V::Ref<'_>, out: &mut Vec<u8>) {
        self.encode(&self.create(value), out)
    }
    /// Merges an encoded accumulator of the same key into `into`. Override it where that is cheaper than decoding first.
    ///
    /// # Errors
    /// The bytes are not an encoding of an accumulator.
    #[inline(always)]
    fn merge_encoded(&self, into: &mut Self::Acc, bytes: &[u8]) -> Result<(), DecodeError> {
        self.merge(into, self.decode(bytes)?);
        Ok(())
    }
    /// The memory that the accumulator holds outside of itself, in bytes. The engine uses it to bound memory.
    fn heap_bytes(&self, _: &Self::Acc) -> usize {
        0
    }
}

macro_rules! tuple_combiner {
    ($($C:ident $i:tt),*) => {
        /// Several combiners over the same values in one pass.
        impl<V: Datum, $($C: Combiner<V>),*> Combiner<V> for ($($C,)*) {
            type Acc = ($($C::Acc,)*);
            type Out = ($($C::Out,)*);
            fn create(&self, value: V::Ref<'_>) -> Self::Acc {
                ($(self.$i.create(V::shorten(value)),)*)
            }
            // Out of line, the accumulators of each value go through memory, which costs 7 % of the instructions of
            // `stations`.
            #[inline(always)]
            fn merge(&self, into: &mut Self::Acc, other: Self::Acc) {
                $(self.$i.merge(&mut into.$i, other.$i);)*
            }
            fn finish(&self, acc: Self::Acc) -> Self::Out {
                ($(self.$i.finish(acc.$i),)*)
            }
            fn encode(&self, acc: &Self::Acc, out: &mut Vec<u8>) {
                $(put_part(out, |out| self.$i.encode(&acc.$i, out));)*
            }
            fn encode_value(&self, value: V::Ref<'_>, out: &mut Vec<u8>) {
                $(put_part(out, |out| self.$i.encode_value(V::shorten(value), out));)*
            }
            fn decode(&self, mut bytes: &[u8]) -> Result<Self::Acc, DecodeError> {
                Ok(($({
                    let (part, rest) = part(bytes)?;
                    bytes = rest;
                    let _ = bytes;
                    self.$i.decode(part)?
                },)*))
            }
            fn heap_bytes(&self, acc: &Self::Acc) -> usize {
                0 $(+ self.$i.heap_bytes(&acc.$i))*
            }
        }
    };
}
tuple_combiner!(A 0, B 1);
tuple_combiner!(A 0, B 1, C 2);
tuple_combiner!(A 0, B 1, C 2, D 3);

/// Appends one part of a combined accumulator, in the form that [`part`] reads.
#[inline]
pub(super) fn put_part(out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    encode(out);
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

/// Splits off one part of a combined accumulator: a 4-byte little-endian length, then the bytes.
pub(super) fn part(bytes: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let short = || DecodeError::new("accumulator", "too short");
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(short)
}
