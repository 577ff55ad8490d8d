//! The code for a type: its borrowed form, and the traits of record types.

use crate::shape::{Field, Shape, Style, Variant};
use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;

/// The borrowed form and all implementations.
pub(crate) fn expand(shape: &Shape) -> TokenStream {
    let name = &shape.name;
    let (borrowed, here) = (borrowed_type(shape), borrowed_with(shape, quote!('_)));
    let definition = borrowed_form(shape);
    let datum = datum(shape);
    let fields: Vec<_> = shape.fields().map(|f| &f.of).collect();
    let element = element(shape);
    let columns = (!shape.is_enum).then(|| columns(shape));
    quote! {
        #definition
        #datum
        // A bound on a type without parameters must hold, unless it is for all lifetimes: then it is an error only where it is
        // used.
        #[automatically_derived]
        impl ::windrow::Key for #name where #(for<'key> #fields: ::windrow::Key,)* {}
        #columns
        #element
        #[automatically_derived]
        impl ::windrow::IntoDatum for #name {
            type Datum = #name;
            fn with<X>(self, f: impl ::core::ops::FnOnce(#here) -> X) -> X {
                <#name as ::windrow::Datum>::lend(&self, f)
            }
        }
        #[automatically_derived]
        impl ::windrow::IntoDatum for &#name {
            type Datum = #name;
            fn with<X>(self, f: impl ::core::ops::FnOnce(#here) -> X) -> X {
                <#name as ::windrow::Datum>::lend(self, f)
            }
        }
        #[automatically_derived]
        impl ::windrow::IntoDatum for #here {
            type Datum = #name;
            fn with<X>(self, f: impl ::core::ops::FnOnce(#borrowed) -> X) -> X {
                f(self)
            }
        }
    }
}

/// The borrowed form with an anonymous lifetime.
fn borrowed_type(shape: &Shape) -> TokenStream {
    borrowed_with(shape, quote!('_))
}

/// The borrowed form with this lifetime, if it has any.
fn borrowed_with(shape: &Shape, lifetime: TokenStream) -> TokenStream {
    let borrowed = &shape.borrowed;
    match shape.fields().next() {
        Some(_) => quote!(#borrowed<#lifetime>),
        None => quote!(#borrowed),
    }
}

/// The definition of the borrowed form: the same shape.
fn borrowed_form(shape: &Shape) -> TokenStream {
    let Shape { visibility, derives, .. } = shape;
    let form = borrowed_with(shape, quote!('a));
    let about = format!("The borrowed form of [`{}`].", shape.name);
    let fields = |variant: &Variant| {
        let field = |Field { visibility, docs, member, of, .. }: &Field| {
            let of = quote!(<#of as ::windrow::Datum>::Ref<'a>);
            match member {
                syn::Member::Named(name) => quote!(#(#docs)* #visibility #name: #of),
                syn::Member::Unnamed(_) => quote!(#(#docs)* #visibility #of),
            }
        };
        let fields = variant.fields.iter().map(field);
        match variant.style {
            Style::Named => quote!({ #(#fields,)* }),
            Style::Tuple => quote!((#(#fields,)*)),
            Style::Unit => quote!(),
        }
    };
    let head = quote! {
        #[doc = #about]
        #[derive(::core::clone::Clone, ::core::marker::Copy, #(#derives,)*)]
    };
    if shape.is_enum {
        let variants = shape.variants.iter().map(|v| {
            let (docs, name, fields) = (&v.docs, &v.name, fields(v));
            quote!(#(#docs)* #name #fields)
        });
        return quote!(#head #visibility enum #form { #(#variants,)* });
    }
    let fields = shape.variants.iter().map(|v| {
        let end = (v.style != Style::Named).then(|| quote!(;));
        let fields = fields(v);
        quote!(#fields #end)
    });
    quote!(#head #visibility struct #form #(#fields)*)
}

/// `Name { a: field_0, b: field_1 }` or `Name::Variant { 0: field_0 }`, a pattern and an expression, with these values.
fn written(name: &syn::Ident, variant: &Variant, value: impl Fn(&Field) -> TokenStream) -> TokenStream {
    let path = match &variant.name {
        Some(variant) => quote!(#name::#variant),
        None => quote!(#name),
    };
    let fields = variant.fields.iter().map(|field| {
        let (member, value) = (&field.member, value(field));
        quote!(#member: #value)
    });
    quote!(#path { #(#fields,)* })
}

/// A call of a function of a field's family.
fn family(field: &Field, call: TokenStream) -> TokenStream {
    let of = &field.of;
    quote!(<#of as ::windrow::Datum>::#call)
}

fn datum(shape: &Shape) -> TokenStream {
    let Shape { name, borrowed, .. } = shape;
    let form = borrowed_with(shape, quote!('a));
    let kind = name.unraw().to_string();
    let fields: Vec<_> = shape.fields().map(|f| &f.of).collect();
    let variable = |f: &Field| {
        let variable = &f.variable;
        quote!(#variable)
    };
    // An arm for each variant of the borrowed form.
    let arms = |body: &dyn Fn(usize, &Variant) -> TokenStream| {
        let arm = |(i, v): (usize, &Variant)| {
            let (pattern, body) = (written(borrowed, v, variable), body(i, v));
            quote!(#pattern => #body)
        };
        let arms: Vec<_> = shape.variants.iter().enumerate().map(arm).collect();
        quote!(match r { #(#arms,)* })
    };
    let last = |v: &Variant, i: usize| if i + 1 == v.fields.len() { quote!(LAST) } else { quote!(false) };
    let encode = arms(&|i, v| {
        let number = i as u8;
        let number = shape.is_enum.then(|| quote!(out.push(#number);));
        let fields = v.fields.iter().enumerate().map(|(i, f)| {
            let (last, variable) = (last(v, i), &f.variable);
            family(f, quote!(encode::<#last>(#variable, out);))
        });
        quote!({ #number #(#fields)* })
    });
    let decoded = |v: &Variant| {
        let at = |f: &Field| v.fields.iter().position(|other| std::ptr::eq(other, f)).unwrap_or_default();
        written(borrowed, v, |f| {
            let last = last(v, at(f));
            family(f, quote!(decode::<#last>(reader)?))
        })
    };
    let decode = if shape.is_enum {
        let variants = shape.variants.iter().enumerate().map(|(i, v)| {
            let (number, decoded) = (i as u8, decoded(v));
            quote!(#number => #decoded)
        });
        quote! {
            match reader.take(1, #kind)?[0] {
                #(#variants,)*
                #[allow(unreachable_patterns)]
                number => {
                    let what = ::std::format!("there is no variant {number}");
                    return ::core::result::Result::Err(::windrow::DecodeError::new(#kind, what));
                }
            }
        }
    } else {
        let decoded = shape.variants.iter().map(decoded);
        quote!(#(#decoded)*)
    };
    let each = |name: &syn::Ident, call: TokenStream, end: TokenStream| {
        let (name, call, end) = (name.clone(), call, end);
        arms(&move |_, v| {
            written(&name, v, |f| {
                let variable = &f.variable;
                let called = family(f, quote!(#call(#variable)));
                quote!(#called #end)
            })
        })
    };
    let shorten = each(borrowed, quote!(shorten), quote!());
    let to_owned = each(name, quote!(to_owned), quote!());
    let detach = each(borrowed, quote!(detach), quote!(?));
    let lend = shape.variants.iter().map(|v| {
        let pattern = written(name, v, variable);
        let record = written(borrowed, v, |f| {
            let variable = &f.variable;
            family(f, quote!(shorten(#variable)))
        });
        let nested = v.fields.iter().rev().fold(quote!(f(#record)), |inner, f| {
            let variable = &f.variable;
            family(f, quote!(lend(#variable, |#variable| #inner)))
        });
        quote!(#pattern => #nested)
    });
    let show = arms(&|_, v| show(shape, v));
    let schema = schema(shape);
    quote! {
        #[automatically_derived]
        #[allow(unused_variables, clippy::all)]
        impl ::windrow::Datum for #name {
            type Ref<'a> = #form;
            const BORROWS: bool = false #(|| <#fields as ::windrow::Datum>::BORROWS)*;
            #[inline]
            fn encode<const LAST: bool>(r: Self::Ref<'_>, out: &mut ::std::vec::Vec<u8>) {
                #encode
            }
            #[inline]
            fn decode<'a, const LAST: bool>(
                reader: &mut ::windrow::Reader<'a>,
            ) -> ::core::result::Result<Self::Ref<'a>, ::windrow::DecodeError> {
                ::core::result::Result::Ok(#decode)
            }
            #[inline]
            fn shorten<'s, 'l: 's>(r: Self::Ref<'l>) -> Self::Ref<'s> {
                #shorten
            }
            fn to_owned(r: Self::Ref<'_>) -> Self {
                #to_owned
            }
            fn lend<X>(&self, f: impl ::core::ops::FnOnce(Self::Ref<'_>) -> X) -> X {
                match self { #(#lend,)* }
            }
            fn show(r: Self::Ref<'_>, out: &mut dyn ::core::fmt::Write) -> ::core::fmt::Result {
                #show
            }
            fn forms(forms: &mut ::windrow::Forms) {
                #(<#fields as ::windrow::Datum>::forms(forms);)*
            }
            fn schema(out: &mut ::std::string::String) {
                #schema
            }
            #[inline]
            fn detach<'a>(r: Self::Ref<'_>) -> ::core::option::Option<Self::Ref<'a>> {
                ::core::option::Option::Some(#detach)
            }
        }
    }
}

/// Writes a variant as it would be written in a program.
fn show(shape: &Shape, variant: &Variant) -> TokenStream {
    let name = variant.name.as_ref().unwrap_or(&shape.name).unraw().to_string();
    let (open, close) = match variant.style {
        Style::Named => (" { ", " }"),
        Style::Tuple => ("(", ")"),
        Style::Unit => ("", ""),
    };
    let head = format!("{name}{open}");
    let fields = variant.fields.iter().enumerate().map(|(i, f)| {
        let before = if i == 0 { "" } else { ", " };
        let label = match &f.member {
            syn::Member::Named(name) => format!("{before}{}: ", name.unraw()),
            syn::Member::Unnamed(_) => before.to_string(),
        };
        let variable = &f.variable;
        let shown = family(f, quote!(show(#variable, out)?));
        quote!(out.write_str(#label)?; #shown;)
    });
    quote!({ out.write_str(#head)?; #(#fields)* out.write_str(#close) })
}

/// Writes the declaration of the type on one line, with the types of its fields.
fn schema(shape: &Shape) -> TokenStream {
    let variants = shape.variants.iter().enumerate().map(|(i, v)| {
        let name = v.name.as_ref().unwrap_or(&shape.name).unraw().to_string();
        let (open, close) = match v.style {
            Style::Named => (" { ", " }"),
            Style::Tuple => ("(", ")"),
            Style::Unit => ("", ""),
        };
        let head = format!("{}{name}{open}", if i == 0 { "" } else { ", " });
        let fields = v.fields.iter().enumerate().map(|(i, f)| {
            let before = if i == 0 { "" } else { ", " };
            let label = match &f.member {
                syn::Member::Named(name) => format!("{before}{}: ", name.unraw()),
                syn::Member::Unnamed(_) => before.to_string(),
            };
            let of = &f.of;
            quote!(out.push_str(#label); <#of as ::windrow::Datum>::schema(out);)
        });
        quote!(out.push_str(#head); #(#fields)* out.push_str(#close);)
    });
    if !shape.is_enum {
        return quote!(#(#variants)*);
    }
    let head = format!("enum {} {{ ", shape.name.unraw());
    quote!(out.push_str(#head); #(#variants)* out.push_str(" }"))
}

/// The fields of a struct as columns of a line of text.
fn columns(shape: &Shape) -> TokenStream {
    let name = &shape.name;
    let all = shape.variants.iter().map(|v| {
        let pattern = written(&shape.borrowed, v, |f| {
            let variable = &f.variable;
            quote!(#variable)
        });
        let columns = v.fields.iter().map(|f| {
            let (of, variable) = (&f.of, &f.variable);
            quote!(<#of as ::windrow::Fields>::fields(#variable, out)?;)
        });
        quote!(let #pattern = r; #(#columns)*)
    });
    let fields: Vec<_> = shape.fields().map(|f| &f.of).collect();
    quote! {
        #[automatically_derived]
        #[allow(unused_variables)]
        impl ::windrow::Fields for #name where #(for<'key> #fields: ::windrow::Fields,)* {
            fn fields(
                r: <#name as ::windrow::Datum>::Ref<'_>,
                out: &mut ::windrow::FieldWriter<'_>,
            ) -> ::windrow::Result<()> {
                #(#all)*
                ::core::result::Result::Ok(())
            }
        }
    }
}

/// The type as an element of lists, which are visited one by one.
fn element(shape: &Shape) -> TokenStream {
    let name = &shape.name;
    let form = borrowed_type(shape);
    let list = |lifetime: TokenStream| quote!(::windrow::Items<#lifetime, #name>);
    let (here, a, l, s) = (list(quote!('_)), list(quote!('a)), list(quote!('l)), list(quote!('s)));
    quote! {
        #[automatically_derived]
        impl ::windrow::Element for #name {
            type List<'a> = #a;
            fn encode_list(list: #here, out: &mut ::std::vec::Vec<u8>) {
                list.encode(out)
            }
            fn decode_list<'a>(
                reader: &mut ::windrow::Reader<'a>,
            ) -> ::core::result::Result<#a, ::windrow::DecodeError> {
                ::windrow::Items::decode(reader)
            }
            fn shorten_list<'s, 'l: 's>(list: #l) -> #s {
                list.shorten()
            }
            fn owned_list(list: #here) -> ::std::vec::Vec<Self> {
                list.iter().map(<#name as ::windrow::Datum>::to_owned).collect()
            }
            fn lend_list<X>(list: &[Self], f: impl ::core::ops::FnOnce(#here) -> X) -> X {
                ::windrow::Items::lend(list, f)
            }
            fn each_of(list: #here, f: impl ::core::ops::FnMut(#form)) {
                list.iter().for_each(f)
            }
            fn show_list(list: #here, out: &mut dyn ::core::fmt::Write) -> ::core::fmt::Result {
                list.show(out)
            }
        }
    }
}
