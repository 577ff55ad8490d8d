//! Blocks of mapped files that are used in place and verified again after their use.
//!
//! A shuffle file belongs to a worker, this one or a neighbour, and lies on a disk that this process does not control:
//! its bytes can change between the check of a block and the use of its records. The check after the use decides
//! whether the records count. A mismatch is reported as a damaged segment; a reader that stops early records it in the
//! segment's [`Changed`]. Outputs in this process's memory, and its own unlinked runs, are verified once.

use crate::error::{EngineError, Result};
use crate::mapped::MappedFile;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use windrow_format::block::{FormatError, HEADER_BYTES, Identity, Verified};

/// Records that a segment changed while a reader used it: the offset of the block. Clones share the state. The result
/// of a task counts only if this is empty after the last reader of the segment is gone.
#[derive(Clone, Debug)]
pub struct Changed(Option<Arc<OnceLock<u64>>>);

impl Default for Changed {
    fn default() -> Self {
        Changed(Some(Arc::default()))
    }
}

impl Changed {
    /// For a segment in this process's memory, which does not change.
    pub(crate) fn never() -> Self {
        Changed(None)
    }

    /// Records the finding of a reader that cannot return an error.
    pub(crate) fn note(&self, error: &FormatError) {
        let offset = match error {
            FormatError::Changed { offset } => *offset,
            _ => 0,
        };
        // The first finding is enough.
        let _ = self.0.as_ref().map(|found| found.set(offset));
    }

    /// The recorded error, if there is one.
    pub fn error(&self) -> Option<FormatError> {
        self.0.as_ref()?.get().map(|offset| FormatError::Changed { offset: *offset })
    }
}

/// A segment of the list that was opened.
pub(crate) struct Source {
    pub file: Arc<MappedFile>,
    /// Offset of the segment in the file, in bytes.
    pub start: usize,
    pub identity: Identity,
    pub path: Arc<Path>,
    pub index: usize,
    pub changed: Changed,
}

/// A block in use, with the range of its payload in the file.
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

/// Blocks in use. Dropping it verifies the blocks that were not verified again.
#[derive(Default)]
pub(crate) struct Lent {
    blocks: Vec<LentBlock>,
}

impl Lent {
    /// Bytes of memory that the list uses.
    pub(crate) fn memory(&self) -> usize {
        self.blocks.len() * size_of::<LentBlock>()
    }

    pub(crate) fn add(&mut self, block: LentBlock) {
        self.blocks.push(block);
    }

    /// Ends the use of all blocks and verifies each again. Reads every payload once.
    pub(crate) fn check_again(&mut self) -> Result<()> {
        for block in std::mem::take(&mut self.blocks) {
            block.check_again().map_err(|e| {
                let Source { changed, index, path, .. } = &*block.source;
                changed.note(&e);
                EngineError::Segment { index: *index, path: path.to_path_buf(), source: e }
            })?;
        }
        Ok(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Only a reader that stopped early still has blocks here. The segment's note is read when the task ends.
        let _ = self.check_again();
    }
}
