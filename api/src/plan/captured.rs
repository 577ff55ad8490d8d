//! Keeps the records that sinks write, in memory and before they are formatted, for tests that compare them.
//!
//! Only runs in one process under test capture anything. The record of a formatted one follows its bytes in the edge, so captured
//! records have the order of the files.

use crate::data::arena::Arena;
use crate::data::datum::{Datum, Reader};
use crate::error::{Error, Result};
use std::any::TypeId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use windrow_model::{Code, Escape};

/// The records of outputs, by the path of each. A later job that writes to the same path replaces them.
#[derive(Default)]
pub(crate) struct Captured(Mutex<BTreeMap<String, Output>>);

struct Output {
    of: TypeId,
    type_name: &'static str,
    /// By the index of the task that has written the part.
    parts: BTreeMap<u32, CapturedPart>,
}

/// The records of one part: each in its encoding, and where each ends.
#[derive(Default)]
pub(crate) struct CapturedPart {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// Where the tasks of one sink keep their records.
#[derive(Clone)]
pub(crate) struct Capture {
    all: Arc<Captured>,
    path: String,
}

impl Captured {
    /// Begins to capture what is written to a path.
    pub(crate) fn begin<R: Datum>(self: &Arc<Self>, path: String) -> Capture {
        let (of, type_name) = (TypeId::of::<R>(), std::any::type_name::<R>());
        self.lock().insert(path.clone(), Output { of, type_name, parts: BTreeMap::new() });
        Capture { all: self.clone(), path }
    }

    /// The records that were written to a path, in the order of its parts.
    ///
    /// # Errors
    /// `BAD_REQUEST` if no sink has written there, or records of another type.
    pub(crate) fn records<R: Datum>(&self, path: &str) -> Result<Vec<R>> {
        let refused = |why: String| Error::new(Code::BadRequest, format!("{}: {why}", path.escaped()));
        let outputs = self.lock();
        let output = outputs.get(path).ok_or_else(|| {
            refused("no job of these files has written records there in this process; read its lines".to_string())
        })?;
        if output.of != TypeId::of::<R>() {
            let asked = std::any::type_name::<R>();
            return Err(refused(format!("its records are of type `{}`, not `{asked}`", output.type_name)));
        }
        let (mut records, mut arena) = (Vec::new(), Arena::new());
        for part in output.parts.values() {
            let mut start = 0;
            for end in &part.ends {
                let record = R::decode::<true>(&mut Reader::new(&part.bytes[start..*end], &arena));
                records.push(R::to_owned(record.map_err(|e| refused(format!("a record does not decode: {e}")))?));
                arena.reset();
                start = *end;
            }
        }
        Ok(records)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Output>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Capture {
    /// Keeps the part of a task. An attempt that runs again replaces what the one before has kept.
    pub(crate) fn keep(&self, task: u32, part: CapturedPart) {
        if let Some(output) = self.all.lock().get_mut(&self.path) {
            output.parts.insert(task, part);
        }
    }
}

impl CapturedPart {
    pub(crate) fn push<R: Datum>(&mut self, r: R::Ref<'_>) {
        R::encode::<true>(r, &mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn push_encoded(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
    }
}

/// Bytes of the length that ends a captured record.
const LENGTH_BYTES: usize = 8;

/// Appends the record itself to its formatted bytes, and its length after it.
#[cold]
pub(crate) fn append_captured<R: Datum>(r: R::Ref<'_>, formatted: &mut Vec<u8>) {
    let start = formatted.len();
    R::encode::<true>(r, formatted);
    let length = formatted.len() - start;
    formatted.extend_from_slice(&(length as u64).to_le_bytes());
}

/// Splits what [`append_captured`] has made: the formatted bytes, and the record.
pub(crate) fn split_captured(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((rest, length)) = bytes.split_last_chunk::<LENGTH_BYTES>() else { return (bytes, &[]) };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    rest.split_at(rest.len().saturating_sub(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captured_record_follows_its_bytes() {
        let mut bytes = b"a\t7\n".to_vec();
        append_captured::<(String, u64)>(("a", 7), &mut bytes);
        let (formatted, record) = split_captured(&bytes);
        assert_eq!(formatted, b"a\t7\n");
        let captured = Arc::new(Captured::default());
        let capture = captured.begin::<(String, u64)>("/out".to_string());
        let mut part = CapturedPart::default();
        part.push_encoded(record);
        part.push::<(String, u64)>(("b", 8));
        capture.keep(1, part);
        let mut first = CapturedPart::default();
        first.push::<(String, u64)>(("z", 9));
        capture.keep(0, first);
        let records = captured.records::<(String, u64)>("/out").unwrap();
        assert_eq!(records, [("z".to_string(), 9), ("a".to_string(), 7), ("b".to_string(), 8)]);
        let message = captured.records::<(String, i64)>("/out").unwrap_err().to_string();
        assert!(message.contains("u64") && message.contains("i64"), "{message}");
        assert_eq!(captured.records::<u8>("/other").unwrap_err().code(), Code::BadRequest);
    }
}
