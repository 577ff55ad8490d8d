//! A failure as programs see it.

use crate::failure::Failure;
use crate::path_text::path_text;
use serde::Serialize;
use std::borrow::Cow;

/// A failure: its code, message and hint, the record that caused it if one did, and the end of the task's stderr.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailureView<'a> {
    /// Stable name of the code: `USER_PANIC`.
    pub code: &'static str,
    /// What happened.
    pub message: &'a str,
    /// What to do.
    pub hint: &'static str,
    /// The record at which it happened.
    pub record: Option<RecordView<'a>>,
    /// The last lines of the task's stderr.
    pub stderr: &'a str,
}

/// The location of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordView<'a> {
    /// Path of the file, in the form of [`path_text`].
    pub file: Cow<'a, str>,
    /// Offset in the content of the file, in bytes.
    pub offset: u64,
    /// First bytes of the record, escaped.
    pub excerpt: &'a str,
}

impl<'a> From<&'a Failure> for FailureView<'a> {
    fn from(failure: &'a Failure) -> Self {
        // The message names the key.
        let Failure { code, message, place, stderr_tail, key: _ } = failure;
        let record = place.as_ref().map(|place| RecordView {
            file: path_text(&place.file),
            offset: place.offset,
            excerpt: &place.excerpt,
        });
        FailureView { code: code.as_str(), message, hint: code.hint(), record, stderr: stderr_tail }
    }
}
