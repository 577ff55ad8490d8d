//! One part file while it is written: buffered, compressed if asked, checksummed as it goes.

use crate::source::BYTE_ORDER_MARK;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use windrow_failpoint::failpoint;
use windrow_format::block::io_code;
use windrow_format::checksum::Crc32cWriter;
use windrow_format::durable::create_with_folder;
use windrow_format::quota::Charged;
use windrow_format::space::with_free_space;
use windrow_model::{Compression, Escape, Failure, PartReport};

/// Bytes that are collected before they are handed on.
const BUFFER_BYTES: usize = 256 << 10;
/// They are handed on in multiples of this, a page or more: the system writes those faster.
const ALIGN: usize = 64 << 10;

enum Encoder {
    None(Crc32cWriter<File>),
    Gzip(flate2::write::GzEncoder<Crc32cWriter<File>>),
    Zstd(zstd::stream::write::Encoder<'static, Crc32cWriter<File>>),
    Bzip2(bzip2::write::BzEncoder<Crc32cWriter<File>>),
}

pub(crate) struct PartWriter {
    path: PathBuf,
    encoder: Encoder,
    charged: Charged,
    buffer: Vec<u8>,
    records: u64,
    /// Its readers take a byte order mark at its start for none of its text.
    has_marks: bool,
}

impl PartWriter {
    /// `has_marks`: the part is a file of text by itself, and no piece of a dataset.
    pub fn create(path: &Path, compression: Compression, has_marks: bool) -> Result<Self, Failure> {
        let failed = |e: io::Error| failure(path, e);
        let file = Crc32cWriter::new(create_with_folder(path).map_err(failed)?);
        let encoder = match compression {
            Compression::None => Encoder::None(file),
            Compression::Gzip => Encoder::Gzip(flate2::write::GzEncoder::new(file, flate2::Compression::default())),
            Compression::Zstd => Encoder::Zstd(zstd::stream::write::Encoder::new(file, 3).map_err(failed)?),
            Compression::Bzip2 => Encoder::Bzip2(bzip2::write::BzEncoder::new(file, bzip2::Compression::default())),
        };
        Ok(PartWriter {
            path: path.to_path_buf(),
            encoder,
            charged: Charged::new(),
            buffer: Vec::with_capacity(BUFFER_BYTES + 4096),
            records: 0,
            has_marks,
        })
    }

    /// Where the next record is appended.
    #[inline]
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// A record is complete.
    #[inline]
    pub fn record(&mut self) -> Result<(), Failure> {
        if self.records == 0 {
            self.keep_mark();
        }
        self.records += 1;
        if self.buffer.len() >= BUFFER_BYTES { self.flush(self.buffer.len() / ALIGN * ALIGN) } else { Ok(()) }
    }

    /// Puts a byte order mark before a part that begins with one: of two marks, readers take the second one as text.
    #[cold]
    fn keep_mark(&mut self) {
        if self.has_marks && self.buffer.starts_with(BYTE_ORDER_MARK) {
            self.buffer.splice(0..0, BYTE_ORDER_MARK.iter().copied());
        }
    }

    /// Hands on so many bytes of the buffer.
    fn flush(&mut self, bytes: usize) -> Result<(), Failure> {
        let ready = &self.buffer[..bytes];
        let written = failpoint!("part.write").and_then(|()| match &mut self.encoder {
            Encoder::None(w) => w.write_all(ready),
            Encoder::Gzip(w) => w.write_all(ready),
            Encoder::Zstd(w) => w.write_all(ready),
            Encoder::Bzip2(w) => w.write_all(ready),
        });
        self.buffer.drain(..bytes);
        let bytes = match &self.encoder {
            Encoder::None(w) => w.bytes(),
            Encoder::Gzip(w) => w.get_ref().bytes(),
            Encoder::Zstd(w) => w.get_ref().bytes(),
            Encoder::Bzip2(w) => w.get_ref().bytes(),
        };
        written.and_then(|()| self.charged.grow_to(bytes)).map_err(|e| failure(&self.path, e))
    }

    pub fn finish(mut self, sink: u32) -> Result<PartReport, Failure> {
        self.flush(self.buffer.len())?;
        let file = match self.encoder {
            Encoder::None(w) => Ok(w),
            Encoder::Gzip(w) => w.finish(),
            Encoder::Zstd(w) => w.finish(),
            Encoder::Bzip2(w) => w.finish(),
        };
        let file = file.map_err(|e| failure(&self.path, e))?;
        self.charged.keep();
        Ok(PartReport { sink, bytes: file.bytes(), records: self.records, checksum: file.crc32c() })
    }
}

fn failure(path: &Path, e: io::Error) -> Failure {
    Failure::new(io_code(&e), format!("cannot write {}: {}", path.escaped(), with_free_space(&e, path)))
}
