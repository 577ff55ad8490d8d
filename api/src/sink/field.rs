//! Records as fields of a text line.

use super::appender::Appender;
use crate::data::datum::Datum;
use crate::data::datum::list::Scalar;
use crate::error::{Error, Result};
use std::cmp::Reverse;
use std::io::Write;
use windrow_model::Code;

/// Records that can be written as a row of text fields: numbers, strings, bytes, and tuples of those, which are
/// flattened.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be written as fields of a text line",
    note = "write numbers, strings, bytes and tuples of those; or use `jsonl_sink` for serde values"
)]
pub trait Fields: Datum {
    /// Appends the fields of a record.
    ///
    /// # Errors
    /// `FIELD_NOT_REPRESENTABLE` if the format cannot represent a field.
    fn fields(r: Self::Ref<'_>, out: &mut FieldWriter<'_>) -> Result<()>;
}

/// How a field that contains a separator is written.
pub(crate) enum Quoting {
    /// A field that contains the separator or a newline is an error.
    Refuse,
    /// Tabs, newlines, carriage returns and backslashes are written as `\t`, `
    /// `, `\r` and `\\`.
    Escape,
    /// RFC 4180: fields that need quotes are quoted.
    Csv,
}

/// The UTF-8 byte order mark. Readers of text skip it at the start of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Appends the fields of one line.
pub struct FieldWriter<'o> {
    out: Appender<'o>,
    separator: u8,
    quoting: Quoting,
    fields: u32,
    /// Whether the last field is a string that ends with a carriage return, which a reader of lines would take for a
    /// part of the line's end.
    ends_with_cr: bool,
}

