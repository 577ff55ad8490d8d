//! Comma-separated lines with quotes where they are needed (RFC 4180), without a header.
//!
//! `csv(..).no_header().quoted_newlines()` reads back what is written. Readers skip empty lines, so a lone empty field
//! is quoted. Readers take an empty field for a `None`, so a `Some` that is written as an empty field is refused.

use super::appender::Appender;
use super::field::Quoting;
use super::field::{FieldWriter, Fields};
use super::format::{Sink, compressible};
use crate::error::Result;
use windrow_model::Compression;

/// Writes fields separated by commas, quoted where necessary. A record without fields, and a `Some` of an empty field,
/// fail with `FIELD_NOT_REPRESENTABLE`.
pub fn csv_sink(path: impl Into<String>) -> CsvSink {
    CsvSink { path: path.into(), compression: Compression::None }
}

/// See [`csv_sink`].
pub struct CsvSink {
    path: String,
    compression: Compression,
}
compressible!(CsvSink);

impl<R: Fields> Sink<R> for CsvSink {
    fn path(&self) -> &str {
        &self.path
    }
    fn format(&self) -> &str {
        "csv"
    }
    fn compression(&self) -> Compression {
        self.compression
    }
    fn write(&self, record: R::Ref<'_>, out: &mut Appender<'_>) -> Result<()> {
        let mut fields = FieldWriter::new(out, b',', Quoting::Csv);
        R::fields(record, &mut fields)?;
        fields.end_line()
    }
}
