//! CSV rows as values of a serde type.

mod plain;

use super::lines::IntoInputs;
use super::{Block, Framing, RecordSink, Source};
use crate::datum::Serde;
use crate::error::{Error, Result};
use crate::places::Places;
use csv as csv_crate;
use memchr::memchr;
use plain::Rows;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{Chain, Read};
use std::marker::PhantomData;
use windrow_model::Code;

/// Each row as a `T`, whose fields are found by the names in the file's first row. Quotes as in RFC 4180. Quoted fields
/// may hold newlines only with `.quoted_newlines()`, which makes files unsplittable; without it they are
/// `RECORD_MALFORMED`. So is a row that has not as many fields as the header; without one, fields that `T` does not have are
/// left out.
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
    CsvSource { inputs, delimiter: b',', header: true, quoted_newlines: false, types: PhantomData }
}

/// See [`csv`].
pub struct CsvSource<T> {
    inputs: Vec<String>,
    delimiter: u8,
    header: bool,
    quoted_newlines: bool,
    types: PhantomData<fn() -> T>,
}

impl<T> CsvSource<T> {
    /// Separates fields by another byte.
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = delimiter;
        self
    }
    /// The files have no header row: `T` is a tuple, or a struct in the order of the columns.
    pub fn no_header(mut self) -> Self {
        self.header = false;
        self
    }
    /// Quoted fields may hold newlines. Each file is then one task, since no cut of it is known to be safe.
    pub fn quoted_newlines(mut self) -> Self {
        self.quoted_newlines = true;
        self
    }
    /// Rows of some bytes after others that hold none.
    fn reader<'b>(&self, before: &'static [u8], bytes: &'b [u8]) -> csv_crate::Reader<Chain<&'static [u8], &'b [u8]>> {
        let mut builder = csv_crate::ReaderBuilder::new();
        builder.has_headers(false).flexible(true).delimiter(self.delimiter).from_reader(before.chain(bytes))
    }
    /// A quoted newline is one whatever the block: a block may begin or end at it.
    fn check(&self, row: &csv_crate::ByteRecord) -> Result<()> {
        if !self.quoted_newlines && memchr(b'\n', row.as_slice()).is_some() {
            let message = "a quoted field holds a newline, or its quote does not end: see `quoted_newlines`";
            return Err(Error::new(Code::RecordMalformed, message));
        }
        Ok(())
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl<T: Serialize + DeserializeOwned + Send + 'static> CsvSource<T> {
    /// Reads rows that need no more than splitting, the header's among them if they are a file's first.
    fn read_plain(
        &self,
        first: bool,
        text: &str,
        header: &csv_crate::ByteRecord,
        out: &mut RecordSink<'_, '_, Serde<T>>,
    ) -> Result<()> {
        let mut rows = Rows::new(header, text);
        let mut skip = first;
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
                    self.reader(before(false, line.as_bytes()), line.as_bytes())
                        .read_byte_record(&mut row)
                        .map_err(malformed)?;
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
            if !read(&mut rows, from, at)? {
                return Ok(());
            }
            from = at + 1;
        }
        read(&mut rows, from, text.len()).map(|_| ())
    }
}

fn value_of<T: DeserializeOwned>(row: &csv_crate::ByteRecord, header: Option<&csv_crate::ByteRecord>) -> Result<T> {
    if let Some(header) = header.filter(|h| h.len() != row.len()) {
        let message = format!("a row of {} fields under a header of {}", row.len(), header.len());
        return Err(Error::new(Code::RecordMalformed, message));
    }
    row.deserialize(header).map_err(malformed)
}

/// What to parse before these bytes, so that they are read as they are: the parser leaves a byte order mark out wherever
/// it begins, and an empty line as well.
fn before(first: bool, bytes: &[u8]) -> &'static [u8] {
    if !first && bytes.starts_with(BYTE_ORDER_MARK) { b"\n" } else { b"" }
}

fn malformed(e: csv_crate::Error) -> Error {
    Error::new(Code::RecordMalformed, format!("the row is not as expected: {e}"))
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
    fn read(&self, block: &Block<'_>, out: &mut RecordSink<'_, '_, Serde<T>>) -> Result<()> {
        let mut header = None;
        if self.header {
            let mut row = csv_crate::ByteRecord::new();
            let found = self.reader(b"", block.head).read_byte_record(&mut row).map_err(malformed)?;
            self.check(&row)?;
            if !found {
                return Err(Error::new(Code::RecordMalformed, "the first line is empty: it should hold the header"));
            }
            header = Some(row);
        }
        if let (Some(header), Some(text)) = (&header, plain::text(block.bytes)) {
            let first = text.lines().skip(usize::from(block.offset == 0)).find(|line| !line.is_empty());
            let is_plain = |l: &str| Rows::of_line(header, self.delimiter, l).value::<T>(0, l.len()).is_some();
            if first.is_none_or(is_plain) {
                return self.read_plain(block.offset == 0, text, header, out);
            }
        }
        let before = before(block.offset == 0, block.bytes);
        let mut reader = self.reader(before, block.bytes);
        let mut row = csv_crate::ByteRecord::new();
        let mut skip = self.header && block.offset == 0;
        loop {
            let place = |byte: u64| (byte as usize).saturating_sub(before.len());
            out.at(place(reader.position().byte()));
            if !reader.read_byte_record(&mut row).map_err(malformed)? {
                return Ok(());
            }
            self.check(&row)?;
            if std::mem::take(&mut skip) {
                continue;
            }
            let at = place(row.position().map_or(0, |p| p.byte()));
            out.at(at);
            let value: T = value_of(&row, header.as_ref())?;
            if !out.push(at, &value) {
                return Ok(());
            }
        }
    }
}
