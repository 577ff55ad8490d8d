//! The deserializer of a probe: it makes up data, and records what it is asked for.

use crate::data::wire::schema::{Fields, Kind, Node, Shape};
use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use std::fmt::{self, Display};

/// How structs get their fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In sequence, as from bincode.
    InRow,
    /// By name: in one run only the required fields, in another all.
    ByName,
}

/// The values that stand for every number and every text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answers {
    pub number: u8,
    pub text: &'static str,
}

/// One run through a type.
pub(super) struct Run {
    id: usize,
    way: Way,
    answers: Answers,
    /// How many levels and nodes the run may still enter. It ends the run of a type of unbounded depth.
    levels: usize,
    places: usize,
}

/// Maximum depth of a type. Deeper types are rare, and types of unbounded depth reach it soon.
const LEVELS_MAX: usize = 48;
const PLACES_MAX: usize = 10_000;

impl Run {
    pub(super) fn new(id: usize, way: Way, answers: Answers) -> Self {
        Run { id, way, answers, levels: LEVELS_MAX, places: PLACES_MAX }
    }
}

/// Why a run made no value.
#[derive(Debug)]
pub(super) enum Stop {
    /// The type does something that bincode cannot represent.
    NotPlain,
    /// A field has several names, or the like.
    ByNameOnly,
    /// The next run takes another path.
    Again,
    /// The type refused the made-up data.
    Refused,
    Missing(&'static str),
}

impl Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
impl std::error::Error for Stop {}
impl Error for Stop {
    fn custom<T: Display>(_: T) -> Self {
        Stop::Refused
    }
    fn missing_field(field: &'static str) -> Self {
        Stop::Missing(field)
    }
}

/// Makes the value of one node.
pub(super) struct Maker<'n, 'r> {
    node: &'n mut Node,
    run: &'r mut Run,
}

impl<'n, 'r> Maker<'n, 'r> {
    pub(super) fn new(node: &'n mut Node, run: &'r mut Run) -> Self {
        Maker { node, run }
    }

    /// Enters the node. `make` returns its shape, if it has not been seen before.
    fn enter(&mut self, make: impl FnOnce() -> Shape) -> Result<(), Stop> {
        self.run.places = self.run.places.checked_sub(1).ok_or(Stop::NotPlain)?;
        self.node.seen_in = self.run.id;
        if let Shape::Unknown = self.node.shape {
            self.node.shape = make();
        }
        Ok(())
    }

    fn leaf(&mut self, kind: Kind) -> Result<Answers, Stop> {
        self.enter(|| Shape::Leaf(kind))?;
        match self.node.shape {
            Shape::Leaf(known) if known == kind => Ok(self.run.answers),
            _ => Err(Stop::NotPlain),
        }
    }

    /// Whether to leave out what is below this node: in the first run, and after everything has been seen.
    fn is_bare(&self) -> bool {
        self.node.next == 0 || self.node.done
    }
}

/// Runs `f` one level deeper.
fn below<X>(run: &mut Run, f: impl FnOnce(&mut Run) -> Result<X, Stop>) -> Result<X, Stop> {
    run.levels = run.levels.checked_sub(1).ok_or(Stop::NotPlain)?;
    let result = f(run);
    run.levels += 1;
    result
}

macro_rules! numbers {
    ($($method:ident => $visit:ident($type:ty), $kind:ident;)*) => {$(
        fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
            let number = self.leaf(Kind::$kind)?.number;
            visitor.$visit(number as $type)
        }
    )*};
}

impl<'de> Deserializer<'de> for Maker<'_, '_> {
    type Error = Stop;

