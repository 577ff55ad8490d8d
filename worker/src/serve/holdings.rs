//! Lists of outputs that peers want from this worker, each with the index from which it is served.

use crate::known_lists::Made;
use crate::outputs::Outputs;
use crate::wanted::WantedOutputs;
use std::sync::{Arc, Mutex, PoisonError};
use windrow_format::block::{FormatError, Identity};
use windrow_format::stage_index::{StageIndex, UnreadableOutput};
use windrow_model::{Code, Failure};

/// Most bytes of memory for the entries of one index. A larger one is kept in parts.
const INDEX_BYTES_MAX: usize = 32 << 20;
/// Most bytes of memory for the entries of all indexes. Those that were not used for longest are made again when they are used.
pub(super) const INDEXES_BYTES_MAX: usize = 256 << 20;

/// The outputs of one list, of which all readers on one worker want a partition each.
#[derive(Debug)]
pub(crate) struct Holding {
    wanted: WantedOutputs,
    index: Mutex<Option<Arc<StageIndex>>>,
}

impl From<WantedOutputs> for Holding {
    fn from(wanted: WantedOutputs) -> Holding {
        Holding { wanted, index: Mutex::new(None) }
    }
}

impl Made for Holding {
    fn memory(&self) -> usize {
        self.made().map_or(0, |index| index.memory())
    }

    fn forget(&self) {
        self.made().inspect(|index| index.forget());
    }
}

impl Holding {
    /// The index, if it is made and not being made.
    fn made(&self) -> Option<Arc<StageIndex>> {
        match self.index.try_lock() {
            Ok(index) => index.clone(),
            Err(_) => None,
        }
    }

    /// The list.
    pub(super) fn wanted(&self) -> &WantedOutputs {
        &self.wanted
    }

    /// The index of its outputs, which the first reader makes while others wait. Reads files.
    ///
    /// # Errors
    /// The position of an output that is not here or cannot be read.
    pub(super) fn index(&self, outputs: &Outputs) -> Result<Arc<StageIndex>, (u32, Failure)> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = &*index {
            return Ok(index.clone());
        }
        let WantedOutputs { attempts, output, partitions, .. } = &self.wanted;
        let images = outputs.locate(attempts.iter().copied(), *output)?;
        let (of, output) = (attempts.clone(), *output);
        let owner = move |position: u32| Identity::of_output(&of[position as usize], output);
        let built = StageIndex::build(images, *partitions, INDEX_BYTES_MAX, owner).map_err(unreadable)?;
        Ok(index.insert(Arc::new(built)).clone())
    }
}

/// The failure of an output without a readable index: a damaged one must be made again.
pub(super) fn unreadable(e: UnreadableOutput) -> (u32, Failure) {
    let code = match &e.source {
        FormatError::Gone(_) | FormatError::Io(_) => Code::FetchFailed,
        _ => Code::SegmentCorrupt,
    };
    (e.position, Failure::new(code, e.to_string()))
}
