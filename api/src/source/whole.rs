//! Files as records.

use super::lines::IntoInputs;
use super::{Block, Framing, RecordSink, Source};
use crate::error::Result;
use windrow_model::path_text;

/// One record for each file: its path and its content. Many small files share a task. Empty files have no record.
///
/// A path that is not UTF-8 is given as [`path_text`](crate::path_text) says: each file has a key of its own, and
/// [`text_path`](crate::text_path) gives its path back.
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
