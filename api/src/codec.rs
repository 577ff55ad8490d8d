//! Serde values as bytes: the only importer of bincode, so that its successor has one place to go.

use crate::datum::DecodeError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Appends the value. A type whose `Serialize` fails is a bug of that type.
pub(crate) fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let config = bincode::config::legacy();
    if let Err(e) = bincode::serde::encode_into_std_write(value, out, config) {
        panic!("a {} does not serialize: {e}", std::any::type_name::<T>());
    }
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let config = bincode::config::legacy();
    match bincode::serde::decode_from_slice(bytes, config) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => Err(DecodeError::new("serde value", format!("{} bytes left over", bytes.len() - used))),
        Err(e) => Err(DecodeError::new("serde value", e.to_string())),
    }
}
