//! The trait of output formats.

use super::appender::Appender;
use crate::data::datum::Datum;
use crate::data::part_form::PartForm;
use crate::error::Result;
use windrow_model::{Compression, Framing};

/// Turns records into the bytes of a part file. Implement it for a format of your own.
///
/// ```
/// use windrow::prelude::*;
/// use windrow::{Appender, Sink};
///
/// /// Words in angle brackets.
/// struct Brackets(String);
/// impl Sink<String> for Brackets {
///     fn path(&self) -> &str { &self.0 }
///     fn format(&self) -> &str { "brackets" }
///     fn write(&self, word: &str, out: &mut Appender<'_>) -> Result<()> {
///         out.push(b'<');
///         out.extend_from_slice(word.as_bytes());
///         out.push(b'>');
///         Ok(())
///     }
/// }
/// ```
pub trait Sink<R: Datum>: Send + Sync + 'static {
    /// The output folder.
    fn path(&self) -> &str;
    /// The format's name, for plans, the manifest and the web UI.
    fn format(&self) -> &str;
    /// How parts are compressed. The default is `Compression::None`.
    fn compression(&self) -> Compression {
        Compression::None
    }
    /// The suffix of part names. It follows from the compression.
    fn suffix(&self) -> &str {
        windrow_format::compression::suffix(self.compression())
    }
    /// How records lie in a part. The default is [`PartForm::Appended`].
    fn form(&self) -> PartForm {
        PartForm::Appended
    }
    /// Where a record begins in a part, so that a dataset of such parts can be read. By default the whole part is one
    /// unit.
    fn framing(&self) -> Framing {
        Framing::Whole
    }
    /// Appends one record.
    ///
    /// # Errors
    /// An error fails the record. Return one for a record that a source would not read back as the same record.
    fn write(&self, record: R::Ref<'_>, out: &mut Appender<'_>) -> Result<()>;
}

macro_rules! compressible {
    ($t:ty) => {
        impl $t {
            /// Compresses every part. Part names end in `.gz`, `.zst` or `.bz2`.
            pub fn compressed(mut self, compression: windrow_model::Compression) -> Self {
                self.compression = compression;
                self
            }
        }
    };
}
pub(crate) use compressible;
