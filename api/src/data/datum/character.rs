//! Characters: their code points, as numbers are encoded.

use super::copied::{copied_key, copied_methods};
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
    copied_methods!(char);
    fn show(r: char, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{r:?}")
    }
}
copied_key!(char);
