//! Records of a fixed length.

use super::format::{Block, RecordSink, Source};
use super::lines::IntoInputs;
use crate::error::Result;
use windrow_model::Framing;

/// Reads byte strings of `length` bytes, back to back. A file whose size is not a multiple of `length` is
/// `INPUT_MALFORMED`. A plan with a length of 0 is invalid.
pub fn fixed(inputs: impl IntoInputs, length: u32) -> FixedSource {
    FixedSource { inputs: inputs.into_inputs(), length }
}

/// See [`fixed`].
pub struct FixedSource {
    inputs: Vec<String>,
    length: u32,
}

impl Source for FixedSource {
    type Item = Vec<u8>;
    fn inputs(&self) -> Vec<String> {
        self.inputs.clone()
    }
    fn framing(&self) -> Framing {
        Framing::Fixed(self.length)
    }
    fn name(&self) -> String {
        format!("fixed({})", self.length)
    }
    fn read(&self, block: &Block<'_>, out: &mut RecordSink<'_, '_, Vec<u8>>) -> Result<()> {
        let length = self.length as usize;
        for (i, record) in block.bytes.chunks_exact(length.max(1)).enumerate() {
            if !out.push(i * length, record) {
                break;
            }
        }
        Ok(())
    }
}
