//! Tab-separated lines.

use super::appender::Appender;
use super::field::Quoting;
use super::field::{FieldWriter, Fields};
use super::format::{Sink, compressible};
use crate::error::Result;
use windrow_model::Compression;

/// Writes `key<TAB>value<LF>`. Tuples are flattened into more fields. A field that contains a tab or a newline fails
/// with `FIELD_NOT_REPRESENTABLE`, unless `.escaped()` is set. So does a string at the end of the line that ends with a
/// carriage return, because readers of lines remove it. `None` is an empty field.
pub fn tsv(path: impl Into<String>) -> TsvSink {
    TsvSink { path: path.into(), escaped: false, compression: Compression::None }
}

/// See [`tsv`].
pub struct TsvSink {
    path: String,
    escaped: bool,
    compression: Compression,
}
compressible!(TsvSink);

impl TsvSink {
    /// Writes `\t`, `\n`, `\r` and `\\` for tabs, newlines, carriage returns and backslashes.
    pub fn escaped(mut self) -> Self {
        self.escaped = true;
        self
    }
}

impl<R: Fields> Sink<R> for TsvSink {
    fn path(&self) -> &str {
        &self.path
    }
    fn format(&self) -> &str {
        "tsv"
    }
    fn framing(&self) -> windrow_model::Framing {
        windrow_model::Framing::Delimiter(b'\n')
    }
    fn compression(&self) -> Compression {
        self.compression
    }
    #[inline]
    fn write(&self, record: R::Ref<'_>, out: &mut Appender<'_>) -> Result<()> {
        let quoting = if self.escaped { Quoting::Escape } else { Quoting::Refuse };
        let mut fields = FieldWriter::new(out, b'\t', quoting);
        R::fields(record, &mut fields)?;
        fields.end_line()
    }
}
