//! `#[derive(Datum)]`: structs and enums as record types of Windrow.
//!
//! A struct is encoded as the tuple of its fields, and an enum as the number of its variant in one byte, then the tuple of the
//! variant's fields. So a type sorts by its variants and fields in the order in which they are declared, as `derive(Ord)` does.
//! The borrowed form is a type of its own with the same shape, whose fields have their borrowed forms. This crate knows
//! nothing of the engine: it writes code against the traits `Datum`, `IntoDatum`, `Key` and `Fields` of the crate `windrow`.

mod expand;
mod shape;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct or an enum a record type, and a key if all of its fields are keys.
///
/// Record functions get the borrowed form, a type with the name of the type and `Ref` after it, and may emit either. More
/// traits of the borrowed form are derived by `#[datum(derive(Debug, PartialEq))]`; it always is `Clone` and `Copy`. The type
/// may have no type or lifetime parameters, and an enum at most 256 variants.
#[proc_macro_derive(Datum, attributes(datum))]
pub fn derive_datum(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let expanded = shape::Shape::of(&input).map(|shape| expand::expand(&shape));
    expanded.unwrap_or_else(|e| e.to_compile_error()).into()
}
