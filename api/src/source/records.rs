//! Records in the engine's encoding, as `records_sink` writes them.

use super::format::{Block, RecordSink, Source};
use super::lines::IntoInputs;
use crate::data::arena::Arena;
use crate::data::datum::{Datum, Reader};
use crate::data::part_form::PartForm;
use crate::data::schema::schema_of;
use crate::error::{Error, Result};
use std::marker::PhantomData;
use std::path::Path;
use windrow_format::block::{FormatError, each_record};
use windrow_format::record_file::{Description, RecordFile, RecordFileError};
use windrow_model::{Code, Escape, Framing};

/// Reads records that `records_sink` has written: `flow.read(records::<(u64, f64)>(&self.ranks))`. The type must be the
/// one that was written; another one is `INPUT_MALFORMED`, with the names of both, before the job runs if the files can
/// be read where it is started. So is a type of the same name whose encoding has changed since. A damaged file is
/// `INPUT_CORRUPT`, with the place.
pub fn records<R: Datum>(inputs: impl IntoInputs) -> RecordsSource<R> {
    RecordsSource { inputs: inputs.into_inputs(), types: PhantomData }
}

/// See [`records`].
pub struct RecordsSource<R> {
    inputs: Vec<String>,
    types: PhantomData<fn() -> R>,
}

impl<R: Datum> Source for RecordsSource<R> {
    type Item = R;
    fn inputs(&self) -> Vec<String> {
        self.inputs.clone()
    }
    /// A part is read by one task.
    fn framing(&self) -> Framing {
        Framing::Whole
    }
    fn form(&self) -> PartForm {
        PartForm::Blocks { lz4: false }
    }
    fn name(&self) -> String {
        "records".to_string()
    }
    fn read(&self, block: &Block<'_>, out: &mut RecordSink<'_, '_, R>) -> Result<()> {
        read_blocks(block.bytes, block.path, &Expected::of::<R>(), &[], out)
    }
}

/// What a file must say about its records.
pub(crate) struct Expected {
    /// Their type.
    pub types: String,
    /// The number of the part, and how many there are, if the plan relies on them.
    pub part: Option<(u32, u32)>,
}

impl Expected {
    pub(crate) fn of<R: Datum>() -> Expected {
        Expected { types: schema_of::<R>(), part: None }
    }

    /// # Errors
    /// `INPUT_MALFORMED` for records of another type; `INPUT_CHANGED` for another part.
    pub(crate) fn check(&self, found: &Description, path: &Path) -> Result<()> {
        let path = path.escaped();
        if found.types != self.types {
            let (has, reads) = (found.types.escaped(), &self.types);
            let message = format!("{path} has records of type `{has}`, and the job reads `{reads}`");
            return Err(Error::new(Code::InputMalformed, message));
        }
        match self.part {
            Some(part) if part != (found.part, found.parts) => {
                let message = format!(
                    "{path} is part {} of {}, and the plan was made for part {} of {}",
                    found.part, found.parts, part.0, part.1
                );
                Err(Error::new(Code::InputChanged, message))
            }
            _ => Ok(()),
        }
    }
}

/// Why a block is left.
enum Left {
    /// The task takes no more records.
    Stopped,
    Failed(Error),
    Damaged(FormatError),
}

impl From<FormatError> for Left {
    fn from(e: FormatError) -> Left {
        Left::Damaged(e)
    }
}

/// Reads a whole file, except for the records at the places in `skip`.
pub(super) fn read_blocks<R: Datum>(
    bytes: &[u8],
    path: &Path,
    expected: &Expected,
    skip: &[u64],
    out: &mut RecordSink<'_, '_, R>,
) -> Result<()> {
    let refused = |e: RecordFileError| Error::new(e.code(), format!("{}: {e}", path.escaped()));
    let mut file = RecordFile::open(bytes).map_err(refused)?;
    expected.check(file.description(), path)?;
    let mut arena = Arena::new();
    loop {
        // For an error about the block.
        out.at(file.offset() as usize);
        let start = file.offset();
        let Some(block) = file.next_block().map_err(refused)? else { return Ok(()) };
        let left = each_record(block.bytes, block.records, &mut |at, key, record| {
            let place = block.place + at as u64;
            if !key.is_empty() {
                return Err(FormatError::Malformed("a record has a key").into());
            }
            if skip.contains(&place) {
                return Ok(());
            }
            let mut reader = Reader::new(record, &arena);
            let r = match R::decode::<true>(&mut reader) {
                Ok(r) if reader.left().is_empty() => r,
                other => {
                    out.at(place as usize);
                    let left = reader.left().len();
                    let what = other.err().map_or_else(|| format!("{left} bytes follow it"), |e| e.to_string());
                    let message = format!("the record is no `{}`: {what}", expected.types);
                    return Err(Left::Failed(Error::new(Code::RecordMalformed, message)));
                }
            };
            let go_on = out.push(place as usize, r);
            arena.reset();
            if go_on { Ok(()) } else { Err(Left::Stopped) }
        });
        match left {
            Ok(()) => {}
            Err(Left::Stopped) => return Ok(()),
            Err(Left::Failed(e)) => return Err(e),
            Err(Left::Damaged(e)) => {
                return Err(refused(RecordFileError::Damaged { offset: start, what: e.to_string() }));
            }
        }
        if !out.goes_on() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
