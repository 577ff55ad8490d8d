//! Records of a fixed length, back to back.

use super::appender::Appender;
use super::format::Sink;
use crate::data::datum::Datum;
use crate::error::{Error, Result};
use windrow_model::Code;
use windrow_model::Compression;

/// Writes byte strings of `length` bytes back to back. A record of another length fails with `FIELD_NOT_REPRESENTABLE`.
/// A plan with a length of 0, or of 4 GiB or more, is invalid.
pub fn fixed_sink(path: impl Into<String>, length: usize) -> FixedSink {
    FixedSink { path: path.into(), length }
}

/// See [`fixed_sink`].
pub struct FixedSink {
    path: String,
    length: usize,
}

impl FixedSink {
    fn check(&self, length: usize) -> Result<()> {
        if length == self.length {
            return Ok(());
        }
        let message = format!("a record of {length} bytes in a sink of {}-byte records", self.length);
        Err(Error::new(Code::FieldNotRepresentable, message))
    }
}

macro_rules! fixed_of {
    ($t:ty, |$r:ident, $out:ident| $length:expr, $append:expr) => {
        impl Sink<$t> for FixedSink {
            fn path(&self) -> &str {
                &self.path
            }
            fn format(&self) -> &str {
                "fixed"
            }
            fn framing(&self) -> windrow_model::Framing {
                // A length that a framing cannot represent becomes 0, which the check of the plan refuses.
                windrow_model::Framing::Fixed(u32::try_from(self.length).unwrap_or(0))
            }
            fn compression(&self) -> Compression {
                Compression::None
            }
            #[inline]
            fn write(&self, $r: <$t as Datum>::Ref<'_>, $out: &mut Appender<'_>) -> Result<()> {
                self.check($length)?;
                $append;
                Ok(())
            }
        }
    };
}
fixed_of!(Vec<u8>, |r, out| r.len(), out.extend_from_slice(r));
fixed_of!((Vec<u8>, Vec<u8>), |r, out| r.0.len() + r.1.len(), {
    out.extend_from_slice(r.0);
    out.extend_from_slice(r.1);
});
