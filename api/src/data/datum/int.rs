//! Integers in big-endian order with the sign bit flipped, `bool`, and the empty tuple.

use super::copied::{copied_key, copied_methods};
use super::{Datum, IntoDatum, Key, Reader};
use crate::data::decode_error::DecodeError;

macro_rules! int {
    ($($t:ty, $flip:expr;)*) => {$(
        impl Datum for $t {
            type Ref<'a> = $t;
            const BORROWS: bool = false;
            #[inline]
            fn encode<const LAST: bool>(r: $t, out: &mut Vec<u8>) {
                out.extend_from_slice(&(r ^ $flip).to_be_bytes())
            }
            #[inline]
            fn decode<'a, const LAST: bool>(reader: &mut Reader<'a>) -> Result<$t, DecodeError> {
                let bytes = reader.take(size_of::<$t>(), stringify!($t))?;
                Ok(<$t>::from_be_bytes(bytes.try_into().expect("take gave as many bytes")) ^ $flip)
            }
            copied_methods!($t);
            fn show(r: Self::Ref<'_>, out: &mut dyn std::fmt::Write) -> std::fmt::Result { write!(out, "{r}") }
            #[inline]
            fn with_bytes<X>(r: $t, _: &mut Vec<u8>, f: impl FnOnce(&[u8]) -> X) -> X {
                f(&(r ^ $flip).to_be_bytes())
            }
        }
        copied_key!($t);
    )*};
}
int! {
    u8, 0; u16, 0; u32, 0; u64, 0; u128, 0;
    i8, i8::MIN; i16, i16::MIN; i32, i32::MIN; i64, i64::MIN; i128, i128::MIN;
}

/// A `usize` is encoded as 64 bits on every machine.
impl IntoDatum for usize {
    type Datum = u64;
    #[inline]
    fn with<X>(self, f: impl FnOnce(u64) -> X) -> X {
        f(self as u64)
    }
}

impl Datum for bool {
    type Ref<'a> = bool;
    const BORROWS: bool = false;
    fn encode<const LAST: bool>(r: bool, out: &mut Vec<u8>) {
        out.push(r as u8)
    }
    fn decode<'a, const LAST: bool>(reader: &mut Reader<'a>) -> Result<bool, DecodeError> {
        Ok(reader.take(1, "bool")?[0] != 0)
    }
    copied_methods!(bool);
    fn show(r: bool, out: &mut dyn std::fmt::Write) -> std::fmt::Result {
        write!(out, "{r}")
    }
}
copied_key!(bool);

impl Datum for () {
    type Ref<'a> = ();
    const BORROWS: bool = false;
    fn encode<const LAST: bool>(_: (), _: &mut Vec<u8>) {}
    fn decode<'a, const LAST: bool>(_: &mut Reader<'a>) -> Result<(), DecodeError> {
        Ok(())
    }
    fn shorten<'s, 'l: 's>(_: ()) {}
    fn to_owned(_: ()) {}
    fn lend<X>(&self, f: impl FnOnce(()) -> X) -> X {
        f(())
    }
    fn show(_: (), out: &mut dyn std::fmt::Write) -> std::fmt::Result {
        out.write_str("()")
    }
    fn detach<'a>(_: Self::Ref<'_>) -> Option<Self::Ref<'a>> {
        Some(())
    }
}
impl Key for () {}
impl IntoDatum for () {
    type Datum = ();
    fn with<X>(self, f: impl FnOnce(()) -> X) -> X {
        f(())
    }
}
