//! Serde values as bytes, in a form that brings back what was put in.
//!
//! There are two forms. [`plain`] is bincode's: no names, no types, so small and fast, but right only for types whose
//! `Deserialize` asks for exactly what their `Serialize` writes. Attributes such as `skip_serializing_if`, `flatten`, `untagged` or
//! `tag` break that, and nothing in Rust says which ones a type has. So a type is tried ([`probe`]) before its first value is
//! written: its `Deserialize` runs on made-up data that shows what it asks for, and its `Serialize` on the values that come out.
//! Only a type that passes is written plainly, and each of its values is compared with what was seen ([`schema`]) while it is
//! written. All others are written in the [`tagged`] form, which says of everything what it is, as JSON does.
//!
//! The form follows from the type alone, so all processes of a job choose the same one; it is a part of the plan's fingerprint.
//! A value begins with a byte that names its form: one that the trial of a plain type has not foreseen is tagged. A type whose made-up values come back in neither form is refused with the plan;
//! a value that does not come back fails with its record.

mod plain;
mod probe;
mod schema;
mod tagged;
#[cfg(test)]
mod tests;

use crate::datum::DecodeError;
use schema::Node;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::{TypeId, type_name};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// How the values of a type are written.
pub(crate) enum Form {
    /// By bincode. A value that does not fit the schema is written with tags, and read back before it counts.
    Plain(Node),
    /// With tags. If `verify`, the type decides by what it finds there what it reads, and each value is read back before it counts;
    /// otherwise only values without all of their fields are.
    Tagged { verify: bool },
    /// Not at all: why its values do not come back.
    Broken(String),
}

/// The byte before a value.
const PLAIN: u8 = 1;
const TAGGED: u8 = 2;

impl Form {
    /// A word for the plan's fingerprint.
    pub fn name(&self) -> &'static str {
        match self {
            Form::Plain(_) => "plain",
            Form::Tagged { verify: false } => "tagged",
            Form::Tagged { verify: true } => "tagged, verified",
            Form::Broken(_) => "none",
        }
    }
}

/// The forms of all types that this process has asked for. A type is tried once, which takes some microseconds; the result lives as
/// long as the process.
static FORMS: LazyLock<Mutex<HashMap<TypeId, &'static Form>>> = LazyLock::new(Mutex::default);

thread_local! {
    /// Those that this thread has used: a handful, searched from the first.
    static USED: RefCell<Vec<(TypeId, &'static Form)>> = const { RefCell::new(Vec::new()) };
}

/// The form of a type.
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
    // Not under the lock: this runs code of the type.
    let form: &'static Form = Box::leak(Box::new(probe::form_of::<T>()));
    lock().entry(id).or_insert(form)
}

/// Why a value is not written.
#[derive(Debug, thiserror::Error)]
#[error("a value of type `{of}` {why}")]
pub(crate) struct EncodeError {
    of: &'static str,
    why: String,
}

/// Appends a value.
///
/// # Errors
/// Its type fails to serialize it, or it would not be read back as the same value. What was appended until then stays.
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
            // The trial has not seen such a value: names and types may bring it back.
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

/// Reads what `encode` wrote of the same type.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let failed = |what: String| DecodeError::new("serde value", format!("`{}`: {what}", type_name::<T>()));
    match bytes.split_first() {
        Some((&PLAIN, bytes)) => plain::decode(bytes).map_err(failed),
        Some((&TAGGED, bytes)) => tagged::decode(bytes).map_err(|e| failed(e.to_string())),
        Some((form, _)) => Err(failed(format!("there is no form {form}"))),
        None => Err(failed("no bytes".to_string())),
    }
}

/// Which types a plan moves between its tasks, and how.
#[derive(Default)]
pub struct Forms {
    /// Name and form of each.
    pub(crate) named: Vec<(&'static str, &'static str)>,
    /// The first type that has none, and why.
    pub(crate) broken: Option<(&'static str, String)>,
}

impl Forms {
    /// Takes a serde type in.
    pub(crate) fn add<T: Serialize + DeserializeOwned + 'static>(&mut self) {
        let form = form::<T>();
        if let (Form::Broken(why), None) = (form, &self.broken) {
            self.broken = Some((type_name::<T>(), why.clone()));
        }
        self.named.push((type_name::<T>(), form.name()));
    }
}
