//! Lists: each element after a `01` byte, and a `00` byte at the end, so that a prefix sorts first.
//!
//! The borrowed form of a list of numbers is a slice of them. That of other elements would be a slice of borrowed forms, whose
//! lifetime no safe code can shorten; so it is [`Items`].

use super::items::Items;
use super::{Datum, IntoDatum, Key, Reader};
use crate::data::decode_error::DecodeError;
use crate::data::wire::Forms;
use std::cmp::Reverse;
use std::fmt;

/// The elements of lists: all record types except `u8`, whose lists are byte strings.
pub trait Element: Datum {
    /// The borrowed form of a list.
    type List<'a>: Copy;
    /// Appends the encoding of a list.
    fn encode_list(list: Self::List<'_>, out: &mut Vec<u8>);
    /// Decodes a list.
    ///
    /// # Errors
    /// The bytes are not an encoding of a list of this type.
    fn decode_list<'a>(reader: &mut Reader<'a>) -> Result<Self::List<'a>, DecodeError>;
    /// Returns the same list with a shorter lifetime.
    fn shorten_list<'s, 'l: 's>(list: Self::List<'l>) -> Self::List<'s>;
    /// Converts a list into the owned form.
    fn owned_list(list: Self::List<'_>) -> Vec<Self>;
    /// Lends the borrowed form of an owned list to `f`.
    fn lend_list<X>(list: &[Self], f: impl FnOnce(Self::List<'_>) -> X) -> X;
    /// Calls `f` with each element.
    fn each_of(list: Self::List<'_>, f: impl FnMut(Self::Ref<'_>));
    /// Writes a list in readable form.
    ///
    /// # Errors
    /// `out` accepts no more.
    fn show_list(list: Self::List<'_>, out: &mut dyn fmt::Write) -> fmt::Result;
}

/// Numbers that arrays hold, and vectors as slices. `u8` is not one of them, because a vector of `u8` is a byte string.
pub trait Scalar: Key + Copy + Sync + for<'a> Datum<Ref<'a> = Self> + for<'a> Element<List<'a> = &'a [Self]> {}
macro_rules! scalar { ($($t:ty),*) => {$(
    impl Scalar for $t {}
    impl Element for $t {
        type List<'a> = &'a [$t];
        fn encode_list(list: &[$t], out: &mut Vec<u8>) {
            for v in list {
                out.push(1);
                <$t>::encode::<false>(*v, out);
            }
            out.push(0);
        }
        fn decode_list<'a>(reader: &mut Reader<'a>) -> Result<&'a [$t], DecodeError> {
            // The encoding of a number is as long as the number in memory.
            let step = 1 + size_of::<$t>();
            let count = reader.left().chunks_exact(step).take_while(|element| element[0] == 1).count();
            let bytes = reader.take(count * step, "list")?;
            match reader.take(1, "list")?[0] {
                0 => {}
                tag => return Err(DecodeError::new("list", format!("tag {tag}"))),
            }
            let arena = reader.arena;
            let element = |i| <$t>::decode::<false>(&mut Reader::new(&bytes[i * step + 1..(i + 1) * step], arena));
            arena.keep_list(count, element)
        }
        fn shorten_list<'s, 'l: 's>(list: &'l [$t]) -> &'s [$t] {
            list
        }
        fn owned_list(list: &[$t]) -> Vec<$t> {
            list.to_vec()
        }
        fn lend_list<X>(list: &[$t], f: impl FnOnce(&[$t]) -> X) -> X {
            f(list)
        }
        fn each_of(list: &[$t], f: impl FnMut($t)) {
            list.iter().copied().for_each(f)
        }
        fn show_list(list: &[$t], out: &mut dyn fmt::Write) -> fmt::Result {
            out.write_str("[")?;
            for (i, v) in list.iter().enumerate() {
                out.write_str(if i == 0 { "" } else { ", " })?;
                <$t>::show(*v, out)?;
            }
            out.write_str("]")
        }
    }
)*} }
scalar!(u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64, bool, char);

