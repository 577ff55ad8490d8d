//! Whole files as records.

use super::format::{Block, RecordSink, Source};
use super::lines::IntoInputs;
use crate::error::Result;
use windrow_model::Framing;
use windrow_model::path_text;

/// Reads one record per file: its path and its content. Many small files share a task. Empty files have no record.
///
/// A path that is not UTF-8 is encoded as described at [`path_text`](fn@crate::path_text): each file has a key of its own,
/// and [`text_path`](crate::text_path) returns its path.
pub fn whole_files(inputs: impl IntoInputs) -> WholeFiles {
    WholeFiles { inputs: inputs.into_inputs() }
}

/// See [`whole_files`].
pub struct WholeFiles {
    inputs: Vec<String>,
}

impl Source for WholeFiles {
    type Item = (String, Vec<u8>);
    fn inputs(&self) -> Vec<String> {
        self.inputs.clone()
    }
    fn framing(&self) -> Framing {
        Framing::Whole
    }
    fn name(&self) -> String {
        "whole files".to_string()
    }
    fn read(&self, block: &Block<'_>, out: &mut RecordSink<'_, '_, Self::Item>) -> Result<()> {
        out.push(0, (&*path_text(block.path), block.bytes));
        Ok(())
    }
}
