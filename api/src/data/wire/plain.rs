//! The plain form: bincode's legacy encoding. This is the only module that imports bincode, so that it is easy to
//! replace.

use super::schema::{Fits, Node};
use crate::data::watched::Watched;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Appends a value. Fails if the value does not fit the schema, or if its type fails to serialize it.
pub(super) fn encode<T: Serialize>(value: &T, schema: &Node, out: &mut Vec<u8>) -> Result<(), String> {
    let value = Watched { value, by: Fits::new(schema) };
    let written = bincode::serde::encode_into_std_write(value, out, bincode::config::legacy());
    written.map(drop).map_err(|e| match e {
        bincode::error::EncodeError::OtherString(what) => what,
        e => e.to_string(),
    })
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match bincode::serde::decode_from_slice(bytes, bincode::config::legacy()) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => Err(format!("{} bytes left over", bytes.len() - used)),
        Err(e) => Err(e.to_string()),
    }
}
