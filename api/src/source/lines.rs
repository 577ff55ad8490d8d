//! Lines of text.

use super::each_line::each_line;
use super::format::{Block, RecordSink, Source};
#[cfg(feature = "regex")]
use super::line_regex::{LineEnd, LineRegex};
#[cfg(not(feature = "regex"))]
use super::no_regex::LineRegex;
use crate::data::places::Places;
use crate::error::{Error, Result};
use memchr::memrchr;
use windrow_model::Framing;
use windrow_model::{Code, path_text};

/// Reads lines of UTF-8 text, without their ends (`
/// ` or `\r
/// `). The last line needs no end. Files that are compressed with gzip, zstd or bzip2 are decompressed. A line that is
/// not UTF-8 fails the job with its position: use `bytes_lines` for arbitrary bytes.
pub fn lines(inputs: impl IntoInputs) -> Lines {
    Lines { inputs: inputs.into_inputs(), pattern: None }
}

/// Reads lines as bytes, without their `
/// `; all other bytes stay. Files are decompressed as for [`lines`], and a byte order mark at the start of a file is
/// not a part of its first line; see [`BytesLines::raw`].
pub fn bytes_lines(inputs: impl IntoInputs) -> BytesLines {
    BytesLines { inputs: inputs.into_inputs(), pattern: None, is_raw: false }
}

/// What a source accepts as its inputs: one path, or several.
pub trait IntoInputs {
    /// Returns the list of inputs.
    fn into_inputs(self) -> Vec<String>;
}
impl IntoInputs for &str {
    fn into_inputs(self) -> Vec<String> {
        vec![self.to_string()]
    }
}
impl IntoInputs for &String {
    fn into_inputs(self) -> Vec<String> {
        vec![self.clone()]
    }
}
impl IntoInputs for String {
    fn into_inputs(self) -> Vec<String> {
        vec![self]
    }
}
impl<T: AsRef<str>> IntoInputs for &[T] {
    fn into_inputs(self) -> Vec<String> {
        self.iter().map(|s| s.as_ref().to_string()).collect()
    }
}
impl<T: AsRef<str>> IntoInputs for &Vec<T> {
    fn into_inputs(self) -> Vec<String> {
        self.as_slice().into_inputs()
    }
}
impl IntoInputs for Vec<String> {
    fn into_inputs(self) -> Vec<String> {
        self
    }
}

/// See [`lines`].
pub struct Lines {
    inputs: Vec<String>,
    pattern: Option<LineRegex>,
}

/// See [`bytes_lines`].
pub struct BytesLines {
    inputs: Vec<String>,
    pattern: Option<LineRegex>,
    is_raw: bool,
}

/// Lines with their file and byte offset; see [`BytesLines::with_offset`].
pub struct PlacedLines(BytesLines);

#[cfg(feature = "regex")]
impl Lines {
    /// Keeps only the lines that match a regular expression: those that a `filter` with the same expression keeps. Each
    /// line is matched as a text of its own, without its end, so `^` and `\A` match where it begins, `$` and `\z` where
    /// it ends, and no match spans several lines. Whole blocks are searched at once, in linear time, which is much
    /// faster than a filter.
    ///
    /// Needs the feature `regex`.
    ///
    /// # Errors
    /// `BAD_REQUEST` if the regular expression is invalid.
    pub fn matching(mut self, pattern: &str) -> Result<Self> {
        self.pattern = Some(LineRegex::new(pattern, LineEnd::CrLf)?);
        Ok(self)
    }
}

impl BytesLines {
    /// The same as [`Lines::matching`], but a `\r` before the line's end is a part of the line.
    ///
    /// # Errors
    /// `BAD_REQUEST` if the regular expression is invalid.
    #[cfg(feature = "regex")]
    pub fn matching(mut self, pattern: &str) -> Result<Self> {
        self.pattern = Some(LineRegex::new(pattern, LineEnd::Lf)?);
        Ok(self)
    }
    /// Reads files as they are stored: nothing is decompressed, refused as not text, or left out.
    pub fn raw(mut self) -> Self {
        self.is_raw = true;
        self
    }
    /// Adds the file and the byte offset: records become `((file, offset), line)`. A path that is not UTF-8 is encoded
    /// as described at [`path_text`](fn@crate::path_text).
    pub fn with_offset(self) -> PlacedLines {
        PlacedLines(self)
    }
    /// The former name of [`with_offset`](BytesLines::with_offset).
    #[deprecated(note = "renamed to `with_offset`")]
    pub fn with_place(self) -> PlacedLines {
        self.with_offset()
    }
}

