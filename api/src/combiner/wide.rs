//! Integers with one word more than their addends, so that a total is exact until it is read. Partial sums of signed
//! numbers may lie far outside of the range of the whole, and which partial sums occur depends on how the input is
//! split.

use super::rounding::quotient;
use crate::data::decode_error::DecodeError;

macro_rules! wide {
    ($(#[$doc:meta])* $name:ident, $low:ty, $signed:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            low: $low,
            /// The high part: the value is `high * 2^BITS + low`.
            high: i64,
        }

        impl $name {
            #[inline]
            pub(super) fn of_signed(value: $signed) -> Self {
                $name { low: value as $low, high: if value < 0 { -1 } else { 0 } }
            }
            #[inline]
            pub(super) fn of_unsigned(value: $low) -> Self {
                $name { low: value, high: 0 }
            }
            #[inline]
            pub(super) fn add(&mut self, other: Self) {
                let (low, carry) = self.low.overflowing_add(other.low);
                self.low = low;
                // It would take 2^63 addends for this to wrap around.
                self.high = self.high.wrapping_add(other.high).wrapping_add(i64::from(carry));
            }
            /// Returns the value, if it fits the type of the addends.
            #[inline]
            pub(super) fn signed(self) -> Option<$signed> {
                let value = self.low as $signed;
                (self.high == if value < 0 { -1 } else { 0 }).then_some(value)
            }
            /// Returns the value divided by `count`, which is not zero, rounded once.
            pub(super) fn mean(self, count: u64) -> f64 {
                let negative = self.high < 0;
                let (low, high) = match negative {
                    true => (self.low.wrapping_neg(), (!self.high).wrapping_add(i64::from(self.low == 0))),
                    false => (self.low, self.high),
                };
                let mut limbs = [0u64; size_of::<$low>() / 8 + 1];
                let bytes = low.to_le_bytes();
                let words = bytes.as_chunks::<8>().0;
                limbs.iter_mut().zip(words).for_each(|(limb, word)| *limb = u64::from_le_bytes(*word));
                limbs[words.len()] = high as u64;
                quotient(negative, &limbs, 0, count)
            }
            /// Appends the value in the width of an addend if it fits, else in full.
            #[inline]
            pub(super) fn encode(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.low.to_le_bytes());
                if self.signed().is_none() {
                    out.extend_from_slice(&self.high.to_le_bytes());
                }
            }
            #[inline]
            pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                let wrong = || DecodeError::new("sum", "wrong length");
                let (low, high) = bytes.split_first_chunk().ok_or_else(wrong)?;
                let low = <$low>::from_le_bytes(*low);
                if high.is_empty() {
                    return Ok(Self::of_signed(low as $signed));
                }
                Ok($name { low, high: i64::from_le_bytes(high.try_into().map_err(|_| wrong())?) })
            }
        }
    };
}
wide! {
    /// The exact total of integers of up to 64 bits.
    Wide64, u64, i64
}
wide! {
    /// The exact total of integers of 128 bits.
    Wide128, u128, i128
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn totals_equal_those_of_wider_integers(values in prop::collection::vec(any::<i64>(), 1..40), cut in any::<prop::sample::Index>()) {
            let (a, b) = values.split_at(cut.index(values.len()));
            let sum = |values: &[i64]| {
                let mut total = Wide64::of_signed(0);
                values.iter().for_each(|v| total.add(Wide64::of_signed(*v)));
                let mut bytes = Vec::new();
                total.encode(&mut bytes);
                prop_assert_eq!(Wide64::decode(&bytes).unwrap(), total);
                Ok(total)
            };
            let mut total = sum(a)?;
            total.add(sum(b)?);
            let exact: i128 = values.iter().map(|v| i128::from(*v)).sum();
            prop_assert_eq!(total.signed(), i64::try_from(exact).ok());
            prop_assert_eq!(total.mean(1), exact as f64);
        }

        #[test]
        fn totals_of_128_bits_are_exact(values in prop::collection::vec(any::<i128>(), 1..40)) {
            let mut total = Wide128::of_signed(0);
            values.iter().for_each(|v| total.add(Wide128::of_signed(*v)));
            let mut bytes = Vec::new();
            total.encode(&mut bytes);
            prop_assert_eq!(Wide128::decode(&bytes).unwrap(), total);
            values[1..].iter().for_each(|v| {
                // Subtracts the value again in two steps, because the smallest value has no opposite.
                total.add(Wide128::of_signed(-(v / 2)));
                total.add(Wide128::of_signed(-(v - v / 2)));
            });
            prop_assert_eq!(total.signed(), Some(values[0]));
        }
    }
}
