//! Before the first task: outputs are checked, claimed and staged; inputs are listed and cut into chunks.
//!
//! Everything here blocks on the file system and runs on a blocking thread. Costs one listing per distinct list of
//! inputs, and a probe per cut that falls inside a file.

use crate::claims::Claims;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use windrow_format::durable::Durability;
use windrow_model::{Code, Failure, JobSpec, Output, Partitioner, Partitions, SinkSpec, Stage, StageId};
use windrow_scheduler::StageChunks;
use windrow_store::{InputFile, SplitOptions, Staging};

/// Paths with this prefix name datasets of the cluster.
const DATASET: &str = "windrow://";
/// Input files that workers are asked about: the first and last of a source say whether its file system is there.
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
    pub staging: Staging,
    pub nonce: String,
}

/// Plans a job for a cluster with this many slots. Claims stay with the job until they are released; staging folders
/// are removed if this fails.
pub(crate) fn split_job(spec: &JobSpec, slots: u32, claims: &Claims) -> Result<SplitJob, Failure> {
    let named: Vec<String> = sources(spec).flat_map(|(_, s, _)| s.inputs.iter().cloned()).collect();
    for sink in &spec.plan.sinks {
        check_sink(spec, sink, &named, claims)?;
    }

    let mut lists: HashMap<&[String], Vec<InputFile>> = HashMap::new();
    for (_, source, _) in sources(spec) {
        if !lists.contains_key(&source.inputs[..]) {
            lists.insert(&source.inputs, list(&source.inputs)?);
        }
    }
    // A list that several stages read (to sample it, then to sort it) counts once.
    let input_bytes = lists.values().fold(0u64, |sum, files| sum.saturating_add(windrow_store::input_bytes(files)));

    let mut stages = Vec::new();
    let mut probes: Vec<PathBuf> = Vec::new();
    for (id, source, stage) in sources(spec) {
        let files = &lists[&source.inputs[..]];
        for file in files.first().into_iter().chain(files.last()) {
            if probes.len() < PROBES_MAX && !probes.contains(&file.path) {
                probes.push(file.path.clone());
            }
        }
        let options = SplitOptions {
            chunk_bytes: spec.options.chunk_bytes,
            slots: slots.max(1),
            parts: parts(stage, spec.options.partitions, input_bytes),
        };
        stages.push(StageChunks { stage: id, chunks: windrow_store::split(source, files, options)? });
    }

    Ok(SplitJob { input_bytes, stages, staging: stage_sinks(spec)?, probes })
}

fn sources(spec: &JobSpec) -> impl Iterator<Item = (StageId, &windrow_model::SourceSpec, &Stage)> {
    let stages = spec.plan.stages.iter().enumerate();
    stages.filter_map(|(i, stage)| Some((StageId(i as u32), stage.source()?, stage)))
}

fn check_sink(spec: &JobSpec, sink: &SinkSpec, named: &[String], claims: &Claims) -> Result<(), Failure> {
    if sink.path.starts_with(DATASET) {
        let what = format!("{}: this release writes no datasets; name a folder", sink.path);
        return Err(Failure::new(Code::OutputFailed, what));
    }
    let path = Path::new(&sink.path);
    if !path.is_absolute() {
        return Err(Failure::new(Code::BadRequest, format!("{}: an output is an absolute path", sink.path)));
    }
    claims.claim(&windrow_store::canonical_output(path)?, spec.id)?;
    Ok(windrow_store::check_output(path, sink.overwrite, named)?)
}

fn list(inputs: &[String]) -> Result<Vec<InputFile>, Failure> {
    if let Some(dataset) = inputs.iter().find(|i| i.starts_with(DATASET)) {
        return Err(Failure::new(Code::DatasetNotFound, format!("{dataset}: there is no such dataset")));
    }
    Ok(windrow_store::list_inputs(inputs)?)
}

/// Into how many contiguous parts the input is divided: as many as the stage's `InputPart` edge has partitions.
fn parts(stage: &Stage, wanted: Option<u32>, input_bytes: u64) -> Option<u32> {
    stage.outputs.iter().find_map(|output| match output {
        Output::Edge { partitions, partitioner: Partitioner::InputPart, .. } => Some(match (partitions, wanted) {
            (Partitions::Auto, Some(n)) => n,
            _ => partitions.resolve(input_bytes),
        }),
        _ => None,
    })
}

fn stage_sinks(spec: &JobSpec) -> Result<Vec<StagedSink>, Failure> {
    let mut staged: Vec<StagedSink> = Vec::new();
    for sink in &spec.plan.sinks {
        match stage_sink(spec, sink) {
            Ok(one) => staged.push(one),
            Err(failure) => {
                abandon(staged.iter().map(|s| &s.staging));
                return Err(failure);
            }
        }
    }
    Ok(staged)
}

fn stage_sink(spec: &JobSpec, sink: &SinkSpec) -> Result<StagedSink, Failure> {
    let output = Path::new(&sink.path);
    // The commit makes the output's own name durable. Only folders that are new above it must be so from here on.
    let durability = match output.parent() {
        Some(parent) if parent.is_dir() => Durability::NoSync,
        _ => Durability::Sync,
    };
    let staging = Staging::create(output, spec.id, durability)?;
    match staging.nonce() {
        Ok(nonce) => Ok(StagedSink { staging, nonce }),
        Err(e) => {
            abandon([&staging]);
            Err(e.into())
        }
    }
}

/// Removes staging folders. One that cannot be removed is hidden and harmless: it is logged.
pub(crate) fn abandon<'a>(staging: impl IntoIterator<Item = &'a Staging>) {
    for one in staging {
        if let Err(e) = windrow_store::abandon(one) {
            tracing::warn!(job = %one.job, "{e}");
        }
    }
}
