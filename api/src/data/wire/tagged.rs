//! The tagged form: it is self-describing, so that a reader may ask what the data is (`deserialize_any`), and it
//! identifies fields and variants by name.
//!
//! It represents the whole serde data model, which JSON, CBOR and MessagePack do not: `Some(None)`, `Some(())` and
//! `NaN` stay themselves, map keys have any type, and floats keep their bits. It declares itself human-readable,
//! because serde treats what it buffers for `flatten`, `untagged` and `tag` as human-readable, whatever its source.
//!
//! ```text
//! value    = tag, content
//! integers = 05 (not negative) or 06 (negative: the complement), then 7 bits a byte, low bits first, the last below 80
//! floats   = 07 and 4 bytes, 08 and 8 bytes, little-endian       char = 09, as an integer
//! text     = 0A, length as an integer, UTF-8                      bytes = 0B, length, bytes
//! nothing  = 00 (unit), 03 (none)       some = 04, value          bool = 01 false, 02 true
//! list     = 0C, values, 0F             map = 0D, keys and values by turns, 0F (a struct is a map keyed by field names)
//! variant  = 0E, its name as a text, value (a unit, its only value, a list or a map)
//! ```

mod read;
mod same;
mod write;

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use write::Style;

/// Maximum nesting of values. Deeper values are an error, because reading them takes stack.
const LEVELS_MAX: u32 = 256;

mod tag {
    pub(super) const UNIT: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const NONE: u8 = 3;
    pub(super) const SOME: u8 = 4;
    pub(super) const INTEGER: u8 = 5;
    pub(super) const NEGATIVE: u8 = 6;
    pub(super) const F32: u8 = 7;
    pub(super) const F64: u8 = 8;
    pub(super) const CHAR: u8 = 9;
    pub(super) const TEXT: u8 = 10;
    pub(super) const BYTES: u8 = 11;
    pub(super) const LIST: u8 = 12;
    pub(super) const MAP: u8 = 13;
    pub(super) const VARIANT: u8 = 14;
    pub(super) const END: u8 = 15;
}

/// What went wrong: a part of a sentence.
#[derive(Debug)]
pub(super) struct TaggedError(String);

impl TaggedError {
    fn new(what: impl Into<String>) -> Self {
        TaggedError(what.into())
    }
}
impl Display for TaggedError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for TaggedError {}
impl serde::ser::Error for TaggedError {
    fn custom<T: Display>(what: T) -> Self {
        TaggedError::new(what.to_string())
    }
}
impl serde::de::Error for TaggedError {
    fn custom<T: Display>(what: T) -> Self {
        TaggedError::new(what.to_string())
    }
}

/// Decodes one value, which must take all of the bytes.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, TaggedError> {
    let mut reader = read::Reader::new(bytes);
    let value = T::deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Appends a value. With `verify`, or if the type leaves out a field, the value must come back: the value that is read
/// from its bytes must be the same, as far as its type shows it to a `Serializer`, except for the order of entries and
/// elements, which sets and maps do not keep.
///
/// # Errors
/// Why the value has no encoding: a part of a sentence. The bytes appended until then stay.
pub(super) fn encode<T: Serialize + DeserializeOwned>(
    value: &T,
    verify: bool,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let start = out.len();
    let leaves_out = write::encode(value, Style::Full, out).map_err(unwritten)?;
    if !verify && !leaves_out {
        return Ok(());
    }
    let exact = exactly(value)?;
    let Err(why) = verify_as::<T>(&out[start..], &exact) else { return Ok(()) };
    out.truncate(start);
    write::encode(value, Style::BareOptions, out).map_err(unwritten)?;
    verify_as::<T>(&out[start..], &exact).map_err(|_| why)
}

fn unwritten(e: TaggedError) -> String {
    format!("does not serialize: {e}")
}

fn exactly<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    let mut exact = Vec::new();
    write::encode(value, Style::Exact, &mut exact).map_err(unwritten)?;
    Ok(exact)
}

/// Checks that the value that was written as `bytes`, and in the exact style as `exact`, comes back.
fn verify_as<T: Serialize + DeserializeOwned>(bytes: &[u8], exact: &[u8]) -> Result<(), String> {
    let lost = |what: TaggedError| format!("cannot be read back from what it serializes to: {what}");
    let back: T = decode(bytes).map_err(lost)?;
    let mut again = Vec::with_capacity(exact.len());
    write::encode(&back, Style::Exact, &mut again).map_err(lost)?;
    match again == exact || same::digest(&again) == same::digest(exact) {
        true => Ok(()),
        false => Err("changes when it is serialized and read back, as it would with JSON".to_string()),
    }
}

/// Checks that a value comes back from the full style. Returns why not: a part of a sentence.
pub(super) fn returns<T: Serialize + DeserializeOwned>(value: &T) -> Result<(), String> {
    let mut bytes = Vec::new();
    write::encode(value, Style::Full, &mut bytes).map_err(unwritten)?;
    verify_as::<T>(&bytes, &exactly(value)?)
}