/// Elements whose lists are visited one by one.
macro_rules! visited {
    ($([$($generic:tt)*] $t:ty;)*) => {$(
        impl<$($generic)*> Element for $t {
            type List<'a> = Items<'a, $t>;
            fn encode_list(list: Items<'_, $t>, out: &mut Vec<u8>) {
                list.encode(out)
            }
            fn decode_list<'a>(reader: &mut Reader<'a>) -> Result<Items<'a, $t>, DecodeError> {
                Items::decode(reader)
            }
            fn shorten_list<'s, 'l: 's>(list: Items<'l, $t>) -> Items<'s, $t> {
                list.shorten()
            }
            fn owned_list(list: Items<'_, $t>) -> Vec<$t> {
                list.iter().map(<$t as Datum>::to_owned).collect()
            }
            fn lend_list<X>(list: &[$t], f: impl FnOnce(Items<'_, $t>) -> X) -> X {
                Items::lend(list, f)
            }
            fn each_of(list: Items<'_, $t>, f: impl FnMut(<$t as Datum>::Ref<'_>)) {
                list.iter().for_each(f)
            }
            fn show_list(list: Items<'_, $t>, out: &mut dyn fmt::Write) -> fmt::Result {
                list.show(out)
            }
        }
    )*};
}
visited! {
    [] String; [] Vec<u8>; [] ();
    [T: Element] Vec<T>;
    [T: Datum] Option<T>;
    [T: Key] Reverse<T>;
    [const N: usize] [u8; N];
    [T: Scalar, const N: usize] [T; N];
    [T: serde::Serialize + serde::de::DeserializeOwned + Send + 'static] super::serde::Serde<T>;
    [A: Datum, B: Datum] (A, B);
    [A: Datum, B: Datum, C: Datum] (A, B, C);
    [A: Datum, B: Datum, C: Datum, D: Datum] (A, B, C, D);
    [A: Datum, B: Datum, C: Datum, D: Datum, E: Datum] (A, B, C, D, E);
    [A: Datum, B: Datum, C: Datum, D: Datum, E: Datum, G: Datum] (A, B, C, D, E, G);
}

#[cfg(feature = "jiff")]
visited! { [] jiff::civil::Date; [] jiff::civil::DateTime; [] jiff::Timestamp; }

impl<T: Element> Datum for Vec<T> {
    type Ref<'a> = T::List<'a>;
    const BORROWS: bool = true;
    fn encode<const LAST: bool>(r: T::List<'_>, out: &mut Vec<u8>) {
        T::encode_list(r, out)
    }
    fn decode<'a, const LAST: bool>(reader: &mut Reader<'a>) -> Result<T::List<'a>, DecodeError> {
        T::decode_list(reader)
    }
    fn shorten<'s, 'l: 's>(r: T::List<'l>) -> T::List<'s> {
        T::shorten_list(r)
    }
    fn to_owned(r: T::List<'_>) -> Vec<T> {
        T::owned_list(r)
    }
    fn lend<X>(&self, f: impl FnOnce(T::List<'_>) -> X) -> X {
        T::lend_list(self, f)
    }
    fn show(r: T::List<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        T::show_list(r, out)
    }
    fn forms(forms: &mut Forms) {
        T::forms(forms)
    }
    fn schema(out: &mut String) {
        out.push_str("Vec<");
        T::schema(out);
        out.push('>')
    }
}
impl<T: Element + Key> Key for Vec<T> {}
impl<T: Element> IntoDatum for &[T] {
    type Datum = Vec<T>;
    fn with<X>(self, f: impl FnOnce(T::List<'_>) -> X) -> X {
        T::lend_list(self, f)
    }
}
impl<T: Element> IntoDatum for Vec<T> {
    type Datum = Vec<T>;
    fn with<X>(self, f: impl FnOnce(T::List<'_>) -> X) -> X {
        T::lend_list(&self, f)
    }
}
impl<T: Element> IntoDatum for &Vec<T> {
    type Datum = Vec<T>;
    fn with<X>(self, f: impl FnOnce(T::List<'_>) -> X) -> X {
        T::lend_list(self, f)
    }
}
/// A list as record functions get it.
impl<T: Element> IntoDatum for Items<'_, T>
where
    T: for<'a> Element<List<'a> = Items<'a, T>>,
{
    type Datum = Vec<T>;
    fn with<X>(self, f: impl FnOnce(Items<'_, T>) -> X) -> X {
        f(self)
    }
}

/// Lists of borrowed texts and bytes, without copies of them.
macro_rules! borrowed {
    ($($t:ty => $family:ty;)*) => {$(
        impl IntoDatum for &[$t] {
            type Datum = Vec<$family>;
            fn with<X>(self, f: impl FnOnce(Items<'_, $family>) -> X) -> X {
                Items::lend_each(self.iter(), |r, out| <$family>::encode::<false>(r, out), f)
            }
        }
        impl IntoDatum for Vec<$t> {
            type Datum = Vec<$family>;
            fn with<X>(self, f: impl FnOnce(Items<'_, $family>) -> X) -> X {
                self.as_slice().with(f)
            }
        }
    )*};
}
borrowed! { &str => String; &[u8] => Vec<u8>; }
