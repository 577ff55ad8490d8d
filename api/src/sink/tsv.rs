//! Tab-separated lines.

use super::field::Quoting;
use super::{Appender, Compression, FieldWriter, Fields, Sink, compressible};
use crate::error::Result;

/// Writes `key<TAB>value<LF>`; tuples are flattened into more fields. A field that holds a tab or a newline is
/// `FIELD_NOT_REPRESENTABLE`, unless `.escaped()`; so is a string with a carriage return at the end of the line, which readers of
/// lines take off. An absent value is an empty field.
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
    fn framing(&self) -> crate::sink::Framing {
        crate::sink::Framing::Delimiter(b'\n')
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
