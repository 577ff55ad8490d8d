//! One JSON value a line.

use super::{Compression, Sink, compressible};
use crate::datum::Serde;
use crate::error::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Writes each `Serde<T>` as one line of JSON.
pub fn jsonl_sink(path: impl Into<String>) -> JsonlSink {
    JsonlSink { path: path.into(), compression: Compression::None }
}

/// See [`jsonl_sink`].
pub struct JsonlSink {
    path: String,
    compression: Compression,
}
compressible!(JsonlSink);

impl<T: Serialize + DeserializeOwned + Send + 'static> Sink<Serde<T>> for JsonlSink {
    fn path(&self) -> &str {
        &self.path
    }
    fn format(&self) -> &str {
        "jsonl"
    }
    fn framing(&self) -> crate::sink::Framing {
        crate::sink::Framing::Delimiter(b'\n')
    }
    fn compression(&self) -> Compression {
        self.compression
    }
    fn write(&self, record: &T, out: &mut Vec<u8>) -> Result<()> {
        serde_json::to_writer(&mut *out, record)?;
        out.push(b'\n');
        Ok(())
    }
}
