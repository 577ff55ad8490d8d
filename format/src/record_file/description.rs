//! What a file says about its records before the first of them.

use super::{DESCRIPTION_BYTES_MAX, HEAD_BYTES, MAGIC, RecordFileError, VERSION, head};
use serde::{Deserialize, Serialize};
use std::io::Read;

/// The type of the records of a file, and how they came to lie in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The type of the records, as the release of the job that wrote them encodes it. Equal texts mean equal encodings.
    pub types: String,
    /// The number of this part.
    pub part: u32,
    /// How many parts the output has.
    pub parts: u32,
    /// Whether the parts are the partitions by the hash of the records' keys: part *i* of *n* holds the keys of
    /// partition *i* of *n*.
    #[serde(default)]
    pub keyed: bool,
    /// Whether the records of all parts ascend by key, from the first part to the last.
    #[serde(default)]
    pub sorted: bool,
    /// Whether blocks may be compressed. Then places of records are offsets in the decompressed blocks.
    #[serde(default)]
    pub packed: bool,
}

impl Description {
    /// The JSON of the description: the same bytes for equal descriptions.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Texts and numbers always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Splits a file after its description, which is checked; returns the bytes of the description and all after it.
pub(super) fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), RecordFileError> {
    let length = length_in(bytes)?;
    let after = &bytes[HEAD_BYTES..];
    let (description, rest) = after
        .split_at_checked(length)
        .ok_or_else(|| RecordFileError::damaged(bytes.len(), "it ends within its description"))?;
    if head(description)[..HEAD_BYTES] != bytes[..HEAD_BYTES] {
        return Err(RecordFileError::damaged(0, "the checksum of its description does not match"));
    }
    Ok((description, rest))
}

/// The length of the description, checked against the limit.
fn length_in(bytes: &[u8]) -> Result<usize, RecordFileError> {
    if !bytes.starts_with(&MAGIC) {
        return Err(RecordFileError::Foreign);
    }
    let number = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let cut_off = || RecordFileError::damaged(bytes.len(), "it ends within its first bytes");
    let (version, length) = (number(8).ok_or_else(cut_off)?, number(12).ok_or_else(cut_off)?);
    if version > VERSION {
        return Err(RecordFileError::Newer { found: version, reads: VERSION });
    }
    if version == 0 || bytes.len() < HEAD_BYTES || length as usize > DESCRIPTION_BYTES_MAX {
        return Err(RecordFileError::damaged(8, "its version or the length of its description is impossible"));
    }
    Ok(length as usize)
}

pub(super) fn parse(description: &[u8]) -> Result<Description, RecordFileError> {
    let parsed: Description = serde_json::from_slice(description)
        .map_err(|e| RecordFileError::damaged(HEAD_BYTES, format!("its description does not parse: {e}")))?;
    match parsed.part < parsed.parts {
        true => Ok(parsed),
        false => Err(RecordFileError::damaged(HEAD_BYTES, "its description names a part beyond the last")),
    }
}

/// Reads the description from the beginning of a file, and not more.
///
/// # Errors
/// The file is damaged, is none of records, or cannot be read.
pub fn read_description(mut file: impl Read) -> Result<Description, RecordFileError> {
    let mut bytes = Vec::new();
    file.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut bytes)?;
    let length = length_in(&bytes)?;
    file.take(length as u64).read_to_end(&mut bytes)?;
    parse(split(&bytes)?.0)
}
