//! What a job has staged for its outputs that are not datasets.

use windrow_store::{Outputs, Placed, Receipts, Staging, StoreError};

/// The staging of an output, and the text that proves a worker sees it.
#[derive(Clone, Debug)]
pub(crate) struct StagedSink {
    pub sink: u32,
    pub staging: Staging,
    /// Empty if it could not be read, of a job whose commit has begun.
    pub nonce: String,
}

/// The stagings of a job, and what the workers have reported of the parts in them.
#[derive(Clone, Debug, Default)]
pub(crate) struct StagedOutputs {
    /// By sink. Empty if the job commits in a later epoch and its stagings could not be looked at yet.
    pub sinks: Vec<StagedSink>,
    pub receipts: Receipts,
}

impl From<Vec<StagedSink>> for StagedOutputs {
    fn from(sinks: Vec<StagedSink>) -> Self {
        StagedOutputs { sinks, receipts: Receipts::default() }
    }
}

impl StagedOutputs {
    /// Reads the nonces of what was just staged. Blocks.
    pub(crate) fn read_nonces(&mut self, outputs: &Outputs) -> Result<(), StoreError> {
        for StagedSink { staging, nonce, .. } in &mut self.sinks {
            *nonce = outputs.of(staging)?.nonce(staging)?;
        }
        Ok(())
    }

    /// Removes what is staged. What cannot be removed is invisible and harmless: it is logged. Blocks.
    pub(crate) fn abandon(&self, outputs: &Outputs) {
        for StagedSink { sink, staging, .. } in &self.sinks {
            let parts: Vec<Placed<'_>> = self.receipts.of_sink(*sink).collect();
            if let Err(e) = outputs.of(staging).and_then(|kind| kind.abandon(staging, &parts)) {
                tracing::warn!(job = %staging.job, "{e}");
            }
        }
    }
}
