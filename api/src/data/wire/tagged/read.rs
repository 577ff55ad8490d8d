//! Decodes values from the tagged form.
//!
//! The type that is asked for is only a hint, as with JSON: the visitor gets what the data is. Options and enums are
//! recognized only where they are asked for; a type that asks what the data is sees a `Some` as its content, a `None`
//! as a unit, and a variant as a text or as a map of one entry, as types made for JSON expect.

use super::{LEVELS_MAX, TaggedError, tag};
use serde::de::value::{BorrowedStrDeserializer, UnitDeserializer};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

pub(super) struct Reader<'b> {
    bytes: &'b [u8],
    levels: u32,
}

/// The error for bytes that `encode` does not write.
fn damaged() -> TaggedError {
    TaggedError::new("the bytes are not a tagged value")
}

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Reader { bytes, levels: LEVELS_MAX }
    }
    /// Checks that no bytes follow.
    pub(super) fn end(&self) -> Result<(), TaggedError> {
        match self.bytes.len() {
            0 => Ok(()),
            n => Err(TaggedError::new(format!("{n} bytes are left over"))),
        }
    }
    fn peek(&self) -> Result<u8, TaggedError> {
        self.bytes.first().copied().ok_or_else(damaged)
    }
    pub(super) fn byte(&mut self) -> Result<u8, TaggedError> {
        let (first, rest) = self.bytes.split_first().ok_or_else(damaged)?;
        self.bytes = rest;
        Ok(*first)
    }
    pub(super) fn take(&mut self, n: usize) -> Result<&'b [u8], TaggedError> {
        let (head, rest) = self.bytes.split_at_checked(n).ok_or_else(damaged)?;
        self.bytes = rest;
        Ok(head)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], TaggedError> {
        self.take(N)?.try_into().map_err(|_| damaged())
    }
    pub(super) fn integer(&mut self) -> Result<u128, TaggedError> {
        let mut value = 0u128;
        for shift in (0..u128::BITS).step_by(7) {
            let byte = self.byte()?;
            let low = u128::from(byte & 0x7F);
            if low << shift >> shift != low {
                return Err(damaged());
            }
            value |= low << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(damaged())
    }
    pub(super) fn length(&mut self) -> Result<usize, TaggedError> {
        usize::try_from(self.integer()?).map_err(|_| damaged())
    }
    fn text(&mut self) -> Result<&'b str, TaggedError> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).map_err(|_| damaged())
    }
    /// Reads the name after the tag of a variant.
    pub(super) fn name(&mut self) -> Result<&'b str, TaggedError> {
        match self.byte()? {
            tag::TEXT => self.text(),
            _ => Err(damaged()),
        }
    }
    fn below<X>(&mut self, f: impl FnOnce(&mut Self) -> Result<X, TaggedError>) -> Result<X, TaggedError> {
        self.levels = self.levels.checked_sub(1).ok_or_else(|| TaggedError::new("too many levels"))?;
        let result = f(self)?;
        self.levels += 1;
        Ok(result)
    }
    /// Reads the parts of a list or map. All of them must be taken.
    fn parts<X>(&mut self, f: impl FnOnce(Parts<'_, 'b>) -> Result<X, TaggedError>) -> Result<X, TaggedError> {
        self.below(|reader| {
            let value = f(Parts(reader))?;
            match reader.byte()? {
                tag::END => Ok(value),
                _ => Err(TaggedError::new("it has more parts than its type reads")),
            }
        })
    }
}

