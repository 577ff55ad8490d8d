//! Characters: their code points, as numbers are encoded.

use super::{Datum, IntoDatum, Key, Reader};
use crate::data::decode_error::DecodeError;
use std::fmt;

impl Datum for char {
    type Ref<'a> = char;
    const BORROWS: bool = false;
    #[inline]
    fn encode<const LAST: bool>(r: char, out: &mut Vec<u8>) {
        u32::encode::<LAST>(r.into(), out)
    }
    #[inline]
    fn decode<'a, const LAST: bool>(reader: &mut Reader<'a>) -> Result<char, DecodeError> {
        let point = u32::decode::<LAST>(reader)?;
        char::from_u32(point).ok_or_else(|| DecodeError::new("char", format!("{point} is not a code point")))
    }
    #[inline]
    fn shorten<'s, 'l: 's>(r: char) -> char {
        r
    }
    fn to_owned(r: char) -> char {
        r
    }
    #[inline]
    fn lend<X>(&self, f: impl FnOnce(char) -> X) -> X {
        f(*self)
    }
    fn show(r: char, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{r:?}")
    }
    #[inline]
    fn detach<'a>(r: Self::Ref<'_>) -> Option<Self::Ref<'a>> {
        Some(r)
    }
}
impl Key for char {}
impl IntoDatum for char {
    type Datum = char;
    #[inline]
    fn with<X>(self, f: impl FnOnce(char) -> X) -> X {
        f(self)
    }
}
impl IntoDatum for &char {
    type Datum = char;
    #[inline]
    fn with<X>(self, f: impl FnOnce(char) -> X) -> X {
        f(*self)
    }
}
