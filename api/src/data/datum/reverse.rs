//! `std::cmp::Reverse`: the complement of every byte, which sorts in descending order.

use super::{Datum, IntoDatum, Key, Reader};
use crate::data::decode_error::DecodeError;
use std::cmp::Reverse;
use std::fmt;

impl<T: Key> Datum for Reverse<T> {
    type Ref<'a> = Reverse<T::Ref<'a>>;
    const BORROWS: bool = T::BORROWS;
    fn encode<const LAST: bool>(r: Self::Ref<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        // Never with `LAST`: the complemented bytes of a prefix would sort before those of a longer value.
        T::encode::<false>(r.0, out);
        out[start..].iter_mut().for_each(|b| *b = !*b);
    }
    fn decode<'a, const LAST: bool>(reader: &mut Reader<'a>) -> Result<Self::Ref<'a>, DecodeError> {
        let plain: &'a Vec<u8> = reader.arena.keep(reader.left().iter().map(|b| !b).collect());
        let mut inner = Reader::new(plain, reader.arena);
        let value = T::decode::<false>(&mut inner)?;
        let used = plain.len() - inner.left().len();
        reader.take(used, "reversed key")?;
        Ok(Reverse(value))
    }
    fn shorten<'s, 'l: 's>(r: Self::Ref<'l>) -> Self::Ref<'s> {
        Reverse(T::shorten(r.0))
    }
    fn to_owned(r: Self::Ref<'_>) -> Self {
        Reverse(T::to_owned(r.0))
    }
    fn lend<X>(&self, f: impl FnOnce(Self::Ref<'_>) -> X) -> X {
        self.0.lend(|r| f(Reverse(r)))
    }
    fn show(r: Self::Ref<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        T::show(r.0, out)
    }
    fn schema(out: &mut String) {
        out.push_str("Reverse<");
        T::schema(out);
        out.push('>')
    }
}
impl<T: Key> Key for Reverse<T> {}
impl<T: IntoDatum<Datum: Key>> IntoDatum for Reverse<T> {
    type Datum = Reverse<T::Datum>;
    fn with<X>(self, f: impl FnOnce(Reverse<<T::Datum as Datum>::Ref<'_>>) -> X) -> X {
        self.0.with(|r| f(Reverse(r)))
    }
}
