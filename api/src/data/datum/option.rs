//! `Option`: a tag byte, `None` first.

use super::{Datum, IntoDatum, Key, Reader};
use crate::data::decode_error::DecodeError;
use crate::data::wire::Forms;
use std::fmt;

impl<T: Datum> Datum for Option<T> {
    type Ref<'a> = Option<T::Ref<'a>>;
    const BORROWS: bool = T::BORROWS;
    fn encode<const LAST: bool>(r: Option<T::Ref<'_>>, out: &mut Vec<u8>) {
        match r {
            None => out.push(0),
            Some(r) => {
                out.push(1);
                T::encode::<LAST>(r, out)
            }
        }
    }
    fn decode<'a, const LAST: bool>(reader: &mut Reader<'a>) -> Result<Option<T::Ref<'a>>, DecodeError> {
        match reader.take(1, "option")?[0] {
            0 => Ok(None),
            1 => T::decode::<LAST>(reader).map(Some),
            tag => Err(DecodeError::new("option", format!("tag {tag}"))),
        }
    }
    fn shorten<'s, 'l: 's>(r: Option<T::Ref<'l>>) -> Option<T::Ref<'s>> {
        r.map(T::shorten)
    }
    fn show(r: Option<T::Ref<'_>>, out: &mut dyn fmt::Write) -> fmt::Result {
        match r {
            None => out.write_str("None"),
            Some(r) => {
                out.write_str("Some(")?;
                T::show(r, out)?;
                out.write_str(")")
            }
        }
    }
    fn forms(forms: &mut Forms) {
        T::forms(forms)
    }
    fn schema(out: &mut String) {
        out.push_str("Option<");
        T::schema(out);
        out.push('>')
    }
    fn to_owned(r: Option<T::Ref<'_>>) -> Option<T> {
        r.map(T::to_owned)
    }
    fn lend<X>(&self, f: impl FnOnce(Option<T::Ref<'_>>) -> X) -> X {
        match self {
            None => f(None),
            Some(v) => v.lend(|r| f(Some(r))),
        }
    }
    fn detach<'a>(r: Option<T::Ref<'_>>) -> Option<Option<T::Ref<'a>>> {
        match r {
            None => Some(None),
            Some(r) => T::detach(r).map(Some),
        }
    }
}
impl<T: Key> Key for Option<T> {}
impl<T: IntoDatum> IntoDatum for Option<T> {
    type Datum = Option<T::Datum>;
    fn with<X>(self, f: impl FnOnce(Option<<T::Datum as Datum>::Ref<'_>>) -> X) -> X {
        match self {
            None => f(None),
            Some(v) => v.with(|r| f(Some(r))),
        }
    }
}