    numbers! {
        deserialize_i8 => visit_i8(i8), I8;
        deserialize_i16 => visit_i16(i16), I16;
        deserialize_i32 => visit_i32(i32), I32;
        deserialize_i64 => visit_i64(i64), I64;
        deserialize_i128 => visit_i128(i128), I128;
        deserialize_u8 => visit_u8(u8), U8;
        deserialize_u16 => visit_u16(u16), U16;
        deserialize_u32 => visit_u32(u32), U32;
        deserialize_u64 => visit_u64(u64), U64;
        deserialize_u128 => visit_u128(u128), U128;
        deserialize_f32 => visit_f32(f32), F32;
        deserialize_f64 => visit_f64(f64), F64;
    }
    fn deserialize_bool<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        let number = self.leaf(Kind::Bool)?.number;
        visitor.visit_bool(number != 0)
    }
    fn deserialize_char<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        let text = self.leaf(Kind::Char)?.text;
        visitor.visit_char(text.chars().next().unwrap_or_default())
    }
    fn deserialize_str<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        let text = self.leaf(Kind::Str)?.text;
        visitor.visit_str(text)
    }
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_str(visitor)
    }
    fn deserialize_bytes<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        let text = self.leaf(Kind::Bytes)?.text;
        visitor.visit_bytes(text.as_bytes())
    }
    fn deserialize_byte_buf<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        let text = self.leaf(Kind::Bytes)?.text;
        visitor.visit_byte_buf(text.as_bytes().to_vec())
    }
    fn deserialize_unit<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.leaf(Kind::Unit)?;
        visitor.visit_unit()
    }
    fn deserialize_unit_struct<V: Visitor<'de>>(mut self, _: &'static str, visitor: V) -> Result<V::Value, Stop> {
        self.leaf(Kind::UnitStruct)?;
        visitor.visit_unit()
    }
    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.enter(|| Shape::Option(Box::default()))?;
        let bare = self.is_bare();
        let Shape::Option(node) = &mut self.node.shape else { return Err(Stop::NotPlain) };
        match bare {
            true => visitor.visit_none(),
            false => below(self.run, |run| visitor.visit_some(Maker { node, run })),
        }
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(mut self, _: &'static str, visitor: V) -> Result<V::Value, Stop> {
        self.enter(|| Shape::Newtype(Box::default()))?;
        let Shape::Newtype(node) = &mut self.node.shape else { return Err(Stop::NotPlain) };
        below(self.run, |run| visitor.visit_newtype_struct(Maker { node, run }))
    }
    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.enter(|| Shape::Seq(Box::default()))?;
        let left = usize::from(!self.is_bare());
        let Shape::Seq(node) = &mut self.node.shape else { return Err(Stop::NotPlain) };
        below(self.run, |run| visitor.visit_seq(Elements { node, run, left }))
    }
    fn deserialize_tuple<V: Visitor<'de>>(mut self, count: usize, visitor: V) -> Result<V::Value, Stop> {
        self.enter(|| Shape::Tuple(Vec::new()))?;
        let Shape::Tuple(nodes) = &mut self.node.shape else { return Err(Stop::NotPlain) };
        below(self.run, |run| visitor.visit_seq(Row { nodes, run, at: 0, count }))
    }
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.enter(|| Shape::TupleStruct(Vec::new()))?;
        let Shape::TupleStruct(nodes) = &mut self.node.shape else { return Err(Stop::NotPlain) };
        below(self.run, |run| visitor.visit_seq(Row { nodes, run, at: 0, count }))
    }
    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.enter(|| Shape::Map(Box::default()))?;
        let left = usize::from(!self.is_bare());
        let Shape::Map(pair) = &mut self.node.shape else { return Err(Stop::NotPlain) };
        below(self.run, |run| visitor.visit_map(Entries { pair, run, left }))
    }
    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let required = || vec![false; names.len()];
        self.enter(|| Shape::Struct(Fields { names, nodes: Vec::new(), required: required() }))?;
        let bare = self.is_bare();
        let Shape::Struct(fields) = &mut self.node.shape else { return Err(Stop::NotPlain) };
        if fields.names != names {
            return Err(Stop::NotPlain);
        }
        if self.run.way == Way::InRow {
            let Fields { nodes, .. } = fields;
            return below(self.run, |run| visitor.visit_seq(Row { nodes, run, at: 0, count: names.len() }));
        }
        if fields.nodes.len() != names.len() {
            return Err(Stop::ByNameOnly);
        }
        let made = below(self.run, |run| visitor.visit_map(Named { fields, run, at: 0, bare }));
        match made {
            Err(Stop::Missing(field)) => {
                // The error comes from this struct: errors of nested structs were handled in their own call.
                let known = names.iter().position(|name| *name == field).filter(|_| bare);
                let required = known.and_then(|i| fields.required.get_mut(i)).filter(|required| !**required);
                *required.ok_or(Stop::Refused)? = true;
                Err(Stop::Again)
            }
            made => made,
        }
    }
    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.enter(|| Shape::Enum(variants.iter().map(|_| Node::default()).collect()))?;
        let (next, done) = (self.node.next, self.node.done);
        let Shape::Enum(nodes) = &mut self.node.shape else { return Err(Stop::NotPlain) };
        if nodes.len() != variants.len() {
            return Err(Stop::NotPlain);
        }
        // If all variants have been seen, take one that is known to exist.
        let known = || nodes.iter().position(|node| !matches!(node.shape, Shape::Unknown));
        let index = match done || next >= nodes.len() {
            true => known().ok_or(Stop::Refused)?,
            false => next,
        };
        let mut exists = false;
        let node = nodes.get_mut(index).ok_or(Stop::Refused)?;
        let made = below(self.run, |run| visitor.visit_enum(Chosen { node, run, index, exists: &mut exists }));
        if made.is_err() && !exists {
            // Another name of a variant, or a variant that is never read.
            self.node.next += 1;
            return Err(Stop::Again);
        }
        made
    }
    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        Err(Stop::NotPlain)
    }
    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        Err(Stop::NotPlain)
    }
    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        Err(Stop::NotPlain)
    }
    fn is_human_readable(&self) -> bool {
        // Like bincode.
        false
    }
}

