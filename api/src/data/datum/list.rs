//! Lists and arrays of numbers. Arrays: the elements in sequence. Vectors: each element after a `01` byte, and a `00` byte at the end, so that a prefix sorts first.

use super::{Datum, IntoDatum, Key, Reader};
use crate::data::decode_error::DecodeError;
use std::fmt;

/// Numbers that a vector can hold. `u8` is not one of them, because a vector of `u8` is a byte string.
pub trait Scalar: Key + Copy + Sync + for<'a> Datum<Ref<'a> = Self> {}
macro_rules! scalar { ($($t:ty),*) => {$( impl Scalar for $t {} )*} }
scalar!(u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64, bool);

impl<T: Scalar> Datum for Vec<T> {
    type Ref<'a> = &'a [T];
    const BORROWS: bool = true;
    fn encode<const LAST: bool>(r: &[T], out: &mut Vec<u8>) {
        for v in r {
            out.push(1);
            T::encode::<false>(*v, out);
        }
        out.push(0);
    }
    fn decode<'a, const LAST: bool>(reader: &mut Reader<'a>) -> Result<&'a [T], DecodeError> {
        // The encoding of a number is as long as the number in memory.
        let step = 1 + size_of::<T>();
        let count = reader.left().iter().step_by(step).take_while(|tag| **tag == 1).count();
        let bytes = reader.take(count * step, "list")?;
        match reader.take(1, "list")?[0] {
            0 => {}
            tag => return Err(DecodeError::new("list", format!("tag {tag}"))),
        }
        let arena = reader.arena;
        arena.keep_list(count, |i| T::decode::<false>(&mut Reader::new(&bytes[i * step + 1..(i + 1) * step], arena)))
    }
    fn shorten<'s, 'l: 's>(r: &'l [T]) -> &'s [T] {
        r
    }
    fn to_owned(r: &[T]) -> Vec<T> {
        r.to_vec()
    }
    fn lend<X>(&self, f: impl FnOnce(&[T]) -> X) -> X {
        f(self)
    }
    fn show(r: &[T], out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("[")?;
        for (i, v) in r.iter().enumerate() {
            out.write_str(if i == 0 { "" } else { ", " })?;
            T::show(*v, out)?;
        }
        out.write_str("]")
    }
}
impl<T: Scalar> Key for Vec<T> {}
impl<T: Scalar> IntoDatum for &[T] {
    type Datum = Vec<T>;
    fn with<X>(self, f: impl FnOnce(&[T]) -> X) -> X {
        f(self)
    }
}
impl<T: Scalar> IntoDatum for Vec<T> {
    type Datum = Vec<T>;
    fn with<X>(self, f: impl FnOnce(&[T]) -> X) -> X {
        f(&self)
    }
}
impl<T: Scalar> IntoDatum for &Vec<T> {
    type Datum = Vec<T>;
    fn with<X>(self, f: impl FnOnce(&[T]) -> X) -> X {
        f(self)
    }
}

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
        <Vec<T>>::show(r, out)
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
