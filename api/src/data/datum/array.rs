//! Arrays of numbers: the elements in sequence.

use super::list::Scalar;
use super::{Datum, IntoDatum, Key, Reader};
use crate::data::decode_error::DecodeError;
use std::fmt;

impl<T: Scalar, const N: usize> Datum for [T; N] {
    type Ref<'a> = &'a [T; N];
    const BORROWS: bool = true;
    fn encode<const LAST: bool>(r: &[T; N], out: &mut Vec<u8>) {
        r.iter().for_each(|v| T::encode::<false>(*v, out))
    }
    fn decode<'a, const LAST: bool>(reader: &mut Reader<'a>) -> Result<&'a [T; N], DecodeError> {
        let arena = reader.arena;
        let list = arena.keep_list(N, |_| T::decode::<false>(reader))?;
        list.try_into().map_err(|_| DecodeError::new("array", "wrong length"))
    }
    fn shorten<'s, 'l: 's>(r: &'l [T; N]) -> &'s [T; N] {
        r
    }
    fn to_owned(r: &[T; N]) -> [T; N] {
        *r
    }
    fn lend<X>(&self, f: impl FnOnce(&[T; N]) -> X) -> X {
        f(self)
    }
    fn show(r: &[T; N], out: &mut dyn fmt::Write) -> fmt::Result {
        T::show_list(r, out)
    }
}
impl<T: Scalar, const N: usize> Key for [T; N] {}
impl<T: Scalar, const N: usize> IntoDatum for [T; N] {
    type Datum = [T; N];
    fn with<X>(self, f: impl FnOnce(&[T; N]) -> X) -> X {
        f(&self)
    }
}
impl<T: Scalar, const N: usize> IntoDatum for &[T; N] {
    type Datum = [T; N];
    fn with<X>(self, f: impl FnOnce(&[T; N]) -> X) -> X {
        f(self)
    }
}
