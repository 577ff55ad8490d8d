//! A serializer that reports each call to an observer, which may refuse the value, and passes the call unchanged to an
//! inner serializer.

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use std::fmt::Display;

/// A value without parts. Floats carry their value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Leaf {
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32(f32),
    F64(f64),
    Char,
    Str,
    Bytes,
    Unit,
    UnitStruct,
    None,
}

/// A value with parts. Variants of enums carry their index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parts {
    Seq,
    Tuple,
    TupleStruct,
    Map,
    Struct,
    TupleVariant(u32),
    StructVariant(u32),
}

/// Why a value is refused: a part of a sentence.
pub(crate) type Refusal = String;

/// Examines one value: first its kind, then each of its parts with an observer of that part.
pub(crate) trait Observer: Copy {
    fn leaf(self, leaf: Leaf) -> Result<(), Refusal>;
    fn some(self) -> Result<Self, Refusal>;
    fn newtype(self) -> Result<Self, Refusal>;
    fn unit_variant(self, index: u32) -> Result<(), Refusal>;
    fn newtype_variant(self, index: u32) -> Result<Self, Refusal>;
    /// Returns the observer of the parts. `count` is their number, if it is known.
    fn parts(self, parts: Parts, count: Option<usize>) -> Result<Self, Refusal>;
    /// Returns the observer of one part by its index. In a map each key and each value has an index of its own.
    fn part(self, index: usize) -> Result<Self, Refusal>;
    /// A field is left out of a struct.
    fn left_out(self, field: &'static str) -> Result<(), Refusal>;
    /// The value ends after `count` parts.
    fn end(self, count: usize) -> Result<(), Refusal>;
}

/// A value that is observed while it is serialized.
pub(crate) struct Watched<'v, T: ?Sized, O> {
    pub value: &'v T,
    pub by: O,
}

impl<T: Serialize + ?Sized, O: Observer> Serialize for Watched<'_, T, O> {
    #[inline]
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Watch { to, by: self.by })
    }
}

struct Watch<S, O> {
    to: S,
    by: O,
}

/// The parts of a value while they are serialized.
struct WatchParts<S, O> {
    to: S,
    by: O,
    index: usize,
}

#[inline]
fn checked<X, E: Error>(answer: Result<X, Refusal>) -> Result<X, E> {
    answer.map_err(E::custom)
}

macro_rules! leaves {
    ($($method:ident($type:ty) => $leaf:ident;)*) => {$(
        #[inline]
        fn $method(self, v: $type) -> Result<S::Ok, S::Error> {
            checked(self.by.leaf(Leaf::$leaf))?;
            self.to.$method(v)
        }
    )*};
}

