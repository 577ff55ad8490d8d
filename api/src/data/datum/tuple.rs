//! Tuples: the encodings of their parts in sequence. Only the last part may omit its terminator.

use super::{Datum, IntoDatum, Key, Reader};
use crate::data::decode_error::DecodeError;
use crate::data::wire::Forms;
use std::fmt;

macro_rules! lend {
    ($f:ident; $($T:ident $t:ident),*) => { $f(($(<$T::Datum as Datum>::shorten($t),)*)) };
}
macro_rules! lend_owned {
    ($f:ident; $($T:ident $t:ident),*) => { $f(($($T::shorten($t),)*)) };
}
macro_rules! tuple {
    ($($T:ident $t:ident),*; $L:ident $l:ident) => {
        impl<$($T: Datum,)* $L: Datum> Datum for ($($T,)* $L) {
            type Ref<'a> = ($($T::Ref<'a>,)* $L::Ref<'a>);
            const BORROWS: bool = $($T::BORROWS ||)* $L::BORROWS;
            #[inline]
            fn encode<const LAST: bool>(r: Self::Ref<'_>, out: &mut Vec<u8>) {
                let ($($t,)* $l) = r;
                $($T::encode::<false>($t, out);)*
                $L::encode::<LAST>($l, out)
            }
            #[inline]
            fn decode<'a, const LAST: bool>(reader: &mut Reader<'a>) -> Result<Self::Ref<'a>, DecodeError> {
                Ok(($($T::decode::<false>(reader)?,)* $L::decode::<LAST>(reader)?))
            }
            #[inline]
            fn shorten<'s, 'l: 's>(r: Self::Ref<'l>) -> Self::Ref<'s> {
                let ($($t,)* $l) = r;
                ($($T::shorten($t),)* $L::shorten($l))
            }
            fn show(r: Self::Ref<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
                let ($($t,)* $l) = r;
                out.write_str("(")?;
                $(
                    $T::show($t, out)?;
                    out.write_str(", ")?;
                )*
                $L::show($l, out)?;
                out.write_str(")")
            }
            fn forms(forms: &mut Forms) {
                $($T::forms(forms);)*
                $L::forms(forms)
            }
            fn schema(out: &mut String) {
                out.push('(');
                $(
                    $T::schema(out);
                    out.push_str(", ");
                )*
                $L::schema(out);
                out.push(')')
            }
            fn to_owned(r: Self::Ref<'_>) -> Self {
                let ($($t,)* $l) = r;
                ($($T::to_owned($t),)* $L::to_owned($l))
            }
            #[inline]
            fn lend<Z>(&self, f: impl FnOnce(Self::Ref<'_>) -> Z) -> Z {
                let ($($t,)* $l) = self;
                tuple!(@own f [$($T $t),*, $L $l] $($t)* $l)
            }
            #[inline]
            fn detach<'a>(r: Self::Ref<'_>) -> Option<Self::Ref<'a>> {
                let ($($t,)* $l) = r;
                Some(($($T::detach($t)?,)* $L::detach($l)?))
            }
        }
        impl<$($T: Key,)* $L: Key> Key for ($($T,)* $L) {}
        impl<$($T: IntoDatum,)* $L: IntoDatum> IntoDatum for ($($T,)* $L) {
            type Datum = ($($T::Datum,)* $L::Datum);
            #[inline]
            fn with<Z>(self, f: impl FnOnce(<Self::Datum as Datum>::Ref<'_>) -> Z) -> Z {
                let ($($t,)* $l) = self;
                tuple!(@nest f [$($T $t),*, $L $l] $($t)* $l)
            }
        }
    };
    (@nest $f:ident [$($T:ident $t:ident),*] $h:ident $($rest:ident)*) => {
        $h.with(|$h| tuple!(@nest $f [$($T $t),*] $($rest)*))
    };
    (@nest $f:ident [$($T:ident $t:ident),*]) => { lend!($f; $($T $t),*) };
    (@own $f:ident [$($T:ident $t:ident),*] $h:ident $($rest:ident)*) => {
        $h.lend(|$h| tuple!(@own $f [$($T $t),*] $($rest)*))
    };
    (@own $f:ident [$($T:ident $t:ident),*]) => { lend_owned!($f; $($T $t),*) };
}
tuple!(A a; B b);
tuple!(A a, B b; C c);
tuple!(A a, B b, C c; D d);
tuple!(A a, B b, C c, D d; E e);
tuple!(A a, B b, C c, D d, E e; G g);
