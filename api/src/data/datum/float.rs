//! Floats in IEEE total order with one NaN, which sorts last. `-0.0` differs from `0.0` and sorts before it.

use super::copied::{copied_key, copied_methods};
use super::{Datum, IntoDatum, Key, Reader};
use crate::data::decode_error::DecodeError;

macro_rules! float {
    ($($t:ty, $bits:ty;)*) => {$(
        impl Datum for $t {
            type Ref<'a> = $t;
            const BORROWS: bool = false;
            #[inline]
            fn encode<const LAST: bool>(r: $t, out: &mut Vec<u8>) {
                Self::with_bytes(r, &mut Vec::new(), |bytes| out.extend_from_slice(bytes))
            }
            #[inline]
            fn with_bytes<X>(r: $t, _: &mut Vec<u8>, f: impl FnOnce(&[u8]) -> X) -> X {
                // Every NaN becomes the positive quiet NaN. Then the sign bit of positive numbers and all bits of
                // negative numbers are flipped, which makes their unsigned order the numeric order.
                let bits = if r.is_nan() { <$t>::NAN.abs().to_bits() } else { r.to_bits() };
                let sign = 1 << (<$bits>::BITS - 1);
                let ordered = if bits & sign == 0 { bits ^ sign } else { !bits };
                f(&ordered.to_be_bytes())
            }
            #[inline]
            fn decode<'a, const LAST: bool>(reader: &mut Reader<'a>) -> Result<$t, DecodeError> {
                let bytes = reader.take(size_of::<$t>(), stringify!($t))?;
                let ordered = <$bits>::from_be_bytes(bytes.try_into().expect("take gave as many bytes"));
                let sign = 1 << (<$bits>::BITS - 1);
                Ok(<$t>::from_bits(if ordered & sign != 0 { ordered ^ sign } else { !ordered }))
            }
            copied_methods!($t);
            fn show(r: Self::Ref<'_>, out: &mut dyn std::fmt::Write) -> std::fmt::Result { write!(out, "{r}") }
        }
        copied_key!($t);
    )*};
}
float! { f32, u32; f64, u64; }
