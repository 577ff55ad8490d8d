//! Before the first task: outputs are claimed, checked and staged; inputs are listed and cut into chunks.
//!
//! The work is `windrow_store::prepare`, the same as for a run in one process, so both cut alike. Everything here blocks
//! on the file system and runs on a blocking thread.

use crate::claims::Claims;
use crate::staged_outputs::{StagedOutputs, StagedSink};
use std::collections::BTreeMap;
use std::path::PathBuf;
use windrow_format::durable::Durability;
use windrow_model::{Chunk, Code, Dataset, Escape, Failure, JobSpec, Location};
use windrow_scheduler::StageChunks;
use windrow_store::{Outputs, Steps, Storage};

/// Input files that workers are asked about: the first and last of a source show whether its file system is mounted.
const PROBES_MAX: usize = 16;

/// A job that is ready for its first task.
#[derive(Debug)]
pub(crate) struct SplitJob {
    pub input_bytes: u64,
    pub stages: Vec<StageChunks>,
    pub staging: Vec<StagedSink>,
    /// Some of the input files, for workers to look at.
    pub probes: Vec<PathBuf>,
}

/// Plans a job for a cluster with this many slots. Claims stay with the job until they are released; what was staged is
/// removed if this fails.
pub(crate) fn split_job(
    spec: &JobSpec,
    slots: u32,
    claims: &Claims,
    datasets: &BTreeMap<String, Dataset>,
    outputs: &Outputs,
    steps: &Steps,
) -> Result<SplitJob, Failure> {
    // A relative path would mean something else here than where the job was submitted.
    let named = spec.plan.inputs().chain(spec.plan.sinks.iter().map(|s| &s.path));
    if let Some(relative) = named.filter_map(|text| Location::of(text).path()).find(|path| !path.is_absolute()) {
        return Err(Failure::new(Code::BadRequest, format!("{} is not an absolute path", relative.escaped())));
    }
    let staged = || spec.plan.sinks.iter().filter_map(|sink| Some((sink, sink.staged_at()?)));
    // Before the claim: a folder that cannot become an output keeps no other job from writing into it.
    for (sink, location) in staged() {
        steps.step(sink.path.as_ref())?;
        if outputs.at(location)?.check_free(location, sink.overwrite).is_err() {
            // The error that an output is also an input is more precise than that it exists.
            let inputs: Vec<String> = spec.plan.inputs().cloned().collect();
            outputs.check(location, sink.overwrite, &inputs, steps)?;
        }
    }
    for (_, location) in staged() {
        claims.claim(&outputs.at(location)?.canonical(location)?, spec.id)?;
    }
    let (slots, storage) = (slots.max(1), Storage { datasets, outputs });
    let prepared = windrow_store::prepare(spec.id, &spec.plan, &spec.options, slots, Durability::Sync, storage, steps)?;
    let sinks = prepared.stagings.into_iter().map(|(sink, staging)| StagedSink { sink, staging, nonce: String::new() });
    let mut staged = StagedOutputs::from(sinks.collect::<Vec<_>>());
    if let Err(e) = staged.read_nonces(outputs) {
        staged.abandon(outputs);
        return Err(e.into());
    }
    Ok(SplitJob {
        input_bytes: prepared.input_bytes,
        probes: probes(&prepared.stages.iter().map(|(_, chunks)| &chunks[..]).collect::<Vec<_>>()),
        stages: prepared.stages.into_iter().map(|(stage, chunks)| StageChunks { stage, chunks }).collect(),
        staging: staged.sinks,
    })
}

fn probes(stages: &[&[Chunk]]) -> Vec<PathBuf> {
    let mut probes: Vec<PathBuf> = Vec::new();
    let first_and_last = |chunks: &&[Chunk]| {
        let first = chunks.first().and_then(|c| c.ranges.first());
        let last = chunks.last().and_then(|c| c.ranges.last());
        first.into_iter().chain(last).filter(|r| r.content.is_none()).map(|r| r.path.clone()).collect::<Vec<_>>()
    };
    for path in stages.iter().flat_map(first_and_last) {
        if probes.len() < PROBES_MAX && !probes.contains(&path) {
            probes.push(path);
        }
    }
    probes
}