impl<'b> Deserializer<'b> for &mut Reader<'b> {
    type Error = TaggedError;

    fn deserialize_any<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, TaggedError> {
        match self.byte()? {
            tag::UNIT | tag::NONE => visitor.visit_unit(),
            tag::FALSE => visitor.visit_bool(false),
            tag::TRUE => visitor.visit_bool(true),
            tag::SOME => self.below(|reader| reader.deserialize_any(visitor)),
            tag::INTEGER => {
                let value = self.integer()?;
                match u64::try_from(value) {
                    Ok(value) => visitor.visit_u64(value),
                    Err(_) => visitor.visit_u128(value),
                }
            }
            tag::NEGATIVE => {
                let value = i128::try_from(self.integer()?).map_err(|_| damaged())?;
                match i64::try_from(!value) {
                    Ok(value) => visitor.visit_i64(value),
                    Err(_) => visitor.visit_i128(!value),
                }
            }
            tag::F32 => visitor.visit_f32(f32::from_bits(u32::from_le_bytes(self.array()?))),
            tag::F64 => visitor.visit_f64(f64::from_bits(u64::from_le_bytes(self.array()?))),
            tag::CHAR => {
                let value = u32::try_from(self.integer()?).ok().and_then(char::from_u32);
                visitor.visit_char(value.ok_or_else(damaged)?)
            }
            tag::TEXT => visitor.visit_borrowed_str(self.text()?),
            tag::BYTES => {
                let length = self.length()?;
                visitor.visit_borrowed_bytes(self.take(length)?)
            }
            tag::LIST => self.parts(|parts| visitor.visit_seq(parts)),
            tag::MAP => self.parts(|parts| visitor.visit_map(parts)),
            tag::VARIANT => {
                let name = self.name()?;
                if self.peek()? == tag::UNIT {
                    self.byte()?;
                    return visitor.visit_borrowed_str(name);
                }
                self.below(|reader| visitor.visit_map(OneEntry { name: Some(name), reader }))
            }
            _ => Err(damaged()),
        }
    }

    fn deserialize_option<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, TaggedError> {
        match self.peek()? {
            tag::NONE | tag::UNIT => {
                self.byte()?;
                visitor.visit_none()
            }
            tag::SOME => {
                self.byte()?;
                self.below(|reader| visitor.visit_some(reader))
            }
            _ => self.below(|reader| visitor.visit_some(reader)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'b>>(self, _: &'static str, visitor: V) -> Result<V::Value, TaggedError> {
        self.below(|reader| visitor.visit_newtype_struct(reader))
    }

    fn deserialize_enum<V: Visitor<'b>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TaggedError> {
        match self.byte()? {
            tag::VARIANT => {
                let name = self.name()?;
                self.below(|reader| visitor.visit_enum(Variant { name, content: Some(reader) }))
            }
            tag::TEXT => visitor.visit_enum(Variant { name: self.text()?, content: None }),
            // A map of one entry: name and content, as in JSON.
            tag::MAP => self.parts(|parts| {
                let name = parts.0.name()?;
                visitor.visit_enum(Variant { name, content: Some(parts.0) })
            }),
            _ => Err(TaggedError::new("expected a variant of an enum")),
        }
    }

    fn is_human_readable(&self) -> bool {
        true
    }

    forward_to_deserialize_any! {
        <W: Visitor<'b>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct
        map struct identifier ignored_any
    }
}

/// The content of a list or map, up to its end tag, which is not consumed.
struct Parts<'r, 'b>(&'r mut Reader<'b>);

impl<'b> SeqAccess<'b> for Parts<'_, 'b> {
    type Error = TaggedError;
    fn next_element_seed<T: DeserializeSeed<'b>>(&mut self, seed: T) -> Result<Option<T::Value>, TaggedError> {
        if self.0.peek()? == tag::END {
            return Ok(None);
        }
        seed.deserialize(&mut *self.0).map(Some)
    }
}

impl<'b> MapAccess<'b> for Parts<'_, 'b> {
    type Error = TaggedError;
    fn next_key_seed<K: DeserializeSeed<'b>>(&mut self, seed: K) -> Result<Option<K::Value>, TaggedError> {
        self.next_element_seed(seed)
    }
    fn next_value_seed<T: DeserializeSeed<'b>>(&mut self, seed: T) -> Result<T::Value, TaggedError> {
        seed.deserialize(&mut *self.0)
    }
}

/// A variant as a map of one entry.
struct OneEntry<'r, 'b> {
    name: Option<&'b str>,
    reader: &'r mut Reader<'b>,
}

impl<'b> MapAccess<'b> for OneEntry<'_, 'b> {
    type Error = TaggedError;
    fn next_key_seed<K: DeserializeSeed<'b>>(&mut self, seed: K) -> Result<Option<K::Value>, TaggedError> {
        self.name.take().map(|name| seed.deserialize(BorrowedStrDeserializer::new(name))).transpose()
    }
    fn next_value_seed<T: DeserializeSeed<'b>>(&mut self, seed: T) -> Result<T::Value, TaggedError> {
        seed.deserialize(&mut *self.reader)
    }
}

/// A variant as an enum; without content if it was a text.
struct Variant<'r, 'b> {
    name: &'b str,
    content: Option<&'r mut Reader<'b>>,
}

impl<'r, 'b> EnumAccess<'b> for Variant<'r, 'b> {
    type Error = TaggedError;
    type Variant = Self;
    fn variant_seed<V: DeserializeSeed<'b>>(self, seed: V) -> Result<(V::Value, Self), TaggedError> {
        let name: BorrowedStrDeserializer<'b, TaggedError> = BorrowedStrDeserializer::new(self.name);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'b> VariantAccess<'b> for Variant<'_, 'b> {
    type Error = TaggedError;
    fn unit_variant(self) -> Result<(), TaggedError> {
        match self.content {
            Some(reader) => serde::Deserialize::deserialize(reader),
            None => Ok(()),
        }
    }
    fn newtype_variant_seed<T: DeserializeSeed<'b>>(self, seed: T) -> Result<T::Value, TaggedError> {
        match self.content {
            Some(reader) => seed.deserialize(reader),
            None => seed.deserialize(UnitDeserializer::new()),
        }
    }
    fn tuple_variant<V: Visitor<'b>>(self, _: usize, visitor: V) -> Result<V::Value, TaggedError> {
        self.content.ok_or_else(damaged)?.deserialize_any(visitor)
    }
    fn struct_variant<V: Visitor<'b>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, TaggedError> {
        self.content.ok_or_else(damaged)?.deserialize_any(visitor)
    }
}
