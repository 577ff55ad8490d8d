//! Framing: the rule for where records begin, as a word of plans, flags and datasets.
//!
//! This file says which rules there are and how they read; `windrow_format::framing` applies them to bytes.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The rule that finds record starts, so that a file can be cut without parsing records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Framing {
    /// Records end with this byte, which the last record may lack.
    Delimiter(u8),
    /// Every record has this many bytes; the file has a whole number of records.
    Fixed(u32),
    /// A file is one unit and is never cut.
    Whole,
}

impl Framing {
    /// Whether records of zero bytes follow from it, which no file has.
    pub fn has_empty_records(self) -> bool {
        self == Framing::Fixed(0)
    }

    /// Whether files of such records are text unless their format says otherwise: compressed files are decompressed, and
    /// a byte order mark belongs to no record.
    pub fn is_text(self) -> bool {
        matches!(self, Framing::Delimiter(_))
    }

    /// Whether the records may hold any byte although files of them are text. Such files are not expected to look like
    /// text.
    pub fn is_binary_text(self) -> bool {
        self == Framing::Delimiter(0)
    }

    /// How a source reads, as the end of a sentence: `by lines`.
    pub fn phrase(self) -> String {
        match self {
            Framing::Delimiter(b'\n') => "by lines".to_string(),
            Framing::Delimiter(b) => format!("by records that end with byte {b}"),
            Framing::Fixed(n) => format!("by records of {n} bytes"),
            Framing::Whole => "by whole files".to_string(),
        }
    }
}

/// Text form in flags and lists: `lines`, `delimiter:N` for another byte, `fixed:N`, `whole`.
impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Framing::Delimiter(b'\n') => f.write_str("lines"),
            Framing::Delimiter(byte) => write!(f, "delimiter:{byte}"),
            Framing::Fixed(bytes) => write!(f, "fixed:{bytes}"),
            Framing::Whole => f.write_str("whole"),
        }
    }
}
impl FromStr for Framing {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |kind: &str| text.strip_prefix(kind);
        let wrong = || format!("invalid framing `{text}`: use lines, delimiter:BYTE, fixed:BYTES or whole");
        match (text, number("delimiter:"), number("fixed:")) {
            ("lines", ..) => Ok(Framing::Delimiter(b'\n')),
            ("whole", ..) => Ok(Framing::Whole),
            (_, Some(byte), _) => byte.parse().map(Framing::Delimiter).map_err(|_| wrong()),
            (_, _, Some(bytes)) => match bytes.parse() {
                Ok(n) if n > 0 => Ok(Framing::Fixed(n)),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_is_parsed_from_its_text() {
        for framing in [Framing::Delimiter(b'\n'), Framing::Delimiter(b';'), Framing::Fixed(100), Framing::Whole] {
            assert_eq!(framing.to_string().parse(), Ok(framing));
        }
        for wrong in ["", "line", "fixed:0", "fixed:", "fixed:-1", "delimiter:256"] {
            assert!(wrong.parse::<Framing>().is_err(), "{wrong}");
        }
    }
}
