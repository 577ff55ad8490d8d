//! Lines of text.

use super::{Block, Framing, RecordSink, Source};
use crate::error::{Error, Result};
use crate::places::Places;
use memchr::{memchr, memrchr};
use regex::bytes::{Regex, RegexBuilder};
use windrow_model::Code;

/// Lines of UTF-8 text, without their ends (`\n` or `\r\n`). A last line needs none. `.gz`, `.zst` and `.bz2` files are
/// decompressed. A line that is not UTF-8 fails the job with its place: `bytes_lines` takes anything.
pub fn lines(inputs: impl IntoInputs) -> Lines {
    Lines { inputs: inputs.into_inputs(), pattern: None }
}

/// Lines as bytes, without their `\n`; everything else stays.
pub fn bytes_lines(inputs: impl IntoInputs) -> BytesLines {
    BytesLines { inputs: inputs.into_inputs(), pattern: None }
}

/// What sources take as inputs: a path, or several.
pub trait IntoInputs {
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
    pattern: Option<Regex>,
}

/// See [`bytes_lines`].
pub struct BytesLines {
    inputs: Vec<String>,
    pattern: Option<Regex>,
}

/// Lines with the file and the byte offset where each begins.
pub struct PlacedLines(BytesLines);

fn compile(pattern: &str) -> Result<Regex> {
    let compiled = RegexBuilder::new(pattern).multi_line(true).build();
    compiled.map_err(|e| Error::new(Code::BadRequest, format!("`{pattern}` is no regular expression: {e}")))
}

impl Lines {
    /// Keeps only lines that match a regular expression. Whole blocks are searched at once, which is much faster than
    /// asking each line; `^` and `$` match at line ends. What is no regular expression is `BAD_REQUEST`.
    pub fn matching(mut self, pattern: &str) -> Result<Self> {
        self.pattern = Some(compile(pattern)?);
        Ok(self)
    }
}

impl BytesLines {
    /// As [`Lines::matching`].
    pub fn matching(mut self, pattern: &str) -> Result<Self> {
        self.pattern = Some(compile(pattern)?);
        Ok(self)
    }
    /// Records become `((file, offset), line)`.
    pub fn with_place(self) -> PlacedLines {
        PlacedLines(self)
    }
}

/// Calls `f` with the offset and bytes of every line (that matches), without its `\n`, until it says false.
#[inline]
fn each_line(bytes: &[u8], pattern: Option<&Regex>, mut f: impl FnMut(usize, &[u8]) -> bool) {
    match pattern {
        None => {
            let mut from = 0;
            for end in Places::of([b'\n'], bytes) {
                if !f(from, &bytes[from..end]) {
                    return;
                }
                from = end + 1;
            }
            if from < bytes.len() {
                f(from, &bytes[from..]);
            }
        }
        Some(pattern) => {
            let mut from = 0;
            while from < bytes.len() {
                let Some(found) = pattern.find_at(bytes, from) else { return };
                let start = memrchr(b'\n', &bytes[from..found.start()]).map_or(from, |i| from + i + 1);
                let end = memchr(b'\n', &bytes[found.start()..]).map_or(bytes.len(), |i| found.start() + i);
                if start >= bytes.len() {
                    return;
                }
                // A match that runs over the end of the line counts only if the line has one by itself.
                let inside = found.end() <= end || pattern.is_match(&bytes[start..end]);
                if inside && !f(start, &bytes[start..end]) {
                    return;
                }
                from = end + 1;
            }
        }
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
        if self.pattern.is_some() {
            // Only the lines that match have to be text.
            each_line(block.bytes, self.pattern.as_ref(), |at, line| match std::str::from_utf8(without_cr(line)) {
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
                // The lines before the bad one are read, so that which error comes first does not depend on the cut.
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

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn not_utf8() -> Error {
    Error::new(Code::RecordNotUtf8, "a line is not UTF-8")
}

fn name(kind: &str, pattern: &Option<Regex>) -> String {
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
    fn name(&self) -> String {
        name("lines", &self.pattern)
    }
    fn read(&self, block: &Block<'_>, out: &mut RecordSink<'_, '_, Vec<u8>>) -> Result<()> {
        each_line(block.bytes, self.pattern.as_ref(), |at, line| out.push(at, line));
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
    fn name(&self) -> String {
        name("lines with place", &self.0.pattern)
    }
    fn read(&self, block: &Block<'_>, out: &mut RecordSink<'_, '_, Self::Item>) -> Result<()> {
        let file = block.path.to_string_lossy();
        each_line(block.bytes, self.0.pattern.as_ref(), |at, line| {
            out.push(at, ((&*file, block.offset + at as u64), line))
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn collect(text: &[u8], pattern: Option<&Regex>) -> Vec<(usize, Vec<u8>)> {
        let mut got = Vec::new();
        each_line(text, pattern, |at, line| {
            got.push((at, line.to_vec()));
            true
        });
        got
    }

    #[test]
    fn a_match_over_a_line_end_is_no_match_of_the_line() {
        let pattern = compile(r"a\s*b").unwrap();
        assert_eq!(collect(b"xa\nb\nab\n", Some(&pattern)), [(5, b"ab".to_vec())]);
        let empty = compile("^$").unwrap();
        assert_eq!(collect(b"a\n\nb\n", Some(&empty)), [(2, vec![])]);
    }

    proptest! {
        #[test]
        fn searching_blocks_finds_what_asking_each_line_finds(
            text in "[ab\n]{0,60}",
            pattern in prop::sample::select(vec!["a+b", "^a", "b$", "^$", "a[^c]b", "x*"]),
        ) {
            let pattern = compile(pattern).unwrap();
            let want: Vec<_> = collect(text.as_bytes(), None).into_iter().filter(|(_, l)| pattern.is_match(l)).collect();
            prop_assert_eq!(collect(text.as_bytes(), Some(&pattern)), want);
        }
    }
}
