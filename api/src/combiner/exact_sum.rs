//! A sum of doubles that is exact until it is read, so that its value does not depend on the order of the addends.
//!
//! Numbers whose bits lie between 2^-96 and 2^30 (nearly all numbers in practice) are added to a 128-bit fixed-point
//! window. Other numbers go to a wide accumulator that spans the whole range of a double, in 32-bit digits kept in
//! 64-bit words so that carries can be deferred (Kulisch's long accumulator). Reading rounds once, to nearest, ties to
//! even.

use super::rounding::{power_of_two, quotient, scaled};
use crate::data::decode_error::DecodeError;

/// The window's unit is 2^-WINDOW_SCALE.
const WINDOW_SCALE: i32 = 96;
/// The number of bits of the window that addends may use. The other bits are for the number of addends.
const WINDOW_BITS: i32 = 126;
/// The smallest double is 2^-1074. Digit `i` of the wide accumulator weighs 2^(32 i - WIDE_SCALE).
const WIDE_SCALE: i32 = 1088;
const WIDE_DIGITS: usize = 70;

/// The wide accumulator.
#[derive(Clone, Debug)]
struct Wide {
    digits: [i64; WIDE_DIGITS],
    /// Number of additions since carries were last propagated.
    pending: u32,
}

/// An exact sum of any number of doubles. Infinities and NaN behave as in floating point.
#[derive(Clone, Debug, Default)]
pub struct ExactSum {
    window: i128,
    wide: Option<Box<Wide>>,
    /// The sum of the addends that are not finite; 0 if there are none.
    special: f64,
}

/// Returns `(mantissa, exponent)` with `mantissa * 2^exponent == value`, for a finite value.
fn split(value: f64) -> (i64, i32) {
    let bits = value.to_bits();
    let fraction = (bits & ((1 << 52) - 1)) as i64;
    let exponent = ((bits >> 52) & 0x7FF) as i32;
    let (mantissa, exponent) = if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
    (if value.is_sign_negative() { -mantissa } else { mantissa }, exponent)
}

impl Wide {
    fn new() -> Box<Wide> {
        Box::new(Wide { digits: [0; WIDE_DIGITS], pending: 0 })
    }

    /// Adds `value * 2^exponent`. The exponent is at least -1088.
    fn add(&mut self, value: i128, exponent: i32) {
        let shift = (exponent + WIDE_SCALE) as usize;
        let (mut digit, bit) = (shift / 32, shift % 32);
        let sign = if value < 0 { -1 } else { 1 };
        let mut rest = value.unsigned_abs();
        // The first piece is what fits below the next digit. Whole digits follow.
        let low = (rest as u32 as u64) << bit;
        self.digits[digit] += sign * (low as u32 as i64);
        let mut carry = low >> 32;
        rest >>= 32;
        while rest != 0 || carry != 0 {
            digit += 1;
            let piece = ((rest as u32 as u64) << bit) + carry;
            self.digits[digit] += sign * (piece as u32 as i64);
            carry = piece >> 32;
            rest >>= 32;
        }
        self.pending += 1;
        if self.pending == 1 << 30 {
            self.carry();
        }
    }

    /// Propagates carries: every digit except the last is then in 0..2^32.
    fn carry(&mut self) {
        for i in 0..WIDE_DIGITS - 1 {
            let carry = self.digits[i] >> 32;
            self.digits[i] -= carry << 32;
            self.digits[i + 1] += carry;
        }
        self.pending = 0;
    }

    /// Returns the sign, and the magnitude in 64-bit limbs, the lowest first, in units of 2^-WIDE_SCALE.
    fn into_limbs(mut self: Box<Self>) -> (bool, Vec<u64>) {
        self.carry();
        let negative = self.digits[WIDE_DIGITS - 1] < 0;
        if negative {
            self.digits.iter_mut().for_each(|d| *d = -*d);
            self.carry();
        }
        // Sums of 2^64 doubles use at most 68 digits, so the last digit is below 2^32 as well.
        (
            negative,
            self.digits.as_chunks::<2>().0.iter().map(|[low, high]| *low as u64 | (*high as u64) << 32).collect(),
        )
    }
}

