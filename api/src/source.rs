//! Formats of inputs: the bytes of files into records.

mod blocks;
mod csv;
mod decoder;
mod fixed;
mod jsonl;
mod line_regex;
mod lines;
mod open;
mod room;
mod whole;
mod windows;

pub use self::csv::{CsvSource, csv};
pub(crate) use blocks::{RECORD_MAX, last_record_end};
pub(crate) use decoder::failure_of;
pub use fixed::{FixedSource, fixed};
pub use jsonl::{JsonlSource, jsonl};
pub use lines::{BytesLines, Lines, PlacedLines, bytes_lines, lines};
pub(crate) use open::{open_as_stored, open_text};
pub use whole::{WholeFiles, whole_files};
pub use windrow_model::Framing;

use crate::chain::{Chain, user_error};
use crate::context::{TaskCx, TaskResult};
use crate::culprit::Op;
use crate::datum::Datum;
use crate::emitter::Push;
use crate::error::{Error, Result};
use blocks::Format;
use std::path::Path;
use std::sync::Arc;
use windrow_model::counters::names;

/// UTF-8 that says so: at the start of a text it is no part of it.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A format of input. It declares how its files are cut (`framing`), and turns a block of whole records into records.
///
/// ```
/// use windrow::prelude::*;
/// use windrow::{Block, Framing, RecordSink, Source};
///
/// /// Records that end with `;`.
/// struct Semicolons(Vec<String>);
/// impl Source for Semicolons {
///     type Item = Vec<u8>;
///     fn inputs(&self) -> Vec<String> { self.0.clone() }
///     fn framing(&self) -> Framing { Framing::Delimiter(b';') }
///     fn read(&self, block: &Block<'_>, out: &mut RecordSink<'_, '_, Vec<u8>>) -> Result<()> {
///         let mut at = 0;
///         for record in block.bytes.split_inclusive(|b| *b == b';') {
///             out.push(at, record.strip_suffix(b";").unwrap_or(record));
///             at += record.len();
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Source: Send + Sync + 'static {
    type Item: Datum;
    /// Files, folders, globs or `windrow://NAME`.
    fn inputs(&self) -> Vec<String>;
    /// Where a record begins.
    fn framing(&self) -> Framing;
    /// Whether `Block::head`, the first record of the file, is needed to read any block of it.
    fn has_header(&self) -> bool {
        false
    }
    /// Whether files hold text: what is compressed is then decompressed, and never cut; formats that cannot be read are refused; a
    /// UTF-8 byte order mark at the start of a file belongs to no record. Otherwise blocks are what is stored. By default text is
    /// what has a delimiter.
    fn is_text(&self) -> bool {
        matches!(self.framing(), Framing::Delimiter(_))
    }
    /// A word for plans and pages.
    fn name(&self) -> String {
        let name = std::any::type_name::<Self>();
        name.split('<').next().and_then(|n| n.rsplit("::").next()).unwrap_or(name).to_lowercase()
    }
    /// Pushes every record of a block, in order. An error fails the task with the place that `out` was at.
    fn read(&self, block: &Block<'_>, out: &mut RecordSink<'_, '_, Self::Item>) -> Result<()>;
}

/// Whole records, as they lie in a file.
pub struct Block<'b> {
    pub bytes: &'b [u8],
    /// Offset of the first byte in the file (decompressed).
    pub offset: u64,
    /// Whether its first record is the first one of the file.
    pub is_start: bool,
    pub path: &'b Path,
    /// The file's first record with its end, if the source says that it has a header.
    pub head: &'b [u8],
}

/// Receives a source's records.
pub struct RecordSink<'s, 't, R: Datum> {
    cx: &'s TaskCx<'t>,
    sink: &'s mut dyn Push<R>,
    op: Op,
    offset: u64,
    records: u64,
}

impl<'s, 't, R: Datum> RecordSink<'s, 't, R> {
    /// For the records of a block that begins at `offset`.
    pub(crate) fn new(cx: &'s TaskCx<'t>, sink: &'s mut dyn Push<R>, op: Op, offset: u64) -> Self {
        RecordSink { cx, sink, op, offset, records: 0 }
    }
    /// Hands on a record that begins at `at` in the block. False: stop, the task is over.
    #[inline]
    pub fn push(&mut self, at: usize, record: R::Ref<'_>) -> bool {
        self.cx.at_record(self.offset + at as u64);
        self.records += 1;
        self.sink.push(record);
        !self.cx.stopped()
    }
    /// Says where the record begins that is about to be parsed, so that an error names it.
    #[inline]
    pub fn at(&mut self, at: usize) {
        self.cx.at_record(self.offset + at as u64);
    }
    /// Says that an error is about the start of the file.
    #[cold]
    pub(crate) fn at_start_of_file(&mut self) {
        self.cx.at_record(0);
    }
    /// Fails the task with an error about the record that begins at `at`.
    #[cold]
    pub fn fail(&mut self, at: usize, error: Error) {
        self.at(at);
        user_error(self.cx, &self.op, error)
    }
}

/// Runs a source over the task's chunk.
pub(crate) struct SourceChain<S> {
    pub source: Arc<S>,
    pub op: Op,
}

impl<S: Source> Chain<S::Item> for SourceChain<S> {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<S::Item>) -> TaskResult<()> {
        let Some(chunk) = cx.chunk() else { return Ok(()) };
        let (mut records, mut bytes) = (0, 0);
        for (number, range) in (0u32..).zip(&chunk.ranges) {
            cx.at_file(range);
            // From here on a signal is about this file, also between its records: it may become shorter at any moment.
            cx.at_record(range.offset);
            let format = Format {
                framing: self.source.framing(),
                has_header: self.source.has_header(),
                is_text: self.source.is_text(),
            };
            let skip: Vec<u64> = chunk.skip.iter().filter(|s| s.range == number).map(|s| s.offset).collect();
            let read = blocks::each_block(cx, range, format, &skip, &mut |block| {
                let mut out = RecordSink::new(cx, sink, self.op, block.offset);
                if let Err(e) = cx.in_op(&self.op, || self.source.read(&block, &mut out)) {
                    user_error(cx, &self.op, e);
                }
                records += out.records;
                bytes += block.bytes.len() as u64;
                cx.check_cancelled();
                !cx.stopped()
            });
            cx.after_records();
            read?;
            if cx.stopped() {
                break;
            }
        }
        cx.count(names::RECORDS_READ, records);
        cx.count(names::BYTES_READ, bytes);
        Ok(())
    }
}
