//! A failure as the log has it. A code that a later release has added does not make a log unreadable.

use serde::{Deserialize, Serialize};
use windrow_model::{Code, Failure, RecordPlace, path_text, text_path};

/// Bytes of a message, and of the end of stderr, that the log keeps.
pub(crate) const TEXT_BYTES_MAX: usize = 16 << 10;

/// A failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedFailure {
    /// Stable name of the code: `USER_PANIC`.
    pub code: String,
    /// What happened.
    pub message: String,
    /// The file of the record at which it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Offset of the record in the content of the file, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// First bytes of the record, escaped.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub record: String,
    /// The key at which it happened, if the task reads records of other tasks.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// The last lines of the task's stderr.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stderr: String,
}

impl LoggedFailure {
    /// The failure with texts of at most this many bytes each.
    pub(crate) fn cut_to(&self, bytes_max: usize) -> LoggedFailure {
        let end = |text: &str| text.floor_char_boundary(bytes_max.min(text.len()));
        let stderr_from = self.stderr.ceil_char_boundary(self.stderr.len().saturating_sub(bytes_max));
        LoggedFailure {
            message: self.message[..end(&self.message)].to_string(),
            file: self.file.as_ref().map(|file| file[..end(file)].to_string()),
            record: self.record[..end(&self.record)].to_string(),
            key: self.key[..end(&self.key)].to_string(),
            stderr: self.stderr[stderr_from..].to_string(),
            ..self.clone()
        }
    }

    /// The domain type. An unknown code becomes `INTERNAL`, and stands before the message.
    pub fn to_failure(&self) -> Failure {
        let (code, message) = match self.code.parse::<Code>() {
            Ok(code) => (code, self.message.clone()),
            Err(_) => (Code::Internal, format!("{}: {}", self.code, self.message)),
        };
        let place = self.file.as_ref().zip(self.offset).map(|(file, offset)| RecordPlace {
            file: text_path(file),
            offset,
            excerpt: self.record.clone(),
        });
        // The message names the key; its digest is not kept.
        Failure { code, message, place, stderr_tail: self.stderr.as_str().into(), key: None }
    }
}

impl From<&Failure> for LoggedFailure {
    fn from(failure: &Failure) -> Self {
        let Failure { code, message, place, stderr_tail, key } = failure;
        LoggedFailure {
            code: code.as_str().to_string(),
            message: message.clone(),
            file: place.as_ref().map(|place| path_text(&place.file).into_owned()),
            offset: place.as_ref().map(|place| place.offset),
            record: place.as_ref().map(|place| place.excerpt.clone()).unwrap_or_default(),
            key: key.as_ref().map(|key| key.shown.clone()).unwrap_or_default(),
            stderr: stderr_tail.to_string(),
        }
        .cut_to(TEXT_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_code_keeps_its_name() {
        let logged = LoggedFailure { code: "NEWER".into(), message: "m".into(), ..LoggedFailure::default() };
        assert_eq!(logged.to_failure(), Failure::new(Code::Internal, "NEWER: m"));
    }

    #[test]
    fn known_failure_comes_back_whole() {
        let place = RecordPlace { file: "/in/a b".into(), offset: 7, excerpt: "x".into() };
        let failure = Failure { stderr_tail: "tail".into(), ..Failure::new(Code::UserPanic, "é").at(place) };
        assert_eq!(LoggedFailure::from(&failure).to_failure(), failure);
        let long = Failure::new(Code::UserError, "é".repeat(TEXT_BYTES_MAX));
        assert!(LoggedFailure::from(&long).message.len() <= TEXT_BYTES_MAX);
    }
}
