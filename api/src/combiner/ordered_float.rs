//! Numbers for statistics: their order as integers.

use crate::data::datum::Datum;

/// Numbers of which statistics such as quantiles are computed, as floats.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a number", label = "has no quantiles")]
pub trait Quantity: Datum {
    /// The number as a float, rounded if it has more than 53 significant bits.
    fn quantity(value: Self::Ref<'_>) -> f64;
}
macro_rules! quantity { ($($t:ty),*) => {$(
    impl Quantity for $t {
        #[inline]
        fn quantity(value: $t) -> f64 { value as f64 }
    }
)*} }
quantity!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64);

const SIGN: u64 = 1 << 63;

/// An integer for each float in the order of floats; there is one zero and one NaN, which is the largest.
#[inline]
pub(super) fn code(value: f64) -> u64 {
    // Adding zero makes a negative zero positive.
    let bits = if value.is_nan() { f64::NAN.to_bits() & !SIGN } else { (value + 0.0).to_bits() };
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The float of an integer that [`code`] has returned, or that lies between two of those.
#[inline]
pub(super) fn value(code: u64) -> f64 {
    f64::from_bits(if code & SIGN == 0 { !code } else { code ^ SIGN })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn codes_have_the_order_of_floats(a in any::<f64>(), b in any::<f64>()) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            prop_assert_eq!(code(a) < code(b), a < b);
            prop_assert_eq!(code(a) == code(b), a == b);
            prop_assert_eq!(value(code(a)), a);
            prop_assert!(code(a) < code(f64::NAN) && code(-f64::NAN) == code(f64::NAN));
        }
    }
}