impl<S: Serializer, O: Observer> Serializer for Watch<S, O> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = WatchParts<S::SerializeSeq, O>;
    type SerializeTuple = WatchParts<S::SerializeTuple, O>;
    type SerializeTupleStruct = WatchParts<S::SerializeTupleStruct, O>;
    type SerializeTupleVariant = WatchParts<S::SerializeTupleVariant, O>;
    type SerializeMap = WatchParts<S::SerializeMap, O>;
    type SerializeStruct = WatchParts<S::SerializeStruct, O>;
    type SerializeStructVariant = WatchParts<S::SerializeStructVariant, O>;

    leaves! {
        serialize_bool(bool) => Bool;
        serialize_i8(i8) => I8;
        serialize_i16(i16) => I16;
        serialize_i32(i32) => I32;
        serialize_i64(i64) => I64;
        serialize_i128(i128) => I128;
        serialize_u8(u8) => U8;
        serialize_u16(u16) => U16;
        serialize_u32(u32) => U32;
        serialize_u64(u64) => U64;
        serialize_u128(u128) => U128;
        serialize_char(char) => Char;
        serialize_str(&str) => Str;
        serialize_bytes(&[u8]) => Bytes;
    }
    #[inline]
    fn serialize_f32(self, v: f32) -> Result<S::Ok, S::Error> {
        checked(self.by.leaf(Leaf::F32(v)))?;
        self.to.serialize_f32(v)
    }
    #[inline]
    fn serialize_f64(self, v: f64) -> Result<S::Ok, S::Error> {
        checked(self.by.leaf(Leaf::F64(v)))?;
        self.to.serialize_f64(v)
    }
    #[inline]
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        checked(self.by.leaf(Leaf::None))?;
        self.to.serialize_none()
    }
    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let by = checked(self.by.some())?;
        self.to.serialize_some(&Watched { value, by })
    }
    #[inline]
    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        checked(self.by.leaf(Leaf::Unit))?;
        self.to.serialize_unit()
    }
    #[inline]
    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        checked(self.by.leaf(Leaf::UnitStruct))?;
        self.to.serialize_unit_struct(name)
    }
    #[inline]
    fn serialize_unit_variant(self, name: &'static str, index: u32, variant: &'static str) -> Result<S::Ok, S::Error> {
        checked(self.by.unit_variant(index))?;
        self.to.serialize_unit_variant(name, index, variant)
    }
    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<S::Ok, S::Error> {
        let by = checked(self.by.newtype())?;
        self.to.serialize_newtype_struct(name, &Watched { value, by })
    }
    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let by = checked(self.by.newtype_variant(index))?;
        self.to.serialize_newtype_variant(name, index, variant, &Watched { value, by })
    }
    #[inline]
    fn serialize_seq(self, count: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        let by = checked(self.by.parts(Parts::Seq, count))?;
        Ok(WatchParts { to: self.to.serialize_seq(count)?, by, index: 0 })
    }
    #[inline]
    fn serialize_tuple(self, count: usize) -> Result<Self::SerializeTuple, S::Error> {
        let by = checked(self.by.parts(Parts::Tuple, Some(count)))?;
        Ok(WatchParts { to: self.to.serialize_tuple(count)?, by, index: 0 })
    }
    #[inline]
    fn serialize_tuple_struct(self, name: &'static str, count: usize) -> Result<Self::SerializeTupleStruct, S::Error> {
        let by = checked(self.by.parts(Parts::TupleStruct, Some(count)))?;
        Ok(WatchParts { to: self.to.serialize_tuple_struct(name, count)?, by, index: 0 })
    }
    #[inline]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        count: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        let by = checked(self.by.parts(Parts::TupleVariant(index), Some(count)))?;
        Ok(WatchParts { to: self.to.serialize_tuple_variant(name, index, variant, count)?, by, index: 0 })
    }
    #[inline]
    fn serialize_map(self, count: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        let by = checked(self.by.parts(Parts::Map, count))?;
        Ok(WatchParts { to: self.to.serialize_map(count)?, by, index: 0 })
    }
    #[inline]
    fn serialize_struct(self, name: &'static str, count: usize) -> Result<Self::SerializeStruct, S::Error> {
        let by = checked(self.by.parts(Parts::Struct, Some(count)))?;
        Ok(WatchParts { to: self.to.serialize_struct(name, count)?, by, index: 0 })
    }
    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        count: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let by = checked(self.by.parts(Parts::StructVariant(index), Some(count)))?;
        Ok(WatchParts { to: self.to.serialize_struct_variant(name, index, variant, count)?, by, index: 0 })
    }
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        checked(self.by.leaf(Leaf::Str))?;
        self.to.collect_str(value)
    }
    fn is_human_readable(&self) -> bool {
        self.to.is_human_readable()
    }
}

impl<S, O: Observer> WatchParts<S, O> {
    #[inline]
    fn next<'v, T: ?Sized, E: Error>(&mut self, value: &'v T) -> Result<Watched<'v, T, O>, E> {
        let by = checked(self.by.part(self.index))?;
        self.index += 1;
        Ok(Watched { value, by })
    }
}

macro_rules! parts {
    ($($trait:ident $method:ident($($name:ident: $type:ty)?);)*) => {$(
        impl<S: $trait, O: Observer> $trait for WatchParts<S, O> {
            type Ok = S::Ok;
            type Error = S::Error;
            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, $($name: $type,)? value: &T) -> Result<(), S::Error> {
                let value = self.next(value)?;
                self.to.$method($($name,)? &value)
            }
            parts! { @left_out $($name)? }
            #[inline]
            fn end(self) -> Result<S::Ok, S::Error> {
                checked(self.by.end(self.index))?;
                self.to.end()
            }
        }
    )*};
    (@left_out) => {};
    (@left_out $name:ident) => {
        fn skip_field(&mut self, field: &'static str) -> Result<(), S::Error> {
            checked(self.by.left_out(field))?;
            self.to.skip_field(field)
        }
    };
}
parts! {
    SerializeSeq serialize_element();
    SerializeTuple serialize_element();
    SerializeTupleStruct serialize_field();
    SerializeTupleVariant serialize_field();
    SerializeStruct serialize_field(key: &'static str);
    SerializeStructVariant serialize_field(key: &'static str);
}

impl<S: SerializeMap, O: Observer> SerializeMap for WatchParts<S, O> {
    type Ok = S::Ok;
    type Error = S::Error;
    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        let key = self.next(key)?;
        self.to.serialize_key(&key)
    }
    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        let value = self.next(value)?;
        self.to.serialize_value(&value)
    }
    #[inline]
    fn end(self) -> Result<S::Ok, S::Error> {
        checked(self.by.end(self.index))?;
        self.to.end()
    }
}
