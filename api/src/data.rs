//! Values as bytes: the types of records, keys and values, their encodings, and what record functions read and write.

pub(crate) mod arena;
pub(crate) mod datum;
pub(crate) mod decode_error;
pub(crate) mod emitter;
pub(crate) mod json;
pub(crate) mod part_form;
pub(crate) mod places;
pub(crate) mod schema;
pub(crate) mod type_name;
pub(crate) mod values;
mod watched;
pub(crate) mod wire;
pub(crate) mod words;
