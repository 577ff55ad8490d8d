//! The plain form: bincode's legacy encoding. This is the only module that imports bincode, so that it is easy to
//! replace.

use super::schema::{Fits, Node};
use crate::data::watched::Watched;
use bincode::config;
use serde::Serialize;
use serde::de::DeserializeOwned;
use windrow_format::block::VALUE_MAX;

/// Appends a value. Fails if the value does not fit the schema, or if its type fails to serialize it.
pub(super) fn encode<T: Serialize>(value: &T, schema: &Node, out: &mut Vec<u8>) -> Result<(), String> {
    let value = Watched { value, by: Fits::new(schema) };
    let written = bincode::serde::encode_into_std_write(value, out, config::legacy());
    written.map(drop).map_err(|e| match e {
        bincode::error::EncodeError::OtherString(what) => what,
        e => e.to_string(),
    })
}

/// Decodes a value. No length in the bytes makes it take much more memory than the bytes themselves: bincode checks lengths
/// against a limit, which only a type can give, so there are a few.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match bytes.len() {
        0..SMALL => decode_within(bytes, config::legacy().with_limit::<{ 2 * SMALL }>()),
        SMALL..LARGE => decode_within(bytes, config::legacy().with_limit::<{ 2 * LARGE }>()),
        _ => decode_within(bytes, config::legacy().with_limit::<{ 4 * VALUE_MAX }>()),
    }
}

/// Values below this size, in bytes, take at most twice as much for a text or bytes.
const SMALL: usize = 32 << 10;
/// The next such size.
const LARGE: usize = 32 << 20;

fn decode_within<T: DeserializeOwned>(bytes: &[u8], config: impl config::Config) -> Result<T, String> {
    match bincode::serde::decode_from_slice(bytes, config) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => Err(format!("{} bytes left over", bytes.len() - used)),
        Err(e) => Err(e.to_string()),
    }
}