impl ExactSum {
    /// The number in units of the window, if it fits.
    #[inline(always)]
    fn in_window(value: f64) -> Option<i128> {
        let (mantissa, exponent) = split(value);
        let shift = if mantissa == 0 { 0 } else { exponent + WINDOW_SCALE };
        // 53 bits of mantissa, shifted by at most 73, use at most 126 bits. Infinities and NaN have the largest exponent.
        (0..=WINDOW_BITS - 53).contains(&shift).then_some((mantissa as i128) << (shift & 127))
    }

    /// Creates the sum of one number.
    #[inline]
    pub fn of(value: f64) -> Self {
        match Self::in_window(value) {
            Some(window) => ExactSum { window, wide: None, special: 0.0 },
            None => Self::of_other(value),
        }
    }

    /// The sum of one number that does not fit into the window.
    fn of_other(value: f64) -> Self {
        if !value.is_finite() {
            return ExactSum { special: value, ..Self::default() };
        }
        let (mantissa, exponent) = split(value);
        let mut wide = Wide::new();
        wide.add(mantissa as i128, exponent);
        ExactSum { window: 0, wide: Some(wide), special: 0.0 }
    }

    /// Adds another sum.
    #[inline]
    pub fn add(&mut self, other: ExactSum) {
        match self.window.checked_add(other.window) {
            Some(sum) if other.wide.is_none() && other.special == 0.0 => self.window = sum,
            _ => self.add_slow(other),
        }
    }

    /// Adds an encoded sum. The usual one, of a single number, does not go through memory.
    #[inline(always)]
    pub(crate) fn add_encoded(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        if let Ok(value) = bytes.try_into()
            && let Some(addend) = Self::in_window(f64::from_le_bytes(value))
            && let Some(sum) = self.window.checked_add(addend)
        {
            self.window = sum;
            return Ok(());
        }
        self.add_encoded_slowly(bytes)
    }

    #[inline(never)]
    fn add_encoded_slowly(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        self.add(Self::decode(bytes)?);
        Ok(())
    }

    #[cold]
    fn add_slow(&mut self, other: ExactSum) {
        self.special += other.special;
        if let Some(theirs) = other.wide {
            let mut theirs = theirs;
            match &mut self.wide {
                None => self.wide = Some(theirs),
                Some(ours) => {
                    ours.carry();
                    theirs.carry();
                    ours.digits.iter_mut().zip(&theirs.digits).for_each(|(a, b)| *a += b);
                    ours.carry();
                }
            }
        }
        match self.window.checked_add(other.window) {
            Some(sum) => self.window = sum,
            None => {
                let wide = self.wide.get_or_insert_with(Wide::new);
                wide.add(self.window, -WINDOW_SCALE);
                wide.add(other.window, -WINDOW_SCALE);
                self.window = 0;
            }
        }
    }

    /// Returns the sum, rounded to the nearest double.
    pub fn value(self) -> f64 {
        if self.wide.is_some() || self.special != 0.0 {
            return self.mean(1);
        }
        let magnitude = scaled(self.window.unsigned_abs(), false, -WINDOW_SCALE);
        if self.window < 0 { -magnitude } else { magnitude }
    }

    /// Returns the sum divided by `count`, which is not zero. It is rounded once, and finite if the addends are finite
    /// and there are `count` of them.
    pub fn mean(self, count: u64) -> f64 {
        if self.special != 0.0 {
            return self.special;
        }
        match self.wide {
            None => {
                let magnitude = self.window.unsigned_abs();
                let limbs = [magnitude as u64, (magnitude >> 64) as u64];
                quotient(self.window < 0, &limbs, -WINDOW_SCALE, count)
            }
            Some(mut wide) => {
                wide.add(self.window, -WINDOW_SCALE);
                let (negative, limbs) = wide.into_limbs();
                quotient(negative, &limbs, -WIDE_SCALE, count)
            }
        }
    }

