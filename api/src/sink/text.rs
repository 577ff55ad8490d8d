//! Lines of text.

use super::appender::Appender;
use super::format::{Sink, compressible};
use crate::error::{Error, Result};
use memchr::memchr;
use windrow_model::Code;
use windrow_model::Compression;

/// Writes each string or byte string and a newline. A record that would not be read back as the same record fails with
/// `FIELD_NOT_REPRESENTABLE`, unless `.verbatim()` is set: one that contains a newline, and a string (which `lines`
/// reads) that ends with a carriage return.
pub fn text(path: impl Into<String>) -> TextSink {
    TextSink { path: path.into(), verbatim: false, compression: Compression::None }
}

/// See [`text`].
pub struct TextSink {
    path: String,
    verbatim: bool,
    compression: Compression,
}
compressible!(TextSink);

impl TextSink {
    /// Writes records unchanged. A record with newlines becomes several lines.
    pub fn verbatim(mut self) -> Self {
        self.verbatim = true;
        self
    }

    #[inline]
    fn append(&self, record: &[u8], is_string: bool, out: &mut Appender<'_>) -> Result<()> {
        let is_line = memchr(b'\n', record).is_none() && !(is_string && record.ends_with(b"\r"));
        if !is_line && !self.verbatim {
            return Err(no_line(record));
        }
        out.extend_from_slice(record);
        out.push(b'\n');
        Ok(())
    }
}

#[cold]
fn no_line(record: &[u8]) -> Error {
    let shown = record[..record.len().min(80)].escape_ascii();
    let message =
        format!("a record contains a newline or ends with a carriage return, so it is not one line: `{shown}`");
    Error::new(Code::FieldNotRepresentable, message)
}

macro_rules! text_of {
    ($t:ty, $is_string:literal) => {
        impl Sink<$t> for TextSink {
            fn path(&self) -> &str {
                &self.path
            }
            fn format(&self) -> &str {
                "text"
            }
            fn framing(&self) -> windrow_model::Framing {
                windrow_model::Framing::Delimiter(b'\n')
            }
            fn compression(&self) -> Compression {
                self.compression
            }
            #[inline]
            fn write(&self, record: <$t as crate::data::datum::Datum>::Ref<'_>, out: &mut Appender<'_>) -> Result<()> {
                self.append(record.as_ref(), $is_string, out)
            }
        }
    };
}
text_of!(String, true);
text_of!(Vec<u8>, false);
