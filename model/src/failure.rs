//! The cause of a failure, written for its reader.

use crate::chunk::SkippedRecord;
use crate::code::Code;
use crate::escape::Escape;
use crate::ids::{Digest, TaskId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// The input record that a failure is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordPlace {
    /// Path of the file.
    #[serde(with = "crate::path_text::as_text")]
    pub file: PathBuf,
    /// Byte offset of the record in the file (in the decompressed bytes of a compressed file).
    pub offset: u64,
    /// The first bytes of the record in printable form.
    pub excerpt: String,
}

/// The key that a task was working on when it failed, or the record if it has none. Of tasks that read records of other tasks: there
/// it has no place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPlace {
    /// Digest of its encoding.
    pub digest: Digest,
    /// The key in printable form, cut to a bound.
    pub shown: String,
}

impl KeyPlace {
    /// Its position among the bad records of a task. No chunk has that many ranges.
    pub fn record(&self) -> SkippedRecord {
        let [a, b, c, d, e, f, g, h, ..] = self.digest.0;
        SkippedRecord { range: u32::MAX, offset: u64::from_be_bytes([a, b, c, d, e, f, g, h]) }
    }
}

/// A record that made its task fail and was set aside: the job continued without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadRecord {
    /// The task whose input it was.
    pub task: TaskId,
    /// Position of the record in the task's chunk; see [`KeyPlace::record`] for a key.
    pub record: SkippedRecord,
    /// Position of the record in its file. Without a file for a key.
    pub place: RecordPlace,
    /// The key whose records were set aside, if the task reads no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyPlace>,
    /// Code of the failure.
    pub code: Code,
    /// Message of the failure.
    pub message: String,
}

/// One cause: a stable code, a message, and the record if there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable code.
    pub code: Code,
    /// What happened, for the user.
    pub message: String,
    /// The record that the failure is about.
    pub place: Option<RecordPlace>,
    /// The last lines that the task's process wrote to stderr.
    pub stderr_tail: Box<str>,
    /// The key that the failure is about, if the task reads no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Box<KeyPlace>>,
}

impl Failure {
    /// Bytes of a message, and of the end of stderr, that are passed on and kept. Code of users makes both.
    pub const TEXT_BYTES_MAX: usize = 64 << 10;

    /// Bytes of each that lists of jobs show.
    pub const LISTED_BYTES_MAX: usize = 4 << 10;

    /// The same failure with the first `bytes_max` bytes of its message, and the last ones of stderr.
    pub fn cut_to(mut self, bytes_max: usize) -> Self {
        if self.message.len() > bytes_max {
            self.message.truncate(self.message.floor_char_boundary(bytes_max));
            self.message.push_str(" ...");
        }
        if self.stderr_tail.len() > bytes_max {
            let from = self.stderr_tail.ceil_char_boundary(self.stderr_tail.len() - bytes_max);
            self.stderr_tail = self.stderr_tail[from..].into();
        }
        self
    }

    /// A failure without a record and without stderr.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Failure { code, message: message.into(), place: None, stderr_tail: Box::default(), key: None }
    }
    /// The same failure, at this record.
    pub fn at(mut self, place: RecordPlace) -> Self {
        self.place = Some(place);
        self
    }
}

/// For people: text from outside is escaped.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message.escaped_lines())?;
        if let Some(p) = &self.place {
            write!(f, " (record at {}:{}", p.file.escaped(), p.offset)?;
            if !p.excerpt.is_empty() {
                write!(f, ": {}", p.excerpt.escaped())?;
            }
            write!(f, ")")?;
        }
        Ok(())
    }
}
impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_where_characters_end() {
        let failure = Failure { stderr_tail: "é".repeat(10).into(), ..Failure::new(Code::UserError, "é".repeat(10)) };
        assert_eq!(failure.clone().cut_to(20), failure);
        let cut = failure.cut_to(5);
        assert_eq!((&*cut.message, &*cut.stderr_tail), ("éé ...", "éé"));
    }
}
