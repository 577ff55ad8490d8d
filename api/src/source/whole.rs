//! Files as records.

use super::lines::IntoInputs;
use super::{Block, Framing, RecordSink, Source};
use crate::error::Result;

/// One record for each file: its path and its content. Many small files share a task. Empty files have no record.
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
        out.push(0, (&block.path.to_string_lossy(), block.bytes));
        Ok(())
    }
}
