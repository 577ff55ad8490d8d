//! The recorded schema of a serde type as a text.

use super::schema::{Node, Shape};
use std::fmt::Write;

/// Appends what the plain form of a node depends on: the kinds of its parts in their order, and the names of fields.
pub(super) fn describe(node: &Node, out: &mut String) {
    match &node.shape {
        Shape::Unknown => out.push('?'),
        // Writing to a string cannot fail.
        Shape::Leaf(kind) => _ = write!(out, "{kind:?}"),
        Shape::Option(node) => within("Option<", std::slice::from_ref(&**node), ">", out),
        Shape::Newtype(node) => describe(node, out),
        Shape::Seq(node) => within("[", std::slice::from_ref(&**node), "]", out),
        Shape::Tuple(nodes) | Shape::TupleStruct(nodes) => within("(", nodes, ")", out),
        Shape::Map(pair) => within("Map<", &pair[..], ">", out),
        Shape::Enum(variants) => within("Enum<", variants, ">", out),
        Shape::Struct(fields) => {
            out.push('{');
            for (i, (name, node)) in fields.names.iter().zip(&fields.nodes).enumerate() {
                let _ = write!(out, "{}{name}: ", if i == 0 { "" } else { ", " });
                describe(node, out);
            }
            out.push('}')
        }
    }
}

fn within(open: &str, nodes: &[Node], close: &str, out: &mut String) {
    out.push_str(open);
    for (i, node) in nodes.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        describe(node, out);
    }
    out.push_str(close)
}
