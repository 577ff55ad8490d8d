//! Binary encoding of serde values that returns the value that was encoded.
//!
//! There are two forms. [`plain`] is bincode: it writes neither names nor types, so it is small and fast, but it is
//! correct only for types whose `Deserialize` asks for exactly what their `Serialize` writes. Attributes such as
//! `skip_serializing_if`, `flatten`, `untagged` or `tag` break that, and Rust cannot tell which attributes a type has.
//! So each type is probed ([`probe`]) before its first value is encoded: its `Deserialize` runs on made-up data, which
//! shows what it asks for, and its `Serialize` runs on the values that come out. Only a type that passes is written in
//! the plain form, and each of its values is compared with the recorded schema ([`schema`]) while it is written. All
//! other types are written in the [`tagged`] form, which is self-describing like JSON.
//!
//! The form follows from the type alone, so all processes of a job choose the same form; it is part of the plan's
//! fingerprint. The first byte of an encoded value names its form: a value of a plain type that the probe did not
//! foresee is written in the tagged form. A type whose made-up values come back in neither form is refused with the
//! plan. A value that does not come back fails with its record.

mod described;
mod plain;
mod probe;
mod schema;
mod tagged;
#[cfg(test)]
mod tests;

use crate::data::decode_error::DecodeError;
use schema::Node;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::{TypeId, type_name};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// How the values of a type are written.
pub(crate) enum Form {
    /// Bincode. A value that does not fit the schema is written in the tagged form and verified by reading it back.
    Plain(Node),
    /// The self-describing form. With `verify`, the type's `Deserialize` looks at the data to decide what it reads, so
    /// each value is read back before it counts; otherwise only values with left-out fields are read back.
    Tagged { verify: bool },
    /// No form: why the values of the type do not come back.
    Broken(String),
}

/// The first byte of a value in the plain form.
const PLAIN: u8 = 1;
/// The first byte of a value in the tagged form.
const TAGGED: u8 = 2;

impl Form {
    /// The name of the form in the plan's fingerprint.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Form::Plain(_) => "plain",
            Form::Tagged { verify: false } => "tagged",
            Form::Tagged { verify: true } => "tagged, verified",
            Form::Broken(_) => "none",
        }
    }
}

/// The forms of all types that this process has used. A type is probed once, which takes some microseconds; the result
/// lives as long as the process.
static FORMS: LazyLock<Mutex<HashMap<TypeId, &'static Form>>> = LazyLock::new(Mutex::default);

thread_local! {
    /// The forms that this thread has used. There are only a few, so the search is linear.
    static USED: RefCell<Vec<(TypeId, &'static Form)>> = const { RefCell::new(Vec::new()) };
}

/// Returns the form of a type.
#[inline]
pub(crate) fn form<T: Serialize + DeserializeOwned + 'static>() -> &'static Form {
    let id = TypeId::of::<T>();
    USED.with_borrow_mut(|used| match used.iter().find(|(known, _)| *known == id) {
        Some((_, form)) => *form,
        None => {
            let form = find::<T>(id);
            used.push((id, form));
            form
        }
    })
}

#[cold]
fn find<T: Serialize + DeserializeOwned + 'static>(id: TypeId) -> &'static Form {
    let lock = || FORMS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(form) = lock().get(&id) {
        return form;
    }
    // Without the lock, because this runs code of the type.
    let form: &'static Form = Box::leak(Box::new(probe::form_of::<T>()));
    lock().entry(id).or_insert(form)
}

/// Why a value cannot be encoded.
#[derive(Debug, thiserror::Error)]
#[error("a value of type `{of}` {why}")]
pub(crate) struct EncodeError {
    of: &'static str,
    why: String,
}

/// Appends the encoding of a value.
///
/// # Errors
/// The type fails to serialize the value, or the value would not be read back as the same value. The bytes appended
/// until then stay.
pub(crate) fn encode<T: Serialize + DeserializeOwned + 'static>(
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let failed = |why: String| EncodeError { of: type_name::<T>(), why };
    match form::<T>() {
        Form::Plain(schema) => {
            let start = out.len();
            out.push(PLAIN);
            let Err(why) = plain::encode(value, schema, out) else { return Ok(()) };
            // The probe has not seen such a value. The tagged form, with names and types, may still return it.
            out.truncate(start);
            out.push(TAGGED);
            tagged::encode(value, true, out).map_err(|_| failed(format!("has no binary form: {why}")))
        }
        Form::Tagged { verify } => {
            out.push(TAGGED);
            tagged::encode(value, *verify, out).map_err(failed)
        }
        Form::Broken(why) => Err(failed(why.clone())),
    }
}

/// Decodes a value of the same type that `encode` wrote.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let failed = |what: String| DecodeError::new("serde value", format!("`{}`: {what}", type_name::<T>()));
    match bytes.split_first() {
        Some((&PLAIN, bytes)) => plain::decode(bytes).map_err(failed),
        Some((&TAGGED, bytes)) => tagged::decode(bytes).map_err(|e| failed(e.to_string())),
        Some((form, _)) => Err(failed(format!("unknown form {form}"))),
        None => Err(failed("no bytes".to_string())),
    }
}

/// Appends the name of a serde type and what its encoding depends on: in the plain form the kinds of all its parts. The
/// other form holds the names of fields and variants itself.
pub(crate) fn add_schema<T: Serialize + DeserializeOwned + 'static>(out: &mut String) {
    super::type_name::add_name(type_name::<T>(), out);
    if let Form::Plain(node) = form::<T>() {
        out.push(' ');
        described::describe(node, out)
    }
}

/// The serde types that a plan moves between its tasks, with their forms.
#[derive(Default)]
pub struct Forms {
    /// Name and form of each type.
    pub(crate) named: Vec<(&'static str, &'static str)>,
    /// The first type without a form, and why it has none.
    pub(crate) broken: Option<(&'static str, String)>,
}

impl Forms {
    /// Adds a serde type.
    pub(crate) fn add<T: Serialize + DeserializeOwned + 'static>(&mut self) {
        let form = form::<T>();
        if let (Form::Broken(why), None) = (form, &self.broken) {
            self.broken = Some((type_name::<T>(), why.clone()));
        }
        self.named.push((type_name::<T>(), form.name()));
    }
}
