//! Any serde type as a value, through bincode.

use super::bytes::{escape, unescape};
use super::{Datum, DecodeError, IntoDatum, Reader};
use crate::codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A serde value as a record or value (not as a key: its bytes do not sort as it does). Functions see `&T`.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use windrow::prelude::*;
///
/// #[derive(Serialize, Deserialize)]
/// struct Visit { page: String, seconds: u32 }
///
/// fn visits(lines: &Records<String>) -> Pairs<String, Serde<Visit>> {
///     lines.map(|line, out| {
///         if let Some((user, page)) = line.split_once(' ') {
///             out.emit(user, Serde(Visit { page: page.to_string(), seconds: 1 }))
///         }
///     })
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serde<T>(pub T);

impl<T: Serialize + DeserializeOwned + Send + 'static> Datum for Serde<T> {
    type Ref<'a> = &'a T;
    const BORROWS: bool = true;
    fn encode<const LAST: bool>(r: &T, out: &mut Vec<u8>) {
        if LAST {
            codec::encode(r, out)
        } else {
            let mut bytes = Vec::new();
            codec::encode(r, &mut bytes);
            escape(&bytes, out)
        }
    }
    fn decode<'a, const LAST: bool>(reader: &mut Reader<'a>) -> Result<&'a T, DecodeError> {
        let bytes = if LAST { reader.rest() } else { unescape(reader, "serde value")? };
        Ok(reader.arena.keep(codec::decode(bytes)?))
    }
    fn shorten<'s, 'l: 's>(r: &'l T) -> &'s T {
        r
    }
    fn to_owned(r: &T) -> Self {
        let mut bytes = Vec::new();
        codec::encode(r, &mut bytes);
        Serde(codec::decode(&bytes).expect("bincode reads what it wrote of the same type"))
    }
}
impl<T: Serialize + DeserializeOwned + Send + 'static> IntoDatum for Serde<T> {
    type Datum = Serde<T>;
    fn with<X>(self, f: impl FnOnce(&T) -> X) -> X {
        f(&self.0)
    }
}
