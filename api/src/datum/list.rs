//! Vectors of numbers: each element after a `01`, and a `00` at the end, so that a prefix sorts first.

use super::{Datum, DecodeError, IntoDatum, Key, Reader};

/// Numbers that vectors can hold. Not `u8`: a vector of those is a byte string.
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
        let mut values: Vec<T> = Vec::new();
        loop {
            match reader.take(1, "list")?[0] {
                0 => return Ok(reader.arena.keep(values)),
                1 => values.push(T::decode::<false>(reader)?),
                tag => return Err(DecodeError::new("list", format!("tag {tag}"))),
            }
        }
    }
    fn shorten<'s, 'l: 's>(r: &'l [T]) -> &'s [T] {
        r
    }
    fn to_owned(r: &[T]) -> Vec<T> {
        r.to_vec()
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
