//! Encodes values in the tagged form.

use super::{LEVELS_MAX, TaggedError, tag};
use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// How a value is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// As the format describes.
    Full,
    /// The content of a `Some` without a tag, as in JSON: for types whose own code reads a `Some` of nothing from that.
    BareOptions,
    /// Only for comparisons: each part with the name of the `Serializer` method that took it, so that a struct differs
    /// from a map, a tuple from a list and a `u8` from a `u64`.
    Exact,
}

/// Appends a value. Returns whether its type has left out a field.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T, style: Style, out: &mut Vec<u8>) -> Result<bool, TaggedError> {
    let mut writer = Writer { out, levels: LEVELS_MAX, style, leaves_out: false };
    value.serialize(&mut writer)?;
    Ok(writer.leaves_out)
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    levels: u32,
    style: Style,
    leaves_out: bool,
}

impl Writer<'_> {
    fn integer(&mut self, mut value: u128) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
    fn signed(&mut self, value: i128) {
        let negative = value < 0;
        self.out.push(if negative { tag::NEGATIVE } else { tag::INTEGER });
        self.integer(if negative { !value } else { value } as u128)
    }
    fn text(&mut self, text: &str) {
        self.out.push(tag::TEXT);
        self.integer(text.len() as u128);
        self.out.extend_from_slice(text.as_bytes())
    }
    fn down(&mut self) -> Result<(), TaggedError> {
        let left = self.levels.checked_sub(1);
        self.levels = left.ok_or_else(|| TaggedError::new(format!("it has more than {LEVELS_MAX} levels")))?;
        Ok(())
    }
    /// Writes the value after a tag.
    fn inner<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TaggedError> {
        self.down()?;
        value.serialize(&mut *self)?;
        self.levels += 1;
        Ok(())
    }
    fn open(&mut self, tag: u8) -> Result<&mut Self, TaggedError> {
        self.down()?;
        self.out.push(tag);
        Ok(self)
    }
    fn close(&mut self) -> Result<(), TaggedError> {
        self.levels += 1;
        self.out.push(tag::END);
        Ok(())
    }
    /// Marks the kind of what follows, in the exact style.
    fn kind(&mut self, kind: &str) -> &mut Self {
        if self.style == Style::Exact {
            self.variant(kind);
        }
        self
    }
    fn variant(&mut self, name: &str) -> &mut Self {
        self.out.push(tag::VARIANT);
        self.text(name);
        self
    }
}

macro_rules! integers {
    ($($method:ident($type:ty))*) => {$(
        fn $method(self, v: $type) -> Result<(), TaggedError> {
            self.kind(stringify!($type)).signed(v.into());
            Ok(())
        }
    )*};
}

impl Serializer for &mut Writer<'_> {
    type Ok = ();
    type Error = TaggedError;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    integers! {
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64) serialize_i128(i128)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64)
    }
    fn serialize_u128(self, v: u128) -> Result<(), TaggedError> {
        self.kind("u128").out.push(tag::INTEGER);
        self.integer(v);
        Ok(())
    }
    fn serialize_bool(self, v: bool) -> Result<(), TaggedError> {
        self.out.push(if v { tag::TRUE } else { tag::FALSE });
        Ok(())
    }
    fn serialize_f32(self, v: f32) -> Result<(), TaggedError> {
        self.out.push(tag::F32);
        self.out.extend_from_slice(&v.to_bits().to_le_bytes());
        Ok(())
    }
    fn serialize_f64(self, v: f64) -> Result<(), TaggedError> {
        self.out.push(tag::F64);
        self.out.extend_from_slice(&v.to_bits().to_le_bytes());
        Ok(())
    }
    fn serialize_char(self, v: char) -> Result<(), TaggedError> {
        self.out.push(tag::CHAR);
        self.integer(u32::from(v).into());
        Ok(())
    }
    fn serialize_str(self, v: &str) -> Result<(), TaggedError> {
        self.text(v);
        Ok(())
    }
    fn serialize_bytes(self, v: &[u8]) -> Result<(), TaggedError> {
        self.out.push(tag::BYTES);
        self.integer(v.len() as u128);
        self.out.extend_from_slice(v);
        Ok(())
    }
    fn serialize_none(self) -> Result<(), TaggedError> {
        self.out.push(tag::NONE);
        Ok(())
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), TaggedError> {
        if self.style != Style::BareOptions {
            self.out.push(tag::SOME);
        }
        self.inner(value)
    }
    fn serialize_unit(self) -> Result<(), TaggedError> {
        self.out.push(tag::UNIT);
        Ok(())
    }
    fn serialize_unit_struct(self, name: &'static str) -> Result<(), TaggedError> {
        self.kind(name).serialize_unit()
    }
    fn serialize_unit_variant(self, name: &'static str, _: u32, variant: &'static str) -> Result<(), TaggedError> {
        self.kind(name).variant(variant).serialize_unit()
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), TaggedError> {
        self.kind(name).inner(value)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), TaggedError> {
        self.kind(name).variant(variant).inner(value)
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Self, TaggedError> {
        self.open(tag::LIST)
    }
    fn serialize_tuple(self, _: usize) -> Result<Self, TaggedError> {
        self.kind("tuple").open(tag::LIST)
    }
    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Self, TaggedError> {
        self.kind(name).open(tag::LIST)
    }
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self, TaggedError> {
        self.kind(name).variant(variant).open(tag::LIST)
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Self, TaggedError> {
        self.open(tag::MAP)
    }
    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Self, TaggedError> {
        self.kind(name).open(tag::MAP)
    }
    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self, TaggedError> {
        self.kind(name).variant(variant).open(tag::MAP)
    }
    fn is_human_readable(&self) -> bool {
        true
    }
}

macro_rules! parts {
    ($($trait:ident $method:ident($($name:ident)?);)*) => {$(
        impl $trait for &mut Writer<'_> {
            type Ok = ();
            type Error = TaggedError;
            fn $method<T: Serialize + ?Sized>(&mut self, $($name: &'static str,)? value: &T) -> Result<(), TaggedError> {
                $(self.text($name);)?
                value.serialize(&mut **self)
            }
            $(
                fn skip_field(&mut self, $name: &'static str) -> Result<(), TaggedError> {
                    let _ = $name;
                    self.leaves_out = true;
                    Ok(())
                }
            )?
            fn end(self) -> Result<(), TaggedError> {
                self.close()
            }
        }
    )*};
}
parts! {
    SerializeSeq serialize_element();
    SerializeTuple serialize_element();
    SerializeTupleStruct serialize_field();
    SerializeTupleVariant serialize_field();
    SerializeStruct serialize_field(key);
    SerializeStructVariant serialize_field(key);
}

impl SerializeMap for &mut Writer<'_> {
    type Ok = ();
    type Error = TaggedError;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), TaggedError> {
        key.serialize(&mut **self)
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TaggedError> {
        value.serialize(&mut **self)
    }
    fn end(self) -> Result<(), TaggedError> {
        self.close()
    }
}
