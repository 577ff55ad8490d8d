//! Why something failed, written to the person who gets it.

use crate::chunk::SkippedRecord;
use crate::code::Code;
use crate::escape::Escape;
use crate::ids::TaskId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Where in the input the record lies that a failure is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordPlace {
    #[serde(with = "crate::path_text::as_text")]
    pub file: PathBuf,
    /// Byte offset of the record's first byte (in the decompressed bytes for a compressed file).
    pub offset: u64,
    /// The first bytes of the record, printable.
    pub excerpt: String,
}

/// A record that made its task fail and was set aside: the job went on without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadRecord {
    /// Whose input it was.
    pub task: TaskId,
    pub record: SkippedRecord,
    pub place: RecordPlace,
    pub code: Code,
    pub message: String,
}

/// One cause: a stable code, what happened, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub code: Code,
    pub message: String,
    pub place: Option<RecordPlace>,
    /// The last lines that the task's process wrote to its stderr.
    pub stderr_tail: String,
}

impl Failure {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Failure { code, message: message.into(), place: None, stderr_tail: String::new() }
    }
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