/// Calls `f` with the offset and the record of every line (that matches), until it returns `false`.
#[inline]
fn each_record(bytes: &[u8], pattern: Option<&LineRegex>, f: impl FnMut(usize, &[u8]) -> bool) {
    match pattern {
        None => each_line(bytes, f),
        Some(pattern) => pattern.each_match(bytes, f),
    }
}

impl Source for Lines {
    type Item = String;
    fn inputs(&self) -> Vec<String> {
        self.inputs.clone()
    }
    fn framing(&self) -> Framing {
        Framing::Delimiter(b'\n')
    }
    fn name(&self) -> String {
        name("lines", &self.pattern)
    }
    fn read(&self, block: &Block<'_>, out: &mut RecordSink<'_, '_, String>) -> Result<()> {
        if let Some(pattern) = &self.pattern {
            // Only the lines that match must be UTF-8.
            pattern.each_match(block.bytes, |at, record| match std::str::from_utf8(record) {
                Ok(line) => out.push(at, line),
                Err(_) => {
                    out.fail(at, not_utf8());
                    false
                }
            });
            return Ok(());
        }
        let text = match std::str::from_utf8(block.bytes) {
            Ok(text) => text,
            Err(e) => {
                // The lines before the invalid one are read, so that the first error does not depend on the split.
                let bad = memrchr(b'\n', &block.bytes[..e.valid_up_to()]).map_or(0, |i| i + 1);
                out.fail(bad, not_utf8());
                return Ok(());
            }
        };
        let mut give = |from: usize, end: usize| {
            let line = &text[from..end];
            out.push(from, line.strip_suffix('\r').unwrap_or(line))
        };
        let mut from = 0;
        for end in Places::of([b'\n'], block.bytes) {
            if !give(from, end) {
                return Ok(());
            }
            from = end + 1;
        }
        if from < text.len() {
            give(from, text.len());
        }
        Ok(())
    }
}

fn not_utf8() -> Error {
    Error::new(Code::RecordNotUtf8, "a line is not UTF-8")
}

fn name(kind: &str, pattern: &Option<LineRegex>) -> String {
    match pattern {
        Some(p) => format!("{kind} matching /{}/", p.as_str()),
        None => kind.to_string(),
    }
}

impl Source for BytesLines {
    type Item = Vec<u8>;
    fn inputs(&self) -> Vec<String> {
        self.inputs.clone()
    }
    fn framing(&self) -> Framing {
        Framing::Delimiter(b'\n')
    }
    fn is_text(&self) -> bool {
        !self.is_raw
    }
    fn name(&self) -> String {
        name("lines", &self.pattern)
    }
    fn read(&self, block: &Block<'_>, out: &mut RecordSink<'_, '_, Vec<u8>>) -> Result<()> {
        each_record(block.bytes, self.pattern.as_ref(), |at, line| out.push(at, line));
        Ok(())
    }
}

impl Source for PlacedLines {
    type Item = ((String, u64), Vec<u8>);
    fn inputs(&self) -> Vec<String> {
        self.0.inputs()
    }
    fn framing(&self) -> Framing {
        self.0.framing()
    }
    fn is_text(&self) -> bool {
        self.0.is_text()
    }
    fn name(&self) -> String {
        name("lines with offset", &self.0.pattern)
    }
    fn read(&self, block: &Block<'_>, out: &mut RecordSink<'_, '_, Self::Item>) -> Result<()> {
        let file = path_text(block.path);
        each_record(block.bytes, self.0.pattern.as_ref(), |at, line| {
            out.push(at, ((&*file, block.offset + at as u64), line))
        });
        Ok(())
    }
}
