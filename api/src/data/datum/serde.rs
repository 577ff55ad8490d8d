//! Serde types as values, in the encoding that fits the type.

use super::bytes::{escape, unescape};
use super::{Datum, IntoDatum, Reader};
use crate::data::decode_error::DecodeError;
use crate::data::wire::{self, Forms};
use crate::task::unwinding::Unwinding;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::{fmt, io};
use windrow_model::{Code, Failure};

/// A serde value as a record or value. It cannot be a key, because its bytes do not sort as the value does. Functions
/// get `&T`.
///
/// Every value comes back unchanged, whatever attributes its type has. A type whose values cannot come back makes the
/// plan invalid. A value that cannot (one that `Serialize` refuses, or a variant of an `untagged` enum that is read as
/// another variant) fails its record with `FIELD_NOT_REPRESENTABLE`. Types that read exactly what they write are
/// fastest: those without `flatten`, `untagged`, `tag`, `alias`, `skip_serializing_if` and fields of type
/// `serde_json::Value`.
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
            written(r, out)
        } else {
            let mut bytes = Vec::new();
            written(r, &mut bytes);
            escape(&bytes, out)
        }
    }
    fn decode<'a, const LAST: bool>(reader: &mut Reader<'a>) -> Result<&'a T, DecodeError> {
        let bytes = if LAST { reader.rest() } else { unescape(reader, "serde value")? };
        Ok(reader.arena.keep(wire::decode(bytes)?))
    }
    fn shorten<'s, 'l: 's>(r: &'l T) -> &'s T {
        r
    }
    /// Writes the value as JSON, up to the part that JSON cannot represent.
    fn show(r: &T, out: &mut dyn fmt::Write) -> fmt::Result {
        struct Text<'o>(&'o mut dyn fmt::Write);
        impl io::Write for Text<'_> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let taken = bytes.utf8_chunks().try_for_each(|chunk| self.0.write_str(chunk.valid()));
                taken.map(|()| bytes.len()).map_err(io::Error::other)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        serde_json::to_writer(Text(out), r).map_err(|_| fmt::Error)
    }
    fn forms(forms: &mut Forms) {
        forms.add::<T>()
    }
    fn schema(out: &mut String) {
        out.push_str("Serde<");
        wire::add_schema::<T>(out);
        out.push('>')
    }
    fn lend<X>(&self, f: impl FnOnce(&T) -> X) -> X {
        f(&self.0)
    }
    fn to_owned(r: &T) -> Self {
        let mut bytes = Vec::new();
        let copied = wire::encode(r, &mut bytes).map_err(|e| e.to_string());
        match copied.and_then(|()| wire::decode(&bytes).map_err(|e| e.to_string())) {
            Ok(copy) => Serde(copy),
            Err(e) => panic!("{e}"),
        }
    }
}

/// Appends a value. A value without an encoding fails the current record.
fn written<T: Serialize + DeserializeOwned + 'static>(value: &T, out: &mut Vec<u8>) {
    if let Err(e) = wire::encode(value, out) {
        Unwinding { failure: Failure::new(Code::FieldNotRepresentable, e.to_string()), of_record: true }.start()
    }
}

/// A borrowed value, which is emitted as a [`Serde`] without a copy; made by [`Serde::of`].
#[derive(Clone, Copy, Debug)]
pub struct SerdeRef<'a, T>(&'a T);

impl<T> Serde<T> {
    /// Emits a borrowed value: `out.emit(key, Serde::of(&visit))`.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn twice(lists: &Records<Serde<Vec<u8>>>) -> Records<Serde<Vec<u8>>> {
    ///     lists.map(|list, out| {
    ///         out.push(Serde::of(list));
    ///         out.push(Serde::of(list))
    ///     })
    /// }
    /// # let got = windrow::testing::run(["a"], |lines| twice(&lines.map(|l, out| out.push(Serde(l.as_bytes().to_vec())))));
    /// # assert_eq!(got.unwrap(), [Serde(b"a".to_vec()), Serde(b"a".to_vec())]);
    /// ```
    pub fn of(value: &T) -> SerdeRef<'_, T> {
        SerdeRef(value)
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> IntoDatum for SerdeRef<'_, T> {
    type Datum = Serde<T>;
    fn with<X>(self, f: impl FnOnce(&T) -> X) -> X {
        f(self.0)
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> IntoDatum for Serde<T> {
    type Datum = Serde<T>;
    fn with<X>(self, f: impl FnOnce(&T) -> X) -> X {
        f(&self.0)
    }
}
