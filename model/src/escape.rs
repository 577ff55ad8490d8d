//! Makes text from outside safe for a terminal or a log.
//!
//! Names, paths, labels and messages come from users, file systems and other machines. A control character in one of
//! them could move the cursor, change colours, or begin a line that looks like one of Windrow's. Everything that is
//! printed for people passes through [`Escape`]; JSON has escapes of its own and does not need it. Backslashes are not
//! changed, so escaping text twice has no effect.

use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Starts every line but the first of a text of several lines.
const CONTINUATION: &str = "\n  | ";

/// Displays text without control characters. Linear in its length.
///
/// ```
/// use windrow_model::Escape;
/// assert_eq!("a\u{1b}[31m\nb".escaped().to_string(), r"a\x1b[31m\nb");
/// assert_eq!("two\nlines".escaped_lines().to_string(), "two\n  | lines");
/// ```
pub trait Escape {
    /// On one line: control characters, line separators and marks of text direction become `
    /// `, `\x1b` or `\u{202e}`, and bytes that are not UTF-8 become `\xff`.
    fn escaped(&self) -> Escaped<'_>;

    /// For a message of several lines: each line but the first starts with `  | `, so it cannot pass for a line of
    /// Windrow's own. Tabs are kept.
    fn escaped_lines(&self) -> Escaped<'_> {
        Escaped { lines: true, ..self.escaped() }
    }
}

/// Text that is escaped while it is printed.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'t> {
    bytes: &'t [u8],
    lines: bool,
}

impl Escape for [u8] {
    fn escaped(&self) -> Escaped<'_> {
        Escaped { bytes: self, lines: false }
    }
}
impl Escape for str {
    fn escaped(&self) -> Escaped<'_> {
        self.as_bytes().escaped()
    }
}
impl Escape for OsStr {
    fn escaped(&self) -> Escaped<'_> {
        self.as_bytes().escaped()
    }
}
impl Escape for Path {
    fn escaped(&self) -> Escaped<'_> {
        self.as_os_str().escaped()
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without trailing whitespace, which would leave an empty continuation line.
        let bytes = if self.lines { self.bytes.trim_ascii_end() } else { self.bytes };
        for chunk in bytes.utf8_chunks() {
            let valid = chunk.valid();
            let mut plain = 0;
            for (at, c) in valid.char_indices().filter(|(_, c)| is_unprintable(*c)) {
                f.write_str(&valid[plain..at])?;
                plain = at + c.len_utf8();
                self.escape(c, f)?;
            }
            f.write_str(&valid[plain..])?;
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

impl Escaped<'_> {
    fn escape(&self, c: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match c {
            '\n' if self.lines => f.write_str(CONTINUATION),
            '\t' if self.lines => f.write_char(c),
            '\n' => f.write_str("\\n"),
            '\r' => f.write_str("\\r"),
            '\t' => f.write_str("\\t"),
            c if c.is_ascii() => write!(f, "\\x{:02x}", u32::from(c)),
            c => write!(f, "{}", c.escape_unicode()),
        }
    }
}

/// Control characters (C0, DEL, C1), line and paragraph separators, marks that change the direction of text, and characters
/// without a form, by which two names can look alike. Joiners within words and emoji are printed.
fn is_unprintable(c: char) -> bool {
    let directs = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_invisible = matches!(
        c,
        '\u{ad}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}' | '\u{2060}'
            ..='\u{2064}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
    );
    c.is_control() || directs || is_invisible
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn one_line_shows_every_control_character() {
        for (text, shown) in [
            ("plain ä 漢 `\\n`", "plain ä 漢 `\\n`"),
            ("red\u{1b}[31m\nline\ttab\r", r"red\x1b[31m\nline\ttab\r"),
            ("\0\u{7f}\u{9b}2J", r"\x00\x7f\u{9b}2J"),
            ("a\u{202e}b\u{2028}c", r"a\u{202e}b\u{2028}c"),
            ("a\u{200b}b\u{3164}\u{ad}", r"a\u{200b}b\u{3164}\u{ad}"),
        ] {
            assert_eq!(text.escaped().to_string(), shown);
            assert_eq!(shown.escaped().to_string(), shown, "escaping twice changes nothing");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_stay_distinct() {
        let shown = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes)).escaped().to_string();
        assert_eq!(shown(b"in/bad\xff"), r"in/bad\xff");
        assert_ne!(shown(b"in/bad\xff"), shown(b"in/bad\xfe"));
    }

    #[test]
    fn later_lines_of_a_message_are_marked() {
        let forged = "no such file\ndone in 4 s, 1 tasks\n\u{1b}[2K\r";
        assert_eq!(forged.escaped_lines().to_string(), "no such file\n  | done in 4 s, 1 tasks\n  | \\x1b[2K");
        assert_eq!("a\tb\n".escaped_lines().to_string(), "a\tb");
    }
}
