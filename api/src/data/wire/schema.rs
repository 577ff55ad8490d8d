//! What a type's `Deserialize` asks for, as a tree, and the check that a value's `Serialize` writes exactly that.
//!
//! The plain form has neither names nor types: a reader that asks for something else than was written would read other
//! values. So every call of `Serialize` is compared with what `Deserialize` will ask for.

use crate::data::watched::{Leaf, Observer, Parts, Refusal};

/// One position in a type.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub shape: Shape,
    /// Progress of the probe: the next branch of this node, the last run that entered it, and whether all of it has
    /// been seen.
    pub next: usize,
    pub seen_in: usize,
    pub done: bool,
}

/// What is asked for at a position.
#[derive(Debug, Default)]
pub(crate) enum Shape {
    /// Not seen yet.
    #[default]
    Unknown,
    Leaf(Kind),
    Option(Box<Node>),
    Newtype(Box<Node>),
    Seq(Box<Node>),
    Tuple(Vec<Node>),
    TupleStruct(Vec<Node>),
    /// Key and value.
    Map(Box<[Node; 2]>),
    Struct(Fields),
    /// The content of each variant: a unit, a newtype, a tuple or a struct.
    Enum(Vec<Node>),
}

/// The fields of a struct.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    pub names: &'static [&'static str],
    pub nodes: Vec<Node>,
    /// Which fields are required.
    pub required: Vec<bool>,
}

/// The kind of a value without parts. `str` and `String` are one kind, and so are the two kinds of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
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
    F32,
    F64,
    Char,
    Str,
    Bytes,
    Unit,
    UnitStruct,
}

/// Prefix of the refusal of a value that is written without all of its fields.
pub(super) const LEAVES_OUT: &str = "`Serialize` leaves out";

/// Compares a value with a node.
#[derive(Clone, Copy)]
pub(super) struct Fits<'n>(At<'n>);

#[derive(Clone, Copy)]
enum At<'n> {
    Node(&'n Node),
    /// All parts have the same node, and there are this many.
    Each(&'n Node, usize),
    /// Keys and values alternate, and there are this many pairs.
    Pair(&'n [Node; 2], usize),
    /// Each part has its own node.
    Row(&'n [Node]),
}

impl<'n> Fits<'n> {
    pub(super) fn new(node: &'n Node) -> Self {
        Fits(At::Node(node))
    }
    #[inline]
    fn shape(self) -> &'n Shape {
        match self.0 {
            At::Node(node) => &node.shape,
            _ => &Shape::Unknown,
        }
    }
    fn variant(self, index: u32) -> &'n Shape {
        match self.shape() {
            Shape::Enum(variants) => variants.get(index as usize).map_or(&Shape::Unknown, |node| &node.shape),
            _ => &Shape::Unknown,
        }
    }
}

/// The refusal of a value whose `Serialize` writes something else than its `Deserialize` asks for.
#[cold]
fn differs(written: &str) -> Refusal {
    format!("`Serialize` writes {written} where `Deserialize` asks for something else")
}

fn row(nodes: &[Node], count: Option<usize>) -> Result<Fits<'_>, Refusal> {
    match count == Some(nodes.len()) {
        true => Ok(Fits(At::Row(nodes))),
        false => Err(differs(&format!("{} parts", count.unwrap_or(0)))),
    }
}

fn fields_of(fields: &Fields, count: Option<usize>) -> Result<Fits<'_>, Refusal> {
    let (written, asked) = (count.unwrap_or(0), fields.nodes.len());
    match written < asked {
        true => Err(format!("{LEAVES_OUT} {} of the {asked} fields that `Deserialize` asks for", asked - written)),
        false => row(&fields.nodes, count),
    }
}

fn counted(count: Option<usize>) -> Result<usize, Refusal> {
    count.ok_or_else(|| "`Serialize` does not say how many parts follow".to_string())
}

