//! An output from its staged parts: its manifest, and the parts that have won.

use super::{CompleteOutput, Outputs};
use crate::error::{Result, StoreError};
use crate::receipts::{Placed, Receipts};
use crate::staging::Staging;
use std::collections::BTreeSet;
use windrow_format::durable::Durability;
use windrow_format::manifest::{self, Sealed};
use windrow_model::{AttemptId, BadRecord, Code, Escape, SinkSpec, StagedPart};

/// Makes one output of a job visible, from the staged parts of the job. `index` is the number of its sink. See
/// [`super::Output::commit`].
///
/// # Errors
/// A part is missing, or those of the commit.
pub fn complete_output(
    outputs: &Outputs,
    staging: &Staging,
    name: &str,
    (index, sink): (u32, &SinkSpec),
    (parts, receipts): (&[StagedPart], &Receipts),
    bad_records: &[BadRecord],
    durability: Durability,
) -> Result<()> {
    let Sealed { manifest, winners } = manifest::of_output(staging.job, name, index, sink, parts)
        .map_err(|gap| StoreError::new(Code::Internal, format!("{}: part {gap} is missing", sink.path.escaped())))?;
    let won: BTreeSet<&AttemptId> = winners.iter().collect();
    let others: Vec<Placed<'_>> = receipts.of_sink(index).filter(|placed| !won.contains(&placed.attempt)).collect();
    let winners: Vec<Placed<'_>> = winners.iter().map(|attempt| receipts.placed(index, *attempt)).collect();
    let output = CompleteOutput {
        manifest: &manifest,
        winners: &winners,
        others: &others,
        bad_records,
        overwrite: sink.overwrite,
    };
    outputs.of(staging)?.commit(staging, &output, durability)
}
