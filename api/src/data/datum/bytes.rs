//! Byte strings. At the end of a key they are their own encoding. Elsewhere `00` becomes `00 FF` and `00 00` terminates
//! the string, which keeps the order and makes no encoding a prefix of another.

use super::shown::show;
use super::{Datum, IntoDatum, Key, Reader};
use crate::data::decode_error::DecodeError;
use memchr::memchr;
use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

/// Finds the first zero byte. It examines eight bytes at a time without a call, because short strings are common.
#[inline]
fn zero_at(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut at = 0;
    while at < 32
        && let Some(word) = bytes[at..].first_chunk()
    {
        let word = u64::from_le_bytes(*word);
        // The lowest set bit is that of the first zero byte. Higher bits may be wrong.
        let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if zeros != 0 {
            return Some(at + zeros.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    match bytes.len() - at {
        0..8 => bytes[at..].iter().position(|b| *b == 0).map(|i| at + i),
        _ => memchr(0, &bytes[at..]).map(|i| at + i),
    }
}

#[inline]
pub(super) fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some(at) = zero_at(rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[0, 0xFF]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0, 0]);
}

#[inline]
pub(super) fn unescape<'a>(reader: &mut Reader<'a>, kind: &'static str) -> Result<&'a [u8], DecodeError> {
    let bytes = reader.left();
    match zero_at(bytes) {
        Some(at) if bytes.get(at + 1) == Some(&0) => {
            reader.take(at + 2, kind)?;
            Ok(&bytes[..at])
        }
        _ => unescape_zeros(reader, kind),
    }
}

#[cold]
fn unescape_zeros<'a>(reader: &mut Reader<'a>, kind: &'static str) -> Result<&'a [u8], DecodeError> {
    let bytes = reader.left();
    let mut plain = Vec::new();
    let mut from = 0;
    loop {
        let at = from + memchr(0, &bytes[from..]).ok_or_else(|| DecodeError::new(kind, "no terminator"))?;
        match bytes.get(at + 1) {
            Some(0) => {
                reader.take(at + 2, kind)?;
                plain.extend_from_slice(&bytes[from..at]);
                return Ok(reader.arena.keep(plain));
            }
            Some(0xFF) => {
                plain.extend_from_slice(&bytes[from..=at]);
                from = at + 2;
            }
            _ => return Err(DecodeError::new(kind, "a zero byte that is neither escaped nor a terminator")),
        }
    }
}

impl Datum for Vec<u8> {
    type Ref<'a> = &'a [u8];
    const BORROWS: bool = true;
    #[inline]
    fn encode<const LAST: bool>(r: &[u8], out: &mut Vec<u8>) {
        if LAST { out.extend_from_slice(r) } else { escape(r, out) }
    }
    #[inline]
    fn decode<'a, const LAST: bool>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
        if LAST { Ok(reader.rest()) } else { unescape(reader, "byte string") }
    }
    #[inline]
    fn shorten<'s, 'l: 's>(r: &'l [u8]) -> &'s [u8] {
        r
    }
    fn to_owned(r: &[u8]) -> Vec<u8> {
        r.to_vec()
    }
    fn lend<X>(&self, f: impl FnOnce(&[u8]) -> X) -> X {
        f(self)
    }
    fn show(r: &[u8], out: &mut dyn fmt::Write) -> fmt::Result {
        show(r, out)
    }
    #[inline]
    fn with_bytes<X>(r: &[u8], _: &mut Vec<u8>, f: impl FnOnce(&[u8]) -> X) -> X {
        f(r)
    }
}
impl Key for Vec<u8> {}

macro_rules! into_bytes {
    ($($t:ty),*) => {$(
        impl IntoDatum for $t {
            type Datum = Vec<u8>;
            #[inline]
            fn with<X>(self, f: impl FnOnce(&[u8]) -> X) -> X { f(&self) }
        }
    )*};
}
into_bytes!(&[u8], Vec<u8>, &Vec<u8>, &&[u8], Cow<'_, [u8]>, &Cow<'_, [u8]>);
into_bytes!(Box<[u8]>, &Box<[u8]>, Rc<[u8]>, &Rc<[u8]>, Arc<[u8]>, &Arc<[u8]>);

impl<const N: usize> Datum for [u8; N] {
    type Ref<'a> = &'a [u8; N];
    const BORROWS: bool = true;
    #[inline]
    fn encode<const LAST: bool>(r: &[u8; N], out: &mut Vec<u8>) {
        out.extend_from_slice(r)
    }
    #[inline]
    fn decode<'a, const LAST: bool>(reader: &mut Reader<'a>) -> Result<&'a [u8; N], DecodeError> {
        Ok(reader.take(N, "byte array")?.try_into().expect("take gave as many bytes"))
    }
    #[inline]
    fn shorten<'s, 'l: 's>(r: &'l [u8; N]) -> &'s [u8; N] {
        r
    }
    fn to_owned(r: &[u8; N]) -> [u8; N] {
        *r
    }
    fn lend<X>(&self, f: impl FnOnce(&[u8; N]) -> X) -> X {
        f(self)
    }
    fn show(r: &[u8; N], out: &mut dyn fmt::Write) -> fmt::Result {
        show(r, out)
    }
    #[inline]
    fn with_bytes<X>(r: &[u8; N], _: &mut Vec<u8>, f: impl FnOnce(&[u8]) -> X) -> X {
        f(r)
    }
}
impl<const N: usize> Key for [u8; N] {}
impl<const N: usize> IntoDatum for &[u8; N] {
    type Datum = [u8; N];
    #[inline]
    fn with<X>(self, f: impl FnOnce(&[u8; N]) -> X) -> X {
        f(self)
    }
}
impl<const N: usize> IntoDatum for [u8; N] {
    type Datum = [u8; N];
    #[inline]
    fn with<X>(self, f: impl FnOnce(&[u8; N]) -> X) -> X {
        f(&self)
    }
}
