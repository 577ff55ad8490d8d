//! Append-only access to the end of a part. A sink cannot change records that were appended before.

use std::io::{self, Write};

/// Receives the bytes of one record. It has only the methods of a vector that append.
///
/// ```compile_fail
/// fn shorten(out: &mut windrow::Appender<'_>) {
///     out.truncate(0)
/// }
/// ```
pub struct Appender<'b> {
    buffer: &'b mut Vec<u8>,
    /// Where the record begins, in bytes of the buffer.
    start: usize,
}

impl<'b> Appender<'b> {
    /// Creates an appender for one record after those in the buffer.
    #[inline]
    pub(crate) fn new(buffer: &'b mut Vec<u8>) -> Self {
        let start = buffer.len();
        Appender { buffer, start }
    }
    /// Reborrows the appender of the same record.
    #[inline]
    pub(crate) fn again(&mut self) -> Appender<'_> {
        Appender { buffer: self.buffer, start: self.start }
    }
    /// Appends one byte.
    #[inline]
    pub fn push(&mut self, byte: u8) {
        self.buffer.push(byte)
    }
    /// Appends bytes.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes)
    }
    /// Appends the encoding of a record, as [`PartForm::Blocks`](crate::PartForm::Blocks) needs it.
    #[inline]
    pub fn encode<R: crate::Datum>(&mut self, record: R::Ref<'_>) {
        R::encode::<true>(record, self.buffer)
    }
    /// The bytes of this record so far.
    #[inline]
    pub fn record(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

impl Extend<u8> for Appender<'_> {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.buffer.extend(bytes)
    }
}

/// Never fails.
impl Write for Appender<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appended_bytes_follow_what_is_there() {
        let mut buffer = b"before\n".to_vec();
        let mut out = Appender::new(&mut buffer);
        out.extend_from_slice(b"ke");
        out.push(b'y');
        write!(out, "={}", 7).unwrap();
        out.extend([b'\n']);
        assert_eq!(out.record(), b"key=7\n");
        assert_eq!(buffer, b"before\nkey=7\n");
    }
}