impl Observer for Fits<'_> {
    #[inline]
    fn leaf(self, leaf: Leaf) -> Result<(), Refusal> {
        let kind = match leaf {
            Leaf::Bool => Kind::Bool,
            Leaf::I8 => Kind::I8,
            Leaf::I16 => Kind::I16,
            Leaf::I32 => Kind::I32,
            Leaf::I64 => Kind::I64,
            Leaf::I128 => Kind::I128,
            Leaf::U8 => Kind::U8,
            Leaf::U16 => Kind::U16,
            Leaf::U32 => Kind::U32,
            Leaf::U64 => Kind::U64,
            Leaf::U128 => Kind::U128,
            Leaf::F32(_) => Kind::F32,
            Leaf::F64(_) => Kind::F64,
            Leaf::Char => Kind::Char,
            Leaf::Str => Kind::Str,
            Leaf::Bytes => Kind::Bytes,
            Leaf::Unit => Kind::Unit,
            Leaf::UnitStruct => Kind::UnitStruct,
            Leaf::None => match self.shape() {
                Shape::Option(_) => return Ok(()),
                _ => return Err(differs("nothing")),
            },
        };
        match self.shape() {
            Shape::Leaf(asked) if *asked == kind => Ok(()),
            _ => Err(differs(&format!("{kind:?}"))),
        }
    }
    #[inline]
    fn some(self) -> Result<Self, Refusal> {
        match self.shape() {
            Shape::Option(node) => Ok(Fits::new(node)),
            _ => Err(differs("an option")),
        }
    }
    #[inline]
    fn newtype(self) -> Result<Self, Refusal> {
        match self.shape() {
            Shape::Newtype(node) => Ok(Fits::new(node)),
            _ => Err(differs("a newtype")),
        }
    }
    #[inline]
    fn unit_variant(self, index: u32) -> Result<(), Refusal> {
        match self.variant(index) {
            Shape::Leaf(Kind::Unit) => Ok(()),
            _ => Err(differs(&format!("variant {index} of an enum"))),
        }
    }
    #[inline]
    fn newtype_variant(self, index: u32) -> Result<Self, Refusal> {
        match self.variant(index) {
            Shape::Newtype(node) => Ok(Fits::new(node)),
            _ => Err(differs(&format!("variant {index} of an enum"))),
        }
    }
    #[inline]
    fn parts(self, parts: Parts, count: Option<usize>) -> Result<Self, Refusal> {
        match (parts, self.shape()) {
            (Parts::Seq, Shape::Seq(node)) => counted(count).map(|n| Fits(At::Each(node, n))),
            (Parts::Map, Shape::Map(pair)) => counted(count).map(|n| Fits(At::Pair(pair, n))),
            (Parts::Tuple, Shape::Tuple(nodes)) | (Parts::TupleStruct, Shape::TupleStruct(nodes)) => row(nodes, count),
            (Parts::Struct, Shape::Struct(fields)) => fields_of(fields, count),
            (Parts::TupleVariant(index), _) => match self.variant(index) {
                Shape::Tuple(nodes) => row(nodes, count),
                _ => Err(differs(&format!("variant {index} of an enum"))),
            },
            (Parts::StructVariant(index), _) => match self.variant(index) {
                Shape::Struct(fields) => fields_of(fields, count),
                _ => Err(differs(&format!("variant {index} of an enum"))),
            },
            _ => Err(differs(&format!("a {parts:?}"))),
        }
    }
    #[inline]
    fn part(self, index: usize) -> Result<Self, Refusal> {
        let node = match self.0 {
            At::Each(node, _) => Some(node),
            At::Pair(pair, _) => Some(&pair[index % 2]),
            At::Row(nodes) => nodes.get(index),
            At::Node(_) => None,
        };
        node.map(Fits::new).ok_or_else(|| differs("more parts"))
    }
    fn left_out(self, field: &'static str) -> Result<(), Refusal> {
        Err(format!("{LEAVES_OUT} the field `{field}`, which `Deserialize` asks for"))
    }
    #[inline]
    fn end(self, count: usize) -> Result<(), Refusal> {
        let expected = match self.0 {
            At::Each(_, n) => n,
            At::Pair(_, n) => 2 * n,
            At::Row(nodes) => nodes.len(),
            At::Node(_) => count,
        };
        if expected == count {
            Ok(())
        } else {
            Err(format!("`Serialize` writes {count} parts after it said {expected}"))
        }
    }
}
