//! CSV rows as values of a serde type.

use super::lines::IntoInputs;
use super::{Block, Framing, RecordSink, Source};
use crate::datum::Serde;
use crate::error::{Error, Result};
use csv as csv_crate;
use memchr::memchr;
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
        // The parser takes a byte order mark for none of the data wherever it begins. An empty line it leaves out.
        let before: &[u8] = if block.offset > 0 && block.bytes.starts_with(BYTE_ORDER_MARK) { b"\n" } else { b"" };
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
            if header.as_ref().is_some_and(|h| h.len() != row.len()) {
                let message =
                    format!("a row of {} fields under a header of {}", row.len(), header.map_or(0, |h| h.len()));
                return Err(Error::new(Code::RecordMalformed, message));
            }
            let value: T = row.deserialize(header.as_ref()).map_err(malformed)?;
            if !out.push(at, &value) {
                return Ok(());
            }
        }
    }
}
