//! A dataset as programs see it.

use crate::dataset::DatasetStatus;
use serde::Serialize;

/// A dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DatasetView<'a> {
    /// Name of the dataset.
    pub name: &'a str,
    /// Version under this name.
    pub version: u64,
    /// Text form of the framing: `lines`.
    pub framing: String,
    /// Bytes of all chunks.
    pub bytes: u64,
    /// Number of chunks.
    pub chunks: u64,
    /// Wanted number of copies of each chunk.
    pub replicas: u32,
    /// Least number of copies of a chunk on the present workers.
    pub copies_min: u32,
    /// State of its copies; see [`dataset_state`].
    pub state: &'static str,
}

/// The state of a dataset's copies: `whole`, `degraded` if a chunk has fewer copies than wanted, `incomplete` if a chunk
/// has none.
pub fn dataset_state(dataset: &DatasetStatus) -> &'static str {
    match dataset.copies_min {
        _ if dataset.chunks == 0 => "whole",
        0 => "incomplete",
        n if n < dataset.replicas => "degraded",
        _ => "whole",
    }
}

impl<'a> From<&'a DatasetStatus> for DatasetView<'a> {
    fn from(dataset: &'a DatasetStatus) -> Self {
        let DatasetStatus { name, version, framing, bytes, chunks, replicas, copies_min } = dataset;
        DatasetView {
            name,
            version: *version,
            framing: framing.to_string(),
            bytes: *bytes,
            chunks: *chunks,
            replicas: *replicas,
            copies_min: *copies_min,
            state: dataset_state(dataset),
        }
    }
}
