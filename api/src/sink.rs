//! Output formats: they turn records into the bytes of a part file.

mod appender;
mod block_part;
mod csv;
mod field;
mod fixed;
mod format;
mod jsonl;
mod part;
mod records;
mod text;
mod tsv;

pub use appender::Appender;
pub(crate) use block_part::BlockPart;
pub use csv::{CsvSink, csv_sink};
pub use field::{FieldWriter, Fields};
pub use fixed::{FixedSink, fixed_sink};
pub use format::Sink;
pub use jsonl::{JsonlSink, jsonl_sink};
pub(crate) use part::PartWriter;
pub(crate) use records::FORMAT as RECORDS_FORMAT;
pub use records::{RecordsSink, records_sink};
pub use text::{TextSink, text};
pub use tsv::{TsvSink, tsv};
pub use windrow_model::Compression;
