//! Before the first task: outputs are claimed, checked and staged; inputs are listed and cut into chunks.
//!
//! The work is `windrow_store::prepare`, the same as for a run in one process, so both cut alike. Everything here blocks
//! on the file system and runs on a blocking thread.

use crate::claims::Claims;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use windrow_format::durable::Durability;
use windrow_model::{Chunk, Code, Dataset, Escape, Failure, JobSpec, Location};
use windrow_scheduler::StageChunks;
use windrow_store::{Staging, Steps};

/// Input files that workers are asked about: the first and last of a source show whether its file system is mounted.
const PROBES_MAX: usize = 16;

/// A job that is ready for its first task.
#[derive(Debug)]
pub(crate) struct SplitJob {
    pub input_bytes: u64,
    pub stages: Vec<StageChunks>,
    /// By sink index.
    pub staging: Vec<StagedSink>,
    /// Some of the input files, for workers to look at.
    pub probes: Vec<PathBuf>,
}

/// A staging folder and the text that proves a worker sees it.
#[derive(Clone, Debug)]
pub(crate) struct StagedSink {
    pub sink: u32,
    pub staging: Staging,
    pub nonce: String,
}

/// Plans a job for a cluster with this many slots. Claims stay with the job until they are released; staging folders
/// are removed if this fails.
pub(crate) fn split_job(
    spec: &JobSpec,
    slots: u32,
    claims: &Claims,
    datasets: &BTreeMap<String, Dataset>,
    steps: &Steps,
) -> Result<SplitJob, Failure> {
    // A relative path would mean something else here than where the job was submitted.
    let named = spec.plan.inputs().chain(spec.plan.sinks.iter().map(|s| &s.path));
    if let Some(relative) = named.filter_map(|text| Location::of(text).path()).find(|path| !path.is_absolute()) {
        return Err(Failure::new(Code::BadRequest, format!("{} is not an absolute path", relative.escaped())));
    }
    let folders = || spec.plan.sinks.iter().filter_map(|sink| Some((sink, sink.folder()?)));
    // Before the claim: a folder that cannot become an output keeps no other job from writing into it.
    for (sink, path) in folders() {
        steps.step(path)?;
        if windrow_store::check_free(path, sink.overwrite).is_err() {
            // The error that an output is also an input is more precise than that it exists.
            let inputs: Vec<String> = spec.plan.inputs().cloned().collect();
            windrow_store::check_output(path, sink.overwrite, &inputs, steps)?;
        }
    }
    for (_, path) in folders() {
        claims.claim(&windrow_store::canonical_output(path)?, spec.id)?;
    }
    // The commit makes an output's own name durable. Only folders that are new above it must be so from here on.
    let is_new = |path: &Path| !path.parent().is_some_and(Path::is_dir);
    let durability = match folders().any(|(_, path)| is_new(path)) {
        true => Durability::Sync,
        false => Durability::NoSync,
    };
    let prepared =
        windrow_store::prepare(spec.id, &spec.plan, &spec.options, slots.max(1), durability, datasets, steps)?;
    let nonces: Result<Vec<String>, _> = prepared.stagings.iter().map(|(_, s)| s.nonce()).collect();
    let nonces = nonces.inspect_err(|_| abandon(prepared.stagings.iter().map(|(_, s)| s)))?;
    let staging =
        prepared.stagings.into_iter().zip(nonces).map(|((sink, staging), nonce)| StagedSink { sink, staging, nonce });
    Ok(SplitJob {
        input_bytes: prepared.input_bytes,
        probes: probes(&prepared.stages.iter().map(|(_, chunks)| &chunks[..]).collect::<Vec<_>>()),
        stages: prepared.stages.into_iter().map(|(stage, chunks)| StageChunks { stage, chunks }).collect(),
        staging: staging.collect(),
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

/// Removes staging folders. One that cannot be removed is hidden and harmless: it is logged.
pub(crate) fn abandon<'a>(staging: impl IntoIterator<Item = &'a Staging>) {
    for one in staging {
        if let Err(e) = windrow_store::abandon(one) {
            tracing::warn!(job = %one.job, "{e}");
        }
    }
}
