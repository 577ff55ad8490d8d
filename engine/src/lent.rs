//! Blocks of mapped files that are used where they lie, and verified once more after their use.
//!
//! A shuffle file belongs to a worker, own or neighbour, and lies on a disk that this process does not control: its bytes can change
//! between the check of a block and the use of its records. So the check after the use decides whether what was read counts. A
//! mismatch is the error of a damaged segment; a reader that stops early leaves it in the segment's [`Changed`]. Outputs in this
//! process's memory, and its own runs, which have no name any more, are verified once.

use crate::error::{EngineError, Result};
use crate::mapped::MappedFile;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use windrow_format::block::{FormatError, HEADER_BYTES, Identity, Verified};

/// Whether a segment has changed while a reader used it: the first byte of the block. Clones share it. What a task has made of a
/// segment counts only if this is empty after the last reader is gone.
#[derive(Clone, Debug, Default)]
pub struct Changed(Arc<OnceLock<u64>>);

impl Changed {
    /// Notes what a reader found that can return no error.
    pub(crate) fn note(&self, error: &FormatError) {
        // The first block that was found is enough.
        let _ = self.0.set(match error {
            FormatError::Changed { offset } => *offset,
            _ => 0,
        });
    }

    /// What was found, if anything.
    pub fn error(&self) -> Option<FormatError> {
        self.0.get().map(|offset| FormatError::Changed { offset: *offset })
    }
}

/// A segment of the list that was opened.
pub(crate) struct Source {
    pub file: Arc<MappedFile>,
    /// First byte of the segment in the file.
    pub start: usize,
    pub identity: Identity,
    pub path: PathBuf,
    pub index: usize,
    pub changed: Changed,
}

/// A block in use: its payload's place in the file.
pub(crate) struct LentBlock {
    pub source: Arc<Source>,
    pub payload: Range<usize>,
    pub verified: Verified,
}

impl LentBlock {
    fn check_again(&self) -> Result<(), FormatError> {
        let payload = self.source.file.get(self.payload.clone()).ok_or(FormatError::Truncated)?;
        let offset = self.payload.start.saturating_sub(self.source.start + HEADER_BYTES) as u64;
        self.verified.check_again(payload, &self.source.identity, offset)
    }
}

/// Blocks in use. Those that were not verified again are when this is dropped.
#[derive(Default)]
pub(crate) struct Lent {
    blocks: Vec<LentBlock>,
}

impl Lent {
    /// Bytes of memory that it holds.
    pub fn memory(&self) -> usize {
        self.blocks.len() * size_of::<LentBlock>()
    }

    pub fn add(&mut self, block: LentBlock) {
        self.blocks.push(block);
    }

    /// Ends the use of all blocks: verifies each once more. Reads every payload once.
    pub fn check_again(&mut self) -> Result<()> {
        for block in std::mem::take(&mut self.blocks) {
            block.check_again().map_err(|e| {
                let Source { changed, index, path, .. } = &*block.source;
                changed.note(&e);
                EngineError::Segment { index: *index, path: path.clone(), source: e }
            })?;
        }
        Ok(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Only who stopped early comes here with blocks; the segment's note is read when the task ends.
        let _ = self.check_again();
    }
}