/// Elements of the same type.
struct Elements<'n, 'r> {
    node: &'n mut Node,
    run: &'r mut Run,
    left: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_, '_> {
    type Error = Stop;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(Maker { node: self.node, run: self.run }).map(Some)
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// Parts with a type each; there are `count` of them.
struct Row<'n, 'r> {
    nodes: &'n mut Vec<Node>,
    run: &'r mut Run,
    at: usize,
    count: usize,
}

impl<'de> SeqAccess<'de> for Row<'_, '_> {
    type Error = Stop;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        if self.at == self.count {
            return Ok(None);
        }
        if self.at == self.nodes.len() {
            self.nodes.push(Node::default());
        }
        let node = &mut self.nodes[self.at];
        self.at += 1;
        seed.deserialize(Maker { node, run: self.run }).map(Some)
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.count - self.at)
    }
}

struct Entries<'n, 'r> {
    pair: &'n mut [Node; 2],
    run: &'r mut Run,
    left: usize,
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = Stop;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(Maker { node: &mut self.pair[0], run: self.run }).map(Some)
    }
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Stop> {
        seed.deserialize(Maker { node: &mut self.pair[1], run: self.run })
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// Fields with their names: all fields, or only the required ones.
struct Named<'n, 'r> {
    fields: &'n mut Fields,
    run: &'r mut Run,
    /// Index after the field whose name was given last.
    at: usize,
    bare: bool,
}

impl<'de> MapAccess<'de> for Named<'_, '_> {
    type Error = Stop;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        while let Some(name) = self.fields.names.get(self.at) {
            self.at += 1;
            if !self.bare || self.fields.required[self.at - 1] {
                let name = IntoDeserializer::<Stop>::into_deserializer(*name);
                return seed.deserialize(name).map(Some);
            }
        }
        Ok(None)
    }
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Stop> {
        seed.deserialize(Maker { node: &mut self.fields.nodes[self.at - 1], run: self.run })
    }
}

/// One variant of an enum.
struct Chosen<'n, 'r, 'e> {
    node: &'n mut Node,
    run: &'r mut Run,
    index: usize,
    /// Set when the type has accepted the index of the variant.
    exists: &'e mut bool,
}

impl<'de, 'n, 'r> EnumAccess<'de> for Chosen<'n, 'r, '_> {
    type Error = Stop;
    type Variant = Maker<'n, 'r>;
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Maker<'n, 'r>), Stop> {
        let index: U32Deserializer<Stop> = (self.index as u32).into_deserializer();
        let variant = seed.deserialize(index)?;
        *self.exists = true;
        Ok((variant, Maker { node: self.node, run: self.run }))
    }
}

impl<'de> VariantAccess<'de> for Maker<'_, '_> {
    type Error = Stop;
    fn unit_variant(mut self) -> Result<(), Stop> {
        self.leaf(Kind::Unit).map(drop)
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(mut self, seed: T) -> Result<T::Value, Stop> {
        self.enter(|| Shape::Newtype(Box::default()))?;
        let Shape::Newtype(node) = &mut self.node.shape else { return Err(Stop::NotPlain) };
        below(self.run, |run| seed.deserialize(Maker { node, run }))
    }
    fn tuple_variant<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_tuple(count, visitor)
    }
    fn struct_variant<V: Visitor<'de>>(self, names: &'static [&'static str], visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_struct("", names, visitor)
    }
}
