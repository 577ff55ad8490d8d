//! JSON Lines: one JSON value per line.

use super::appender::Appender;
use super::format::{Sink, compressible};
use crate::data::datum::serde::Serde;
use crate::data::json;
use crate::error::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use windrow_model::Code;
use windrow_model::Compression;

/// Writes each `Serde<T>` as one line of JSON. A value that JSON cannot represent fails with `FIELD_NOT_REPRESENTABLE`:
/// NaN and infinities, a `Some` of nothing, maps whose keys are neither strings nor numbers, and more than 127 levels
/// of nesting.
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
    fn framing(&self) -> windrow_model::Framing {
        windrow_model::Framing::Delimiter(b'\n')
    }
    fn compression(&self) -> Compression {
        self.compression
    }
    fn write(&self, record: &T, out: &mut Appender<'_>) -> Result<()> {
        json::write(record, &mut *out).map_err(|e| Error::new(Code::FieldNotRepresentable, e.to_string()))?;
        out.push(b'\n');
        Ok(())
    }
}
