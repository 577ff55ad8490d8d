//! Input formats: they turn the bytes of files into records.

mod blocks;
mod chain;
mod csv;
mod decoder;
mod each_line;
mod fixed;
mod format;
mod jsonl;
#[cfg(feature = "regex")]
mod line_regex;
mod lines;
mod looks_binary;
#[cfg(not(feature = "regex"))]
mod no_regex;
#[cfg(feature = "client")]
mod open;
mod records;
mod room;
mod whole;
mod windows;

#[cfg(feature = "client")]
pub(crate) use blocks::RECORD_MAX;
pub(crate) use chain::SourceChain;
pub use csv::{CsvSource, csv};
#[cfg(feature = "client")]
pub(crate) use decoder::failure_of;
pub use fixed::{FixedSource, fixed};
pub(crate) use format::BYTE_ORDER_MARK;
pub use format::{Block, RecordSink, Source};
pub use jsonl::{JsonlSource, jsonl};
pub use lines::{BytesLines, IntoInputs, Lines, PlacedLines, bytes_lines, lines};
#[cfg(feature = "client")]
pub(crate) use open::{open_as_stored, open_text};
pub(crate) use records::Expected;
pub use records::{RecordsSource, records};
pub use whole::{WholeFiles, whole_files};
pub use windrow_model::Framing;
