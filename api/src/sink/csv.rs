//! Comma-separated lines with quotes where needed (RFC 4180), no header.

use super::field::Quoting;
use super::{Compression, FieldWriter, Fields, Sink, compressible};
use crate::error::Result;

/// Writes fields separated by commas, quoted where they need it.
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
    fn write(&self, record: R::Ref<'_>, out: &mut Vec<u8>) -> Result<()> {
        R::fields(record, &mut FieldWriter::new(out, b',', Quoting::Csv))?;
        out.push(b'\n');
        Ok(())
    }
}