impl<'o> FieldWriter<'o> {
    pub(crate) fn new(out: &'o mut Appender<'_>, separator: u8, quoting: Quoting) -> Self {
        FieldWriter { out: out.again(), separator, quoting, fields: 0, ends_with_cr: false }
    }
    #[inline]
    fn next(&mut self) {
        if self.fields > 0 {
            self.out.push(self.separator);
        }
        self.fields += 1;
        self.ends_with_cr = false;
    }
    /// Ends the line. Fails if a reader would not find the same fields in it.
    #[inline]
    pub(crate) fn end_line(mut self) -> Result<()> {
        match self.quoting {
            Quoting::Refuse if self.ends_with_cr => {
                return Err(refused("the last field ends with a carriage return", self.out.record()));
            }
            Quoting::Csv if self.fields == 0 => {
                return Err(refused("a record without fields would be an empty line, which readers skip", b""));
            }
            // A lone empty field would also be an empty line.
            Quoting::Csv if self.out.record().is_empty() => self.out.extend_from_slice(b"\"\""),
            _ => {}
        }
        self.out.push(b'\n');
        Ok(())
    }
    /// Appends a field of text.
    ///
    /// # Errors
    /// `FIELD_NOT_REPRESENTABLE` if the format has no quoting and the field contains a separator or a newline.
    #[inline]
    pub fn text(&mut self, field: &str) -> Result<()> {
        self.bytes(field.as_bytes())?;
        self.ends_with_cr = field.ends_with('\r');
        Ok(())
    }
    /// Appends a field of arbitrary bytes.
    ///
    /// # Errors
    /// The same as for [`FieldWriter::text`].
    pub fn bytes(&mut self, field: &[u8]) -> Result<()> {
        self.next();
        let special = |b: &u8| *b == self.separator || *b == b'\n';
        match self.quoting {
            Quoting::Refuse => {
                if memchr::memchr2(self.separator, b'\n', field).is_some() {
                    return Err(refused("a field contains a separator or a newline", field));
                }
                self.out.extend_from_slice(field);
            }
            Quoting::Escape => {
                for b in field {
                    match b {
                        b'\t' => self.out.extend_from_slice(b"\\t"),
                        b'\n' => self.out.extend_from_slice(b"\\n"),
                        b'\r' => self.out.extend_from_slice(b"\\r"),
                        b'\\' => self.out.extend_from_slice(b"\\\\"),
                        b => self.out.push(*b),
                    }
                }
            }
            Quoting::Csv => {
                let is_special = |b| special(b) || matches!(b, b'"' | b'\r');
                if field.iter().any(is_special) || field.starts_with(BYTE_ORDER_MARK) {
                    self.out.push(b'"');
                    for b in field {
                        if *b == b'"' {
                            self.out.push(b'"');
                        }
                        self.out.push(*b);
                    }
                    self.out.push(b'"');
                } else {
                    self.out.extend_from_slice(field);
                }
            }
        }
        Ok(())
    }
    /// Appends the fields of a `Some`. It must differ from a `None`, which is an empty field.
    fn present(&mut self, write: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let at = self.out.record().len() + usize::from(self.fields > 0);
        let before = self.fields;
        write(self)?;
        // A field that contains a separator is quoted, so a separator here means that the field is empty.
        let first = self.out.record().get(at);
        if matches!(self.quoting, Quoting::Csv) && (self.fields == before || first.is_none_or(|b| *b == self.separator))
        {
            return Err(refused("a `Some` whose field is empty would be read back as `None`", self.out.record()));
        }
        Ok(())
    }
    /// Appends a field whose text needs no quoting.
    ///
    /// # Errors
    /// The formatting of the value fails.
    pub fn display(&mut self, value: impl std::fmt::Display) -> Result<()> {
        self.next();
        write!(self.out, "{value}").map_err(Error::from)
    }
    /// Appends an unsigned number, without the cost of `std::fmt`.
    #[inline]
    pub fn unsigned(&mut self, mut value: u64) {
        self.next();
        let mut digits = [0u8; 20];
        let mut at = 20;
        loop {
            at -= 1;
            digits[at] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.out.extend_from_slice(&digits[at..]);
    }
}

#[cold]
fn refused(what: &str, shown: &[u8]) -> Error {
    let shown = shown[..shown.len().min(80)].escape_ascii();
    Error::new(Code::FieldNotRepresentable, format!("{what}: `{shown}`"))
}

macro_rules! unsigned {
    ($($t:ty),*) => {$(
        impl Fields for $t {
            #[inline]
            fn fields(r: $t, out: &mut FieldWriter<'_>) -> Result<()> {
                out.unsigned(r as u64);
                Ok(())
            }
        }
    )*};
}
unsigned!(u8, u16, u32, u64);
macro_rules! display {
    ($($t:ty),*) => {$(
        impl Fields for $t {
            fn fields(r: $t, out: &mut FieldWriter<'_>) -> Result<()> { out.display(r) }
        }
    )*};
}
display!(u128, i8, i16, i32, i64, i128, f32, f64, bool);
// The forms of ISO 8601 and RFC 3339.
#[cfg(feature = "jiff")]
display!(jiff::civil::Date, jiff::civil::DateTime, jiff::Timestamp);

impl Fields for char {
    fn fields(r: char, out: &mut FieldWriter<'_>) -> Result<()> {
        out.text(r.encode_utf8(&mut [0; 4]))
    }
}
impl Fields for () {
    fn fields(_: (), _: &mut FieldWriter<'_>) -> Result<()> {
        Ok(())
    }
}
impl Fields for String {
    #[inline]
    fn fields(r: &str, out: &mut FieldWriter<'_>) -> Result<()> {
        out.text(r)
    }
}
impl Fields for Vec<u8> {
    #[inline]
    fn fields(r: &[u8], out: &mut FieldWriter<'_>) -> Result<()> {
        out.bytes(r)
    }
}
impl<const N: usize> Fields for [u8; N] {
    fn fields(r: &[u8; N], out: &mut FieldWriter<'_>) -> Result<()> {
        out.bytes(r)
    }
}
/// One field: the numbers separated by commas.
impl<T: Scalar + std::fmt::Display> Fields for Vec<T> {
    fn fields(r: &[T], out: &mut FieldWriter<'_>) -> Result<()> {
        let mut text = Vec::new();
        for (i, v) in r.iter().enumerate() {
            write!(text, "{}{v}", if i == 0 { "" } else { "," })?;
        }
        out.bytes(&text)
    }
}
/// A field for each number.
impl<T: Scalar + Fields, const N: usize> Fields for [T; N] {
    fn fields(r: &[T; N], out: &mut FieldWriter<'_>) -> Result<()> {
        r.iter().try_for_each(|v| T::fields(*v, out))
    }
}
/// `None` is an empty field. CSV cannot represent a `Some` whose field is empty.
impl<T: Fields> Fields for Option<T> {
    fn fields(r: Option<T::Ref<'_>>, out: &mut FieldWriter<'_>) -> Result<()> {
        match r {
            Some(r) => out.present(|out| T::fields(r, out)),
            None => out.bytes(&[]),
        }
    }
}
impl<T: Fields + crate::data::datum::Key> Fields for Reverse<T> {
    fn fields(r: Reverse<T::Ref<'_>>, out: &mut FieldWriter<'_>) -> Result<()> {
        T::fields(r.0, out)
    }
}
macro_rules! tuple {
    ($($T:ident $t:ident),*) => {
        impl<$($T: Fields),*> Fields for ($($T,)*) {
            #[inline]
            fn fields(r: Self::Ref<'_>, out: &mut FieldWriter<'_>) -> Result<()> {
                let ($($t,)*) = r;
                $($T::fields($t, out)?;)*
                Ok(())
            }
        }
    };
}
tuple!(A a, B b);
tuple!(A a, B b, C c);
tuple!(A a, B b, C c, D d);
tuple!(A a, B b, C c, D d, E e);
tuple!(A a, B b, C c, D d, E e, G g);
