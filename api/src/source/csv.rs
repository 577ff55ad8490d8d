//! CSV rows as values of a serde type.

mod plain;
mod quotes;
#[cfg(test)]
mod tests;

use super::format::{BYTE_ORDER_MARK, Block, RecordSink, Source};
use super::lines::IntoInputs;
use crate::data::datum::serde::Serde;
use crate::data::places::Places;
use crate::error::{Error, Result};
use csv as csv_crate;
use memchr::memchr;
use plain::Rows;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{Chain, Read};
use std::marker::PhantomData;
use windrow_model::Code;
use windrow_model::Framing;

/// Reads each row as a `T`, whose fields are found by the names in the file's first row. Quotes follow RFC 4180. Quoted
/// fields may contain newlines only with `.quoted_newlines()`, which makes files unsplittable; without it they are
/// `RECORD_MALFORMED`. So are a quote that is never closed and a row whose number of fields differs from that of the
/// header. Without a header, fields that `T` does not have are ignored. Empty lines are skipped. Whether a row is valid
/// does not depend on the presence of quotes in it or in other rows.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use windrow::prelude::*;
/// #[derive(Serialize, Deserialize)]
/// struct Order { customer_id: u32, cents: u64 }
/// fn cents(flow: &Flow) -> Pairs<u32, u64> {
///     flow.read(csv::<Order>("orders.csv")).map(|order, out| out.emit(order.customer_id, order.cents))
/// }
/// ```
pub fn csv<T>(inputs: impl IntoInputs) -> CsvSource<T> {
    let inputs = inputs.into_inputs();
    CsvSource { inputs, delimiter: b',', header: true, quoted_newlines: false, plain: true, types: PhantomData }
}

/// See [`csv`](fn@csv).
pub struct CsvSource<T> {
    inputs: Vec<String>,
    delimiter: u8,
    header: bool,
    quoted_newlines: bool,
    /// Whether rows without quotes are split here instead of by the csv crate.
    plain: bool,
    types: PhantomData<fn() -> T>,
}

impl<T> CsvSource<T> {
    /// Sets the byte that separates fields. The default is a comma.
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = delimiter;
        self
    }
    /// Declares that the files have no header row. `T` is a tuple, or a struct whose fields are in the order of the
    /// columns.
    pub fn no_header(mut self) -> Self {
        self.header = false;
        self
    }
    /// Allows newlines in quoted fields. Each file is then one task, because no split point is known to be safe.
    pub fn quoted_newlines(mut self) -> Self {
        self.quoted_newlines = true;
        self
    }
    /// Passes every row to the csv crate, which is slower and must return the same rows. For tests and fuzzers.
    #[doc(hidden)]
    pub fn never_plain(mut self) -> Self {
        self.plain = false;
        self
    }
    /// Creates a reader of the rows in these bytes.
    fn reader<'b>(&self, bytes: &'b [u8]) -> csv_crate::Reader<Chain<&'static [u8], &'b [u8]>> {
        let mut builder = csv_crate::ReaderBuilder::new();
        builder.has_headers(false).flexible(true).delimiter(self.delimiter).from_reader(before(bytes).chain(bytes))
    }
    /// Checks a row that was just read. `rest` is set if it is the last row of the block: the bytes from its start.
    ///
    /// A quoted newline counts as one wherever it lies: a block may begin or end at it.
    fn check(&self, row: &csv_crate::ByteRecord, rest: Option<&[u8]>) -> Result<()> {
        let is_open = rest.is_some_and(|rest| quotes::never_end(self.delimiter, rest));
        let message = match self.quoted_newlines {
            // At the end of a block the two cases look the same, so they share a message that does not depend on the
            // split.
            false if is_open || memchr(b'\n', row.as_slice()).is_some() => {
                "a quoted field contains a newline, or its quote never ends: see `quoted_newlines`"
            }
            true if is_open => "a quote that is opened in this row never ends",
            _ => return Ok(()),
        };
        Err(Error::new(Code::RecordMalformed, message))
    }
    /// Reads the names of the columns.
    fn header(&self, head: &[u8]) -> Result<csv_crate::ByteRecord> {
        let (mut reader, mut row) = (self.reader(head), csv_crate::ByteRecord::new());
        if !reader.read_byte_record(&mut row).map_err(|e| malformed(e, None))? {
            return Err(Error::new(Code::RecordMalformed, "the first line is empty: it should hold the header"));
        }
        let is_last = place(&reader, head) == head.len();
        self.check(&row, is_last.then_some(head))?;
        Ok(row)
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> CsvSource<T> {
    /// Reads rows without quotes by splitting them. With `has_header` the first row is skipped.
    fn read_plain(
        &self,
        has_header: bool,
        rows: &mut Rows<'_>,
        header: &csv_crate::ByteRecord,
        out: &mut RecordSink<'_, '_, Serde<T>>,
    ) -> Result<()> {
        let text = rows.text();
        let mut skip = has_header;
        let mut read = |rows: &mut Rows<'_>, from: usize, end: usize| {
            let line = &text[from..end];
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.is_empty() || std::mem::take(&mut skip) {
                rows.skip();
                return Ok(true);
            }
            out.at(from);
            let value: T = match rows.value(from, from + line.len()) {
                Some(value) => value,
                None => {
                    let mut row = csv_crate::ByteRecord::new();
                    self.reader(line.as_bytes()).read_byte_record(&mut row).map_err(|e| malformed(e, Some(header)))?;
                    value_of(&row, Some(header))?
                }
            };
            Ok(out.push(from, &value))
        };
        let mut from = 0;
        for at in Places::of([b'\n', self.delimiter], text.as_bytes()) {
            if text.as_bytes()[at] != b'\n' {
                rows.delimited(at);
                continue;
            }
            if !read(rows, from, at)? {
                return Ok(());
            }
            from = at + 1;
        }
        read(rows, from, text.len()).map(|_| ())
    }

    /// Reads rows of any kind with the csv crate. With `has_header` the first row is skipped.
    fn read_rows(
        &self,
        has_header: bool,
        bytes: &[u8],
        header: Option<&csv_crate::ByteRecord>,
        out: &mut RecordSink<'_, '_, Serde<T>>,
    ) -> Result<()> {
        let (mut reader, mut row) = (self.reader(bytes), csv_crate::ByteRecord::new());
        let mut skip = has_header;
        loop {
            let rest = &bytes[place(&reader, bytes)..];
            // Empty lines are skipped together with the row that follows them.
            let blank = rest.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            let (at, rest) = (bytes.len() - rest.len() + blank, &rest[blank..]);
            out.at(at);
            if !reader.read_byte_record(&mut row).map_err(|e| malformed(e, header))? {
                return Ok(());
            }
            let is_last = place(&reader, bytes) == bytes.len();
            self.check(&row, is_last.then_some(rest))?;
            if std::mem::take(&mut skip) {
                continue;
            }
            let value: T = value_of(&row, header)?;
            if !out.push(at, &value) {
                return Ok(());
            }
        }
    }
}

