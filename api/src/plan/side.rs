//! Side data: a value that is made once at submission, sent by content, and decoded once per process.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};
use windrow_model::Digest;

/// An encoded side value with its name in the artifact store.
pub(crate) struct SideSlot {
    pub bytes: Arc<[u8]>,
    pub digest: Digest,
}

impl SideSlot {
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        SideSlot { digest: Digest::of(&bytes), bytes: bytes.into() }
    }
}

/// A value that every task can read: record functions capture it and call `get`.
///
/// ```
/// use windrow::prelude::*;
/// fn without(flow: &Flow, lines: &Records<String>) -> Result<Records<String>> {
///     let stop = flow.side(|| std::io::Result::Ok(vec!["the".to_string(), "a".to_string()]))?;
///     Ok(lines.filter(move |line| !stop.get().iter().any(|s| s == line)))
/// }
/// ```
pub struct Side<T> {
    bytes: Arc<[u8]>,
    value: Arc<OnceLock<T>>,
    types: PhantomData<fn() -> T>,
}

impl<T> Clone for Side<T> {
    fn clone(&self) -> Self {
        Side { bytes: self.bytes.clone(), value: self.value.clone(), types: PhantomData }
    }
}

impl<T: serde::de::DeserializeOwned> Side<T> {
    pub(crate) fn new(bytes: Arc<[u8]>) -> Self {
        Side { bytes, value: Arc::new(OnceLock::new()), types: PhantomData }
    }
    /// The value, decoded at the first call in each process.
    ///
    /// # Panics
    /// The value does not decode as `T`: its `Deserialize` refuses what its `Serialize` wrote.
    pub fn get(&self) -> &T {
        self.value.get_or_init(|| match crate::data::wire::decode(&self.bytes) {
            Ok(v) => v,
            Err(e) => panic!("side value of type {}: {e}", std::any::type_name::<T>()),
        })
    }
}
