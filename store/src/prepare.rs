//! Prepares the files of a job before its first task runs: checks and stages outputs, lists and cuts inputs. Used by a
//! cluster and by a run in one process.

use crate::error::{Result, StoreError};
use crate::input_file::InputFile;
use crate::inputs::Inputs;
use crate::outputs::Outputs;
use crate::split::{PartsOf, SplitOptions, input_bytes, split};
use crate::staging::Staging;
use crate::steps::Steps;
use std::collections::BTreeMap;
use std::path::PathBuf;
use windrow_format::durable::Durability;
use windrow_model::{
    Chunk, Code, Dataset, JobId, JobOptions, Output, PartitionCounts, Partitioner, Plan, SinkSpec, StageId, total,
};

/// A job that is ready to run.
pub struct Prepared {
    /// Bytes of all distinct inputs, from which default partition counts follow.
    pub input_bytes: u64,
    /// Chunks of every source stage.
    pub stages: Vec<(StageId, Vec<Chunk>)>,
    /// The stagings of the outputs that are not datasets, with their sinks.
    pub stagings: Vec<(u32, Staging)>,
}

/// The storage that the plan of a job may name.
#[derive(Clone, Copy, Debug)]
pub struct Storage<'a> {
    /// The datasets of the cluster, as inputs.
    pub datasets: &'a BTreeMap<String, Dataset>,
    /// The kinds of storage for outputs.
    pub outputs: &'a Outputs,
}

/// Checks outputs against inputs, lists and cuts inputs, and stages outputs. After an error nothing is left behind.
///
/// `slots`: number of tasks that can run at once, for the default chunk size. `steps`: bounds the work, and lets another
/// thread cancel it.
///
/// # Errors
/// An input or an output cannot be used as the plan says; the work was cancelled.
pub fn prepare(
    job: JobId,
    plan: &Plan,
    options: &JobOptions,
    slots: u32,
    durability: Durability,
    Storage { datasets, outputs }: Storage<'_>,
    steps: &Steps,
) -> Result<Prepared> {
    check_outputs(plan, outputs, steps)?;
    // The same inputs in two sources are listed once and count once.
    let inputs = Inputs::with(datasets);
    let mut listed = Listed::new();
    for source in plan.stages.iter().filter_map(|s| s.source()) {
        inputs.check(source)?;
        if !listed.contains_key(&source.inputs[..]) {
            listed.insert(&source.inputs, inputs.list(&source.inputs, steps)?);
        }
    }
    let input_bytes = total(listed.values().map(|files| input_bytes(files)));
    let stages = cut(plan, options, slots, &listed, input_bytes, steps)?;
    let stagings = stage(job, &plan.sinks, durability, outputs, steps)?;
    Ok(Prepared { input_bytes, stages, stagings })
}

/// The files of each list of inputs that a source names.
type Listed<'a> = BTreeMap<&'a [String], Vec<InputFile>>;

/// The chunks of every source stage.
fn cut(
    plan: &Plan,
    options: &JobOptions,
    slots: u32,
    listed: &Listed<'_>,
    input_bytes: u64,
    steps: &Steps,
) -> Result<Vec<(StageId, Vec<Chunk>)>> {
    let counts = PartitionCounts::new(plan, options.partitions, input_bytes);
    let mut stages = Vec::new();
    for (i, stage) in plan.stages.iter().enumerate() {
        let Some(source) = stage.source() else { continue };
        let parts = stage.outputs.iter().find_map(|o| match o {
            Output::Edge { partitions, partitioner: Partitioner::InputPart, .. } => {
                Some(PartsOf::Bytes(counts.of(*partitions)))
            }
            Output::Edge { partitions, partitioner: Partitioner::InputFile, .. } => {
                Some(PartsOf::Files(counts.of(*partitions)))
            }
            _ => None,
        });
        let chunks = split(
            source,
            &listed[&source.inputs[..]],
            SplitOptions { chunk_bytes: options.chunk_bytes, slots, parts, as_is: !options.decompress },
            steps,
        )?;
        stages.push((StageId(i as u32), chunks));
    }
    Ok(stages)
}

/// Refuses outputs that exist, are inputs, or are not apart from each other. Only reads.
fn check_outputs(plan: &Plan, outputs: &Outputs, steps: &Steps) -> Result<()> {
    let every_input: Vec<String> = plan.inputs().cloned().collect();
    for (i, sink) in plan.sinks.iter().enumerate() {
        if let Some(other) = plan.sinks[..i].iter().find(|s| s.path == sink.path) {
            return Err(StoreError::new(
                Code::OutputInUse,
                format!("two outputs of the job have the path {}", other.path),
            ));
        }
        if let Some(location) = sink.staged_at() {
            outputs.check(location, sink.overwrite, &every_input, steps)?;
        }
    }
    check_apart(&plan.sinks, outputs)
}

/// Stages the outputs that are not datasets: all of them, or none.
fn stage(
    job: JobId,
    sinks: &[SinkSpec],
    durability: Durability,
    outputs: &Outputs,
    steps: &Steps,
) -> Result<Vec<(u32, Staging)>> {
    let mut stagings: Vec<(u32, Staging)> = Vec::new();
    for (index, sink) in (0u32..).zip(sinks) {
        let Some(location) = sink.staged_at() else { continue };
        let staged = steps
            .step(sink.path.as_ref())
            .and_then(|()| outputs.at(location)?.stage(location, job, durability, &stagings));
        match staged {
            Ok(staging) => stagings.push((index, staging)),
            Err(e) => {
                for (_, staging) in &stagings {
                    // Return the first error; a staging that could not be removed is found by its name later.
                    let _ = outputs.of(staging).and_then(|kind| kind.abandon(staging, &[]));
                }
                return Err(e);
            }
        }
    }
    Ok(stagings)
}

/// Refuses outputs that are one folder or contain each other. The plan has compared the outputs by name only: through
/// symbolic links two names may lead to one folder, in which the output that is committed last would replace the other.
fn check_apart(sinks: &[SinkSpec], outputs: &Outputs) -> Result<()> {
    let mut names: Vec<(PathBuf, &str)> = Vec::new();
    for (sink, location) in sinks.iter().filter_map(|sink| Some((sink, sink.staged_at()?))) {
        let name = outputs.at(location)?.canonical(location)?;
        let same = |(other, _): &&(PathBuf, &str)| other.starts_with(&name) || name.starts_with(other);
        if let Some((_, other)) = names.iter().find(same) {
            let message = format!(
                "the outputs {other} and {} of the job are the same folder or contain each other: give each a folder of its own",
                sink.path
            );
            return Err(StoreError::new(Code::OutputInUse, message));
        }
        names.push((name, &sink.path));
    }
    Ok(())
}
