//! JSON Lines: one JSON value per line.

use super::format::{Block, RecordSink, Source};
use super::lines::IntoInputs;
use crate::data::datum::serde::Serde;
use crate::error::{Error, Result};
use memchr::memchr;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use windrow_model::Code;
use windrow_model::Framing;

/// Parses each line as a `T`. Empty lines are skipped. A line that does not parse is `RECORD_MALFORMED` with its
/// position.
pub fn jsonl<T>(inputs: impl IntoInputs) -> JsonlSource<T> {
    JsonlSource { inputs: inputs.into_inputs(), types: PhantomData }
}

/// Converts an error of the parser, without its line number, which counts from the start of the record and is always 1.
fn malformed(e: &serde_json::Error) -> Error {
    let (text, place) = (e.to_string(), format!(" at line {} column {}", e.line(), e.column()));
    let what = match text.strip_suffix(&place) {
        Some(what) => format!("{what} at column {}", e.column()),
        None => text,
    };
    Error::new(Code::RecordMalformed, format!("the line is not valid JSON for this type: {what}"))
}

/// See [`jsonl`].
pub struct JsonlSource<T> {
    inputs: Vec<String>,
    types: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Source for JsonlSource<T> {
    type Item = Serde<T>;
    fn inputs(&self) -> Vec<String> {
        self.inputs.clone()
    }
    fn framing(&self) -> Framing {
        Framing::Delimiter(b'\n')
    }
    fn name(&self) -> String {
        "jsonl".to_string()
    }
    fn read(&self, block: &Block<'_>, out: &mut RecordSink<'_, '_, Serde<T>>) -> Result<()> {
        let mut from = 0;
        while from < block.bytes.len() {
            let end = memchr(b'\n', &block.bytes[from..]).map_or(block.bytes.len(), |i| from + i);
            let line = &block.bytes[from..end];
            if !line.trim_ascii().is_empty() {
                out.at(from);
                let value: T = serde_json::from_slice(line).map_err(|e| malformed(&e))?;
                if !out.push(from, &value) {
                    break;
                }
            }
            from = end + 1;
        }
        Ok(())
    }
}
