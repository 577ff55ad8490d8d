//! Writes one part file: buffered, compressed if configured, with a checksum of the stored bytes.

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

/// Size of the write buffer, in bytes.
const BUFFER_BYTES: usize = 256 << 10;
/// The buffer is written in multiples of this size, in bytes. The kernel writes whole pages faster.
const ALIGN: usize = 64 << 10;

enum Encoder {
    None(Crc32cWriter<File>),
    Gzip(flate2::write::GzEncoder<Crc32cWriter<File>>),
    Zstd(zstd::stream::write::Encoder<'static, Crc32cWriter<File>>),
    Bzip2(bzip2::write::BzEncoder<Crc32cWriter<File>>),
}

/// A part file that is being written.
pub(crate) struct PartWriter {
    path: PathBuf,
    encoder: Encoder,
    charged: Charged,
    buffer: Vec<u8>,
    records: u64,
    /// Whether readers skip a byte order mark at the start of the part.
    has_marks: bool,
}

impl PartWriter {
    /// Creates the part file. `has_marks`: the part is a text file of its own, not a piece of a dataset.
    pub(crate) fn create(path: &Path, compression: Compression, has_marks: bool) -> Result<Self, Failure> {
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

    /// The buffer to which the next record is appended.
    #[inline]
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Marks the end of a record.
    #[inline]
    pub(crate) fn record(&mut self) -> Result<(), Failure> {
        if self.records == 0 {
            self.keep_mark();
        }
        self.records += 1;
        if self.buffer.len() >= BUFFER_BYTES { self.flush(self.buffer.len() / ALIGN * ALIGN) } else { Ok(()) }
    }

    /// Prepends a byte order mark to a part that begins with one: readers skip the first mark and take the second as
    /// text.
    #[cold]
    fn keep_mark(&mut self) {
        if self.has_marks && self.buffer.starts_with(BYTE_ORDER_MARK) {
            self.buffer.splice(0..0, BYTE_ORDER_MARK.iter().copied());
        }
    }

    /// Writes the first `bytes` bytes of the buffer.
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

    /// Writes the rest, closes the part and returns its report for sink `sink`.
    pub(crate) fn finish(mut self, sink: u32) -> Result<PartReport, Failure> {
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
