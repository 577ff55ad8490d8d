//! A part whose records lie in checked blocks: turns what a sink appends into them.

use super::appender::Appender;
use super::format::Sink;
use crate::data::datum::Datum;
use crate::error::{Error, Result};
use windrow_format::record_file::{Description, RecordFileWriter};

/// A part that is being written.
pub(crate) struct BlockPart {
    file: RecordFileWriter,
    /// The encoding of the current record.
    record: Vec<u8>,
}

impl BlockPart {
    /// Begins a part: appends its description to `out`.
    pub(crate) fn begin(description: &Description, out: &mut Vec<u8>) -> BlockPart {
        BlockPart { file: RecordFileWriter::begin(description, out), record: Vec::new() }
    }

    /// Lets the sink encode a record, which [`add`](Self::add) then adds.
    ///
    /// # Errors
    /// The sink's.
    #[inline]
    pub(crate) fn encode<R: Datum, S: Sink<R>>(&mut self, sink: &S, record: R::Ref<'_>) -> Result<()> {
        self.record.clear();
        sink.write(record, &mut Appender::new(&mut self.record))
    }

    /// Adds the encoded record; full blocks are appended to `out`.
    ///
    /// # Errors
    /// `RECORD_TOO_LARGE`.
    #[inline]
    pub(crate) fn add(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.file.push(&self.record, out).map_err(|e| Error::new(e.code(), e.to_string()))
    }

    /// Appends the rest to `out`.
    pub(crate) fn end(self, out: &mut Vec<u8>) {
        self.file.end(out)
    }
}
