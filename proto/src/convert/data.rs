//! Datasets.

use super::{ConvertError, NAME_BYTES_MAX, required, text};
use crate::v1;
use windrow_model::{DatasetChunk, DatasetStatus, WorkerId};

impl TryFrom<v1::DatasetStatus> for DatasetStatus {
    type Error = ConvertError;
    fn try_from(w: v1::DatasetStatus) -> Result<Self, ConvertError> {
        Ok(DatasetStatus {
            name: text(w.name, "dataset.name", NAME_BYTES_MAX)?,
            version: w.version,
            framing: required(w.framing, "dataset.framing")?.try_into()?,
            bytes: w.bytes,
            chunks: w.chunks,
            replicas: w.replicas,
            copies_min: w.copies_min,
        })
    }
}
impl From<DatasetStatus> for v1::DatasetStatus {
    fn from(d: DatasetStatus) -> Self {
        v1::DatasetStatus {
            name: d.name,
            version: d.version,
            framing: Some(d.framing.into()),
            bytes: d.bytes,
            chunks: d.chunks,
            replicas: d.replicas,
            copies_min: d.copies_min,
        }
    }
}

/// Copies of one chunk that a put may name.
const HOLDERS_MAX: usize = 64;

impl TryFrom<v1::PlacedChunk> for (DatasetChunk, Vec<WorkerId>) {
    type Error = ConvertError;
    fn try_from(w: v1::PlacedChunk) -> Result<Self, ConvertError> {
        let chunk = DatasetChunk { digest: required(w.digest, "chunk.digest")?.try_into()?, length: w.length };
        if w.length == 0 {
            return Err(ConvertError::invalid("chunk.length", "is zero"));
        }
        if w.holders.is_empty() {
            return Err(ConvertError::Missing("chunk.holders"));
        }
        if w.holders.len() > HOLDERS_MAX {
            return Err(ConvertError::invalid("chunk.holders", format!("has {} workers", w.holders.len())));
        }
        let holders = w.holders.into_iter().map(WorkerId::try_from).collect::<Result<_, _>>()?;
        Ok((chunk, holders))
    }
}
