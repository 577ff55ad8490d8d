//! Strings: encoded as byte strings, in byte order (which is the order of code points).

use super::bytes::{escape, unescape};
use super::{Datum, IntoDatum, Key, Reader};
use crate::data::decode_error::DecodeError;
use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

/// Converts bytes to a string. Most strings are short and ASCII, and checking for ASCII is cheaper than checking for
/// UTF-8.
#[inline]
fn checked(bytes: &[u8]) -> Result<&str, DecodeError> {
    if bytes.is_ascii() {
        // SAFETY: ASCII is UTF-8.
        return Ok(unsafe { std::str::from_utf8_unchecked(bytes) });
    }
    std::str::from_utf8(bytes).map_err(|e| DecodeError::new("string", e.to_string()))
}

impl Datum for String {
    type Ref<'a> = &'a str;
    const BORROWS: bool = true;
    #[inline]
    fn encode<const LAST: bool>(r: &str, out: &mut Vec<u8>) {
        if LAST { out.extend_from_slice(r.as_bytes()) } else { escape(r.as_bytes(), out) }
    }
    #[inline]
    fn decode<'a, const LAST: bool>(reader: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
        if LAST { checked(reader.rest()) } else { checked(unescape(reader, "string")?) }
    }
    #[inline]
    fn shorten<'s, 'l: 's>(r: &'l str) -> &'s str {
        r
    }
    fn to_owned(r: &str) -> String {
        r.to_string()
    }
    fn lend<X>(&self, f: impl FnOnce(&str) -> X) -> X {
        f(self)
    }
    fn show(r: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{r:?}")
    }
    #[inline]
    fn with_bytes<X>(r: &str, _: &mut Vec<u8>, f: impl FnOnce(&[u8]) -> X) -> X {
        f(r.as_bytes())
    }
}
impl Key for String {}

macro_rules! into_text {
    ($($t:ty),*) => {$(
        impl IntoDatum for $t {
            type Datum = String;
            #[inline]
            fn with<X>(self, f: impl FnOnce(&str) -> X) -> X { f(&self) }
        }
    )*};
}
into_text!(&str, String, &String, Cow<'_, str>, &&str, &Cow<'_, str>);
into_text!(Box<str>, &Box<str>, Rc<str>, &Rc<str>, Arc<str>, &Arc<str>);
