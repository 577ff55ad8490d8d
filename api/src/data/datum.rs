//! The types of records, keys and values: their encoded bytes sort in the order of the values.
//!
//! The owned type names a family (`String`, `(String, u64)`); user functions get its borrowed form, `Datum::Ref`
//! (`&str`, `(&str, u64)`). One encoding serves keys and values: `memcmp` of the encoded bytes orders the values, and
//! two values are equal exactly if their bytes are. The engine sees only those bytes.

mod array;
mod bytes;
mod character;
mod copied;
mod float;
mod int;
pub(crate) mod items;
#[cfg(feature = "jiff")]
mod jiff;
#[cfg(test)]
mod laws;
pub(crate) mod list;
mod option;
pub(crate) mod owned;
mod reverse;
pub(crate) mod serde;
mod shown;
mod text;
mod tuple;

use crate::data::arena::Arena;
use crate::data::decode_error::DecodeError;
use crate::data::type_name;
use crate::data::wire::Forms;
use std::fmt;

/// A cursor over encoded bytes, with an arena for decoded values that cannot be borrowed from the bytes.
pub struct Reader<'a> {
    bytes: &'a [u8],
    /// Holds decoded values that are not borrowed from the bytes.
    pub arena: &'a Arena,
}

impl<'a> Reader<'a> {
    /// Creates a cursor before the first byte.
    #[inline]
    pub fn new(bytes: &'a [u8], arena: &'a Arena) -> Self {
        Reader { bytes, arena }
    }
    /// Takes the next `n` bytes.
    ///
    /// # Errors
    /// Fewer than `n` bytes are left.
    #[inline]
    pub fn take(&mut self, n: usize, kind: &'static str) -> Result<&'a [u8], DecodeError> {
        if n > self.bytes.len() {
            return Err(DecodeError::new(kind, format!("{n} bytes expected, {} left", self.bytes.len())));
        }
        let (head, tail) = self.bytes.split_at(n);
        self.bytes = tail;
        Ok(head)
    }
    /// Takes all remaining bytes. The cursor is then at the end.
    #[inline]
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }
    /// Returns the remaining bytes without moving the cursor.
    #[inline]
    pub fn left(&self) -> &'a [u8] {
        self.bytes
    }
}

/// A type that records, keys or values consist of.
///
/// ```
/// use windrow::{Arena, Datum, Reader};
/// let mut bytes = Vec::new();
/// <(String, u32)>::encode::<true>(("hay", 7), &mut bytes);
/// let arena = Arena::new();
/// assert_eq!(<(String, u32)>::decode::<true>(&mut Reader::new(&bytes, &arena)).unwrap(), ("hay", 7));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a record type",
    label = "not a record type",
    note = "record types: integers, floats, bool, char, `String` (seen as `&str`), `Vec<u8>` (`&[u8]`), `[u8; N]`, arrays of numbers, vectors, `Option`, `Reverse`, tuples of those, structs and enums with `#[derive(Datum)]`, and `Serde<T>` for any serde type"
)]
pub trait Datum: Sized + Send + 'static {
    /// The borrowed form that user functions get.
    type Ref<'a>: Copy;
    /// Whether a decoded `Ref` may borrow from the bytes or the arena. Numbers do not.
    const BORROWS: bool;

    /// Appends the order-preserving encoding. With `LAST`, nothing follows in this key or value, so no terminator is
    /// written.
    fn encode<const LAST: bool>(r: Self::Ref<'_>, out: &mut Vec<u8>);
    /// Decodes what `encode` with the same `LAST` wrote.
    ///
    /// # Errors
    /// The bytes are not an encoding of this type.
    fn decode<'a, const LAST: bool>(reader: &mut Reader<'a>) -> Result<Self::Ref<'a>, DecodeError>;
    /// Returns the same value with a shorter lifetime. It proves that `Ref` is covariant, which the compiler cannot
    /// infer for an associated type.
    fn shorten<'s, 'l: 's>(r: Self::Ref<'l>) -> Self::Ref<'s>;
    /// Converts the borrowed form into the owned form.
    fn to_owned(r: Self::Ref<'_>) -> Self;

    /// Lends the borrowed form of an owned value to `f`.
    fn lend<X>(&self, f: impl FnOnce(Self::Ref<'_>) -> X) -> X;

    /// Writes the value in readable form, with everything except plain text escaped. Errors show keys and records in
    /// this form. Writing ends as soon as `out` accepts no more.
    ///
    /// # Errors
    /// `out` accepts no more.
    fn show(r: Self::Ref<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut bytes = Vec::new();
        Self::encode::<true>(r, &mut bytes);
        shown::show(&bytes, out)
    }
    /// Adds the serde types that this type contains. A plan checks them before anything runs.
    fn forms(_: &mut Forms) {}
    /// Appends the name of the type with the names and types of all its parts. Files of records hold it: types with equal
    /// texts have equal encodings, in all releases of a job. The default is the name of the type without its module.
    fn schema(out: &mut String) {
        type_name::add_name(std::any::type_name::<Self>(), out)
    }

    /// Returns the same value with another lifetime, if it borrows nothing (`BORROWS` is false).
    #[inline]
    fn detach<'a>(_: Self::Ref<'_>) -> Option<Self::Ref<'a>> {
        None
    }

    /// Lends the whole encoding to `f`. Families whose borrowed form is already the encoding copy nothing.
    #[inline]
    fn with_bytes<X>(r: Self::Ref<'_>, scratch: &mut Vec<u8>, f: impl FnOnce(&[u8]) -> X) -> X {
        scratch.clear();
        Self::encode::<true>(r, scratch);
        f(scratch)
    }
}

/// A datum that can be a key: all except serde values, whose bytes do not sort as the values do.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    label = "not a key",
    note = "keys: integers, floats (NaN sorts last), bool, char, `String`, `Vec<u8>`, `[u8; N]`, arrays of numbers, vectors, `Option`, `Reverse`, tuples of those, and structs and enums of those with `#[derive(Datum)]`"
)]
pub trait Key: Datum {}

/// A type that can be emitted. It maps a borrowed type to its family, so that from `out.emit(word, 1u64)` the compiler
/// infers that the output consists of `(String, u64)`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be emitted",
    label = "cannot be emitted",
    note = "emit numbers, `char`, `&str`, `String`, `Box<str>`, `Arc<str>` or `Cow<str>`, the same of bytes, `&[u8; N]`, arrays of numbers, slices and vectors of record types, `Option` and tuples of those, or `Serde(value)` for a serde type"
)]
pub trait IntoDatum {
    /// The family of the emitted type.
    type Datum: Datum;
    /// Lends the borrowed form to `f`.
    fn with<X>(self, f: impl FnOnce(<Self::Datum as Datum>::Ref<'_>) -> X) -> X;
}

/// Returns the encoding of a single datum.
pub(crate) fn encoded<D: Datum>(r: D::Ref<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    D::encode::<true>(r, &mut out);
    out
}
