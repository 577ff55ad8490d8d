//! Inputs that cannot be read, gathered so that one error names many of them.

use crate::error::{Result, StoreError};
use std::io;
use std::path::Path;
use windrow_model::{Code, Escape};

/// Most bad inputs that an error names.
const NAMED_MAX: usize = 20;

/// The code and the words for an entry that cannot be looked at.
pub(crate) fn describe(e: &io::Error) -> (Code, String) {
    match e.kind() {
        io::ErrorKind::NotFound => (Code::InputNotFound, "no such file or folder".into()),
        io::ErrorKind::NotADirectory => (Code::InputNotFound, e.to_string()),
        _ => (Code::InputUnreadable, e.to_string()),
    }
}

/// Bad inputs: the first ones by name, and their number.
#[derive(Default)]
pub(crate) struct Bad {
    code: Option<Code>,
    named: Vec<String>,
    pub count: usize,
}

impl Bad {
    pub(crate) fn add(&mut self, path: &Path, code: Code, what: String) {
        self.code.get_or_insert(code);
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(match path.as_os_str().is_empty() {
                true => what,
                false => format!("{}: {what}", path.escaped()),
            });
        }
    }

    /// Returns the good result if there were no bad inputs. The error has the code of the first one.
    pub(crate) fn into_result<T>(self, good: T) -> Result<T> {
        let Some(code) = self.code else { return Ok(good) };
        let message = match &self.named[..] {
            [only] => only.clone(),
            named if self.count > named.len() => {
                format!("{} bad inputs, the first {}:\n  {}", self.count, named.len(), named.join("\n  "))
            }
            named => format!("{} bad inputs:\n  {}", self.count, named.join("\n  ")),
        };
        Err(StoreError::new(code, message))
    }
}
