//! Records in the engine's encoding, for other jobs.

use super::appender::Appender;
use super::format::Sink;
use crate::data::datum::Datum;
use crate::data::part_form::PartForm;
use crate::error::Result;

/// Writes records of any type in the engine's own encoding, for [`records`](crate::prelude::records) of another job: nothing
/// is printed or parsed, every value reads back as it was, and the files hold the type of their records, checksums of
/// all bytes, and how the records are partitioned. A job that reads pairs which were written partitioned by key does
/// not shuffle them again.
///
/// ```
/// use windrow::prelude::*;
/// fn count(flow: &Flow, input: &str, to: &str) -> Result<()> {
///     flow.read(lines(input)).map(|l, out| for w in words(l) { out.emit(w, 1u64) }).combine(Sum).write(records_sink(to))
/// }
/// fn most(flow: &Flow, from: &str) -> Records<(String, u64)> {
///     flow.read(records::<(String, u64)>(from)).top_by(10, |(_, n)| n)
/// }
/// ```
pub fn records_sink(path: impl Into<String>) -> RecordsSink {
    RecordsSink { path: path.into(), lz4: false }
}

/// See [`records_sink`].
pub struct RecordsSink {
    path: String,
    lz4: bool,
}

impl RecordsSink {
    /// Compresses the records by LZ4, in blocks: smaller files for a little more processor time.
    pub fn lz4(mut self) -> Self {
        self.lz4 = true;
        self
    }
}

/// The format in the manifest of an output of records.
pub(crate) const FORMAT: &str = "records";

impl<R: Datum> Sink<R> for RecordsSink {
    fn path(&self) -> &str {
        &self.path
    }
    fn format(&self) -> &str {
        FORMAT
    }
    fn form(&self) -> PartForm {
        PartForm::Blocks { lz4: self.lz4 }
    }
    #[inline]
    fn write(&self, record: R::Ref<'_>, out: &mut Appender<'_>) -> Result<()> {
        out.encode::<R>(record);
        Ok(())
    }
}
