//! The trait of input formats, and what they read and write.

use crate::data::datum::Datum;
use crate::data::emitter::Push;
use crate::data::part_form::PartForm;
use crate::error::{Error, Result};
use crate::plan::chain::user_error;
use crate::task::context::TaskCx;
use crate::task::culprit::Op;
use std::path::Path;
use windrow_model::Framing;

/// The UTF-8 byte order mark. At the start of a text file it is not a part of the text.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An input format. It declares how its files are split ([`framing`](Source::framing)), and parses a block of whole
/// records.
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
    /// The type of the records.
    type Item: Datum;
    /// The inputs: files, folders, globs or `windrow://NAME`.
    fn inputs(&self) -> Vec<String>;
    /// Where a record begins.
    fn framing(&self) -> Framing;
    /// Whether reading any block of a file needs [`Block::head`], the first record of that file. The default is
    /// `false`.
    fn has_header(&self) -> bool {
        false
    }
    /// Whether the files hold text. The default is `true` for formats with a delimiter. Text files that are compressed
    /// are decompressed and never split, a compression that cannot be read is refused, and a UTF-8 byte order mark at
    /// the start of a file belongs to no record. The blocks of all other files hold the bytes as stored.
    fn is_text(&self) -> bool {
        self.framing().is_text()
    }
    /// How records lie in the files. The default is [`PartForm::Appended`]: `read` parses them.
    fn form(&self) -> PartForm {
        PartForm::Appended
    }
    /// The format's name, for plans and the web UI. The default is the type's name in lower case.
    fn name(&self) -> String {
        let name = std::any::type_name::<Self>();
        name.split('<').next().and_then(|n| n.rsplit("::").next()).unwrap_or(name).to_lowercase()
    }
    /// Parses a block and pushes every record of it, in order.
    ///
    /// # Errors
    /// An error fails the task. It names the record at which `out` was last positioned.
    fn read(&self, block: &Block<'_>, out: &mut RecordSink<'_, '_, Self::Item>) -> Result<()>;
}

/// A block of whole records of one file.
pub struct Block<'b> {
    /// The bytes of the records.
    pub bytes: &'b [u8],
    /// Offset of the first byte in the file's content, in bytes (after decompression).
    pub offset: u64,
    /// Whether the first record of the block is the first record of the file.
    pub is_start: bool,
    /// The path of the file.
    pub path: &'b Path,
    /// The file's first record including its end, if [`Source::has_header`] is true; else empty.
    pub head: &'b [u8],
}

/// Receives the records that a source parses.
pub struct RecordSink<'s, 't, R: Datum> {
    cx: &'s TaskCx<'t>,
    sink: &'s mut dyn Push<R>,
    op: Op,
    offset: u64,
    records: u64,
    /// The number of records at which it is published next: a store for each record would cost more than parsing a short one.
    publish_at: u64,
}

impl<'s, 't, R: Datum> RecordSink<'s, 't, R> {
    /// Creates a receiver for the records of a block that begins at `offset` of the file. The task has read `records` before.
    pub(crate) fn new(cx: &'s TaskCx<'t>, sink: &'s mut dyn Push<R>, op: Op, offset: u64, records: u64) -> Self {
        RecordSink { cx, sink, op, offset, records, publish_at: records + cx.publish_every() }
    }
    /// Passes on a record that begins at byte `at` of the block. Returns `false` when the source must stop, because the
    /// task has ended.
    #[inline]
    pub fn push(&mut self, at: usize, record: R::Ref<'_>) -> bool {
        self.cx.at_record(self.offset + at as u64);
        self.sink.push(record);
        self.records += 1;
        if self.records >= self.publish_at {
            self.publish();
        }
        !self.cx.stopped()
    }
    /// Records progress; returns `false` when the source must stop, because the task has ended.
    pub(crate) fn goes_on(&self) -> bool {
        self.cx.check_cancelled();
        !self.cx.stopped()
    }
    /// Publishes the number of records.
    #[cold]
    #[inline(never)]
    fn publish(&mut self) {
        self.publish_at = self.records + self.cx.has_read_some(self.records);
    }
    /// Returns how many records the task has read.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }
    /// Sets the position to the record that begins at byte `at` of the block. An error that is returned while it is
    /// parsed names this record.
    #[inline]
    pub fn at(&mut self, at: usize) {
        self.cx.at_record(self.offset + at as u64);
    }
    /// Sets the position to the start of the file, for an error about the header.
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