fn value_of<T: DeserializeOwned>(row: &csv_crate::ByteRecord, header: Option<&csv_crate::ByteRecord>) -> Result<T> {
    if let Some(header) = header.filter(|h| h.len() != row.len()) {
        let message = format!("a row of {} fields under a header of {}", row.len(), header.len());
        return Err(Error::new(Code::RecordMalformed, message));
    }
    row.deserialize(header).map_err(|e| malformed(e, header))
}

/// Returns the position of the reader in these bytes.
fn place(reader: &csv_crate::Reader<Chain<&'static [u8], &[u8]>>, bytes: &[u8]) -> usize {
    (reader.position().byte() as usize).saturating_sub(before(bytes).len())
}

/// Returns the bytes to parse before these bytes, so that the parser does not change them: it skips a byte order mark
/// wherever its input begins, and empty lines too. These bytes do not include the mark at the start of the file.
fn before(bytes: &[u8]) -> &'static [u8] {
    if bytes.starts_with(BYTE_ORDER_MARK) { b"\n" } else { b"" }
}

/// Converts an error of the parser. The parser's own position is left out, because it counts from the start of a block
/// or of one row; the error carries the position of the record.
fn malformed(e: csv_crate::Error, header: Option<&csv_crate::ByteRecord>) -> Error {
    let what = match e.kind() {
        csv_crate::ErrorKind::Deserialize { err, .. } => {
            let name = |field: u64| Some(header?.get(field as usize)?.escape_ascii().to_string());
            match err.field().map(|field| (field + 1, name(field))) {
                None => err.kind().to_string(),
                Some((number, None)) => format!("field {number}: {}", err.kind()),
                Some((number, Some(name))) => format!("field {number} ({name}): {}", err.kind()),
            }
        }
        _ => e.to_string(),
    };
    Error::new(Code::RecordMalformed, format!("the row is not as expected: {what}"))
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Source for CsvSource<T> {
    type Item = Serde<T>;
    fn inputs(&self) -> Vec<String> {
        self.inputs.clone()
    }
    fn framing(&self) -> Framing {
        if self.quoted_newlines { Framing::Whole } else { Framing::Delimiter(b'\n') }
    }
    fn has_header(&self) -> bool {
        self.header
    }
    fn name(&self) -> String {
        "csv".to_string()
    }
    fn is_text(&self) -> bool {
        true
    }
    fn read(&self, block: &Block<'_>, out: &mut RecordSink<'_, '_, Serde<T>>) -> Result<()> {
        if matches!(self.delimiter, b'\n' | b'\r' | b'"') {
            let message = format!("`{}` cannot delimit fields", self.delimiter.escape_ascii());
            return Err(Error::new(Code::BadRequest, message));
        }
        let has_header = self.header && block.is_start;
        let header = match self.header {
            true => Some(self.header(block.head).inspect_err(|_| out.at_start_of_file())?),
            false => None,
        };
        if let Some(header) = &header
            && self.plain
            && let Some(text) = plain::text(block.bytes, self.delimiter)
        {
            let first = text.lines().filter(|line| !line.is_empty()).nth(usize::from(has_header));
            let rows = first.map(|first| Rows::of::<T>(header, self.delimiter, text, first));
            match rows {
                // The block has no row.
                None => return Ok(()),
                Some(Some(mut rows)) => return self.read_plain(has_header, &mut rows, header, out),
                Some(None) => {}
            }
        }
        self.read_rows(has_header, block.bytes, header.as_ref(), out)
    }
}
