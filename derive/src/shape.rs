//! What the macro reads of a type: its variants with their fields. A struct is one variant without a name.

use proc_macro2::Span;
use quote::format_ident;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Fields, Ident, Index, Member, Path, Result, Type, Visibility};

/// Most variants of an enum: their numbers are one byte.
const VARIANTS_MAX: usize = 256;

/// A struct or an enum.
pub(crate) struct Shape {
    pub visibility: Visibility,
    pub name: Ident,
    /// The name of the borrowed form.
    pub borrowed: Ident,
    /// Traits that the borrowed form derives besides `Clone` and `Copy`.
    pub derives: Vec<Path>,
    pub is_enum: bool,
    pub variants: Vec<Variant>,
}

/// A variant of an enum, or a struct.
pub(crate) struct Variant {
    /// Absent for a struct.
    pub name: Option<Ident>,
    pub docs: Vec<Attribute>,
    pub style: Style,
    pub fields: Vec<Field>,
}

/// How fields are written.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Style {
    /// `{ a: A, b: B }`
    Named,
    /// `(A, B)`
    Tuple,
    /// Nothing.
    Unit,
}

/// A field of a variant.
pub(crate) struct Field {
    pub visibility: Visibility,
    pub docs: Vec<Attribute>,
    pub member: Member,
    /// The variable that holds the field in generated code.
    pub variable: Ident,
    pub of: Type,
}

impl Shape {
    pub(crate) fn of(input: &DeriveInput) -> Result<Shape> {
        if !input.generics.params.is_empty() {
            return Err(Error::new(input.generics.span(), "a record type has no parameters"));
        }
        let (is_enum, variants) = match &input.data {
            Data::Struct(data) => (false, vec![Variant::of(None, &[], &data.fields)]),
            Data::Enum(data) => {
                let of = |v: &syn::Variant| Variant::of(Some(v.ident.clone()), &v.attrs, &v.fields);
                (true, data.variants.iter().map(of).collect())
            }
            _ => return Err(Error::new(Span::call_site(), "a record type is a struct or an enum")),
        };
        if variants.is_empty() || variants.len() > VARIANTS_MAX {
            let message = format!("an enum that is a record type has from 1 to {VARIANTS_MAX} variants");
            return Err(Error::new(input.ident.span(), message));
        }
        let mut derives = Vec::new();
        for attribute in input.attrs.iter().filter(|a| a.path().is_ident("datum")) {
            attribute.parse_nested_meta(|meta| {
                if !meta.path.is_ident("derive") {
                    return Err(meta.error("expected `derive(...)`"));
                }
                meta.parse_nested_meta(|path| {
                    derives.push(path.path);
                    Ok(())
                })
            })?;
        }
        Ok(Shape {
            visibility: input.vis.clone(),
            name: input.ident.clone(),
            borrowed: format_ident!("{}Ref", input.ident),
            derives,
            is_enum,
            variants,
        })
    }

    /// All fields of all variants.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &Field> {
        self.variants.iter().flat_map(|v| &v.fields)
    }
}

impl Variant {
    fn of(name: Option<Ident>, attributes: &[Attribute], fields: &Fields) -> Variant {
        let style = match fields {
            Fields::Named(_) => Style::Named,
            Fields::Unnamed(_) => Style::Tuple,
            Fields::Unit => Style::Unit,
        };
        let field = |(i, field): (usize, &syn::Field)| Field {
            visibility: field.vis.clone(),
            docs: docs(&field.attrs),
            member: match &field.ident {
                Some(name) => Member::Named(name.clone()),
                None => Member::Unnamed(Index::from(i)),
            },
            variable: format_ident!("field_{i}"),
            of: field.ty.clone(),
        };
        Variant { name, docs: docs(attributes), style, fields: fields.iter().enumerate().map(field).collect() }
    }
}

fn docs(attributes: &[Attribute]) -> Vec<Attribute> {
    attributes.iter().filter(|a| a.path().is_ident("doc")).cloned().collect()
}