    /// The memory outside of `self`, in bytes.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        self.wide.as_ref().map_or(0, |_| size_of::<Wide>())
    }

    /// Returns the sum as a double, if it is exactly a double and in the window, as for most sums of few numbers.
    #[inline]
    fn exact(&self) -> Option<f64> {
        if self.wide.is_some() || self.special != 0.0 {
            return None;
        }
        let magnitude = self.window.unsigned_abs();
        let zeros = magnitude.trailing_zeros();
        if 128 - magnitude.leading_zeros() > zeros + 53 {
            return None;
        }
        let mantissa = if magnitude == 0 { 0 } else { (magnitude >> zeros) as u64 };
        // Both factors are doubles, and so is their product, whose exponent is at least -WINDOW_SCALE.
        let value = mantissa as f64 * power_of_two(zeros as i32 % 128 - WINDOW_SCALE);
        Some(if self.window < 0 { -value } else { value })
    }

    /// Appends the encoding: 8 bytes of a double if the sum is exactly one, else 16 bytes of window; then, only if
    /// needed, the special sum and the digits.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        if let Some(value) = self.exact() {
            return out.extend_from_slice(&value.to_le_bytes());
        }
        out.extend_from_slice(&self.window.to_le_bytes());
        if self.wide.is_some() || self.special != 0.0 {
            out.extend_from_slice(&self.special.to_le_bytes());
            if let Some(wide) = &self.wide {
                let mut wide = wide.clone();
                wide.carry();
                wide.digits.iter().for_each(|d| out.extend_from_slice(&d.to_le_bytes()));
            }
        }
    }

    /// Appends the encoding of the sum of one number.
    #[inline]
    pub(crate) fn encode_one(value: f64, out: &mut Vec<u8>) {
        out.extend_from_slice(&value.to_le_bytes())
    }

    #[inline]
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.try_into() {
            Ok(value) => Ok(ExactSum::of(f64::from_le_bytes(value))),
            Err(_) => Self::decode_long(bytes),
        }
    }

    fn decode_long(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wrong = || DecodeError::new("float sum", "wrong length");
        let (window, rest) = bytes.split_first_chunk::<16>().ok_or_else(wrong)?;
        let mut sum = ExactSum { window: i128::from_le_bytes(*window), ..Self::default() };
        let Some((special, digits)) = rest.split_first_chunk::<8>() else {
            return if rest.is_empty() { Ok(sum) } else { Err(wrong()) };
        };
        sum.special = f64::from_le_bytes(*special);
        if !digits.is_empty() {
            let (words, left) = digits.as_chunks::<8>();
            if words.len() != WIDE_DIGITS || !left.is_empty() {
                return Err(wrong());
            }
            let mut wide = Wide::new();
            wide.digits.iter_mut().zip(words).for_each(|(d, w)| *d = i64::from_le_bytes(*w));
            sum.wide = Some(wide);
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(values: &[f64]) -> f64 {
        let mut total = ExactSum::default();
        values.iter().for_each(|v| total.add(ExactSum::of(*v)));
        let mut bytes = Vec::new();
        total.encode(&mut bytes);
        let back = ExactSum::decode(&bytes).unwrap().value();
        assert!(back.to_bits() == total.clone().value().to_bits() || back.is_nan());
        total.value()
    }

    #[test]
    fn sums_that_floating_point_gets_wrong_are_exact() {
        assert_eq!(sum(&[1e100, 1.0, -1e100]), 1.0);
        assert_eq!(sum(&[0.1; 10]), 1.0);
        assert_eq!(sum(&[1e308, 1e308, -1e308]), 1e308);
        assert_eq!(sum(&[f64::MIN_POSITIVE / 4.0, 1e-320]), f64::MIN_POSITIVE / 4.0 + 1e-320);
        assert_eq!(sum(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
        assert_eq!(sum(&[]), 0.0);
        assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::INFINITY);
    }

    proptest! {
        #[test]
        fn one_number_comes_back(v in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            prop_assert_eq!(sum(&[v]), v);
            let mut bytes = Vec::new();
            ExactSum::encode_one(v, &mut bytes);
            prop_assert_eq!(ExactSum::decode(&bytes).unwrap().value(), v);
            prop_assert_eq!(sum(&[v, v, -v]), v);
        }

        #[test]
        fn two_numbers_are_rounded_once(a in any::<f64>(), b in any::<f64>()) {
            prop_assume!(a.is_finite() && b.is_finite());
            prop_assert_eq!(sum(&[a, b]), a + b);
        }

        #[test]
        fn the_order_does_not_matter(mut values in prop::collection::vec(-1e30f64..1e30, 0..40), seed in any::<u64>()) {
            let forward = sum(&values);
            let n = values.len().max(1);
            for i in 0..values.len() {
                values.swap(i, (seed as usize).wrapping_mul(i + 7) % n);
            }
            prop_assert_eq!(sum(&values).to_bits(), forward.to_bits());
        }
    }
}
