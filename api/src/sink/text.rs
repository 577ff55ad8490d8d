//! Lines of text.

use super::{Compression, Sink, compressible};
use crate::error::Result;

/// Writes each string or byte string and a newline, as it is.
pub fn text(path: impl Into<String>) -> TextSink {
    TextSink { path: path.into(), compression: Compression::None }
}

/// See [`text`].
pub struct TextSink {
    path: String,
    compression: Compression,
}
compressible!(TextSink);

macro_rules! text_of {
    ($t:ty) => {
        impl Sink<$t> for TextSink {
            fn path(&self) -> &str {
                &self.path
            }
            fn format(&self) -> &str {
                "text"
            }
            fn framing(&self) -> crate::sink::Framing {
                crate::sink::Framing::Delimiter(b'\n')
            }
            fn compression(&self) -> Compression {
                self.compression
            }
            #[inline]
            fn write(&self, record: <$t as crate::datum::Datum>::Ref<'_>, out: &mut Vec<u8>) -> Result<()> {
                out.extend_from_slice(record.as_ref());
                out.push(b'\n');
                Ok(())
            }
        }
    };
}
text_of!(String);
text_of!(Vec<u8>);
