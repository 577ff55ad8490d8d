//! Prepares the files of a job before its first task runs: checks and stages outputs, lists and cuts inputs. Used by a
//! cluster and by a run in one process.

use crate::error::{Result, StoreError};
use crate::input_file::InputFile;
use crate::inputs::Inputs;
use crate::output::{canonical_output, check_output};
use crate::publish::Staging;
use crate::split::{SplitOptions, input_bytes, split};
use crate::steps::Steps;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use windrow_format::durable::Durability;
use windrow_model::{
    Chunk, Code, Dataset, JobId, JobOptions, Location, Output, Partitioner, Partitions, Plan, SinkSpec, StageId, total,
};

/// A job that is ready to run.
pub struct Prepared {
    /// Bytes of all distinct inputs, from which default partition counts follow.
    pub input_bytes: u64,
    /// Chunks of every source stage.
    pub stages: Vec<(StageId, Vec<Chunk>)>,
    /// Hidden staging folders of the outputs that are folders, with their sinks.
    pub stagings: Vec<(u32, Staging)>,
}

/// Checks outputs against inputs, lists and cuts inputs, and creates staging folders. After an error nothing is left
/// behind.
///
/// `slots`: number of tasks that can run at once, for the default chunk size. `datasets`: the datasets that the plan
/// may name. `steps`: bounds the work, and lets another thread cancel it.
pub fn prepare(
    job: JobId,
    plan: &Plan,
    options: &JobOptions,
    slots: u32,
    durability: Durability,
    datasets: &BTreeMap<String, Dataset>,
    steps: &Steps,
) -> Result<Prepared> {
    let every_input: Vec<String> = plan.inputs().cloned().collect();
    for (i, sink) in plan.sinks.iter().enumerate() {
        if let Some(other) = plan.sinks[..i].iter().find(|s| s.path == sink.path) {
            return Err(StoreError::new(
                Code::OutputInUse,
                format!("two outputs of the job have the path {}", other.path),
            ));
        }
        if let Some(folder) = output_folder(sink)? {
            check_output(folder, sink.overwrite, &every_input, steps)?;
        }
    }
    check_apart(&plan.sinks)?;

    // The same inputs in two sources are listed once and count once.
    let inputs = Inputs::with(datasets);
    let mut listed: BTreeMap<&[String], Vec<InputFile>> = BTreeMap::new();
    for source in plan.stages.iter().filter_map(|s| s.source()) {
        inputs.check(source)?;
        if !listed.contains_key(&source.inputs[..]) {
            listed.insert(&source.inputs, inputs.list(&source.inputs, steps)?);
        }
    }
    let input_bytes = total(listed.values().map(|files| input_bytes(files)));
    let resolve = |p: Partitions| match (p, options.partitions) {
        (Partitions::Auto, Some(n)) => n,
        (p, _) => p.resolve(input_bytes),
    };

    let mut stages = Vec::new();
    for (i, stage) in plan.stages.iter().enumerate() {
        let Some(source) = stage.source() else { continue };
        let parts = stage.outputs.iter().find_map(|o| match o {
            Output::Edge { partitions, partitioner: Partitioner::InputPart, .. } => Some(resolve(*partitions)),
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

    let mut stagings: Vec<(u32, Staging)> = Vec::new();
    let folders = (0u32..).zip(&plan.sinks).filter_map(|(index, sink)| Some((index, sink.folder()?)));
    for (index, folder) in folders {
        match steps.step(folder).and_then(|()| Staging::create_with(folder, job, durability, &stagings)) {
            Ok(staging) => stagings.push((index, staging)),
            Err(e) => {
                for (_, staging) in &stagings {
                    // Return the first error; a folder that could not be removed is found by its name later.
                    let _ = crate::publish::abandon(staging);
                }
                return Err(e);
            }
        }
    }
    Ok(Prepared { input_bytes, stages, stagings })
}

/// Refuses outputs that are one folder or contain each other. The plan has compared the outputs by name only: through
/// symbolic links two names may lead to one folder, in which the output that is committed last would replace the other.
fn check_apart(sinks: &[SinkSpec]) -> Result<()> {
    let mut folders: Vec<(PathBuf, &str)> = Vec::new();
    for (sink, path) in sinks.iter().filter_map(|sink| Some((sink, sink.folder()?))) {
        let folder = canonical_output(path)?;
        let same = |(other, _): &&(PathBuf, &str)| other.starts_with(&folder) || folder.starts_with(other);
        if let Some((_, other)) = folders.iter().find(same) {
            let message = format!(
                "the outputs {other} and {} of the job are the same folder or contain each other: give each a folder of its own",
                sink.path
            );
            return Err(StoreError::new(Code::OutputInUse, message));
        }
        folders.push((folder, &sink.path));
    }
    Ok(())
}

/// The folder of a sink; nothing for a dataset, whose parts become chunks where their tasks ran.
///
/// # Errors
/// `OUTPUT_FAILED` for a location that no kind of storage holds.
fn output_folder(sink: &SinkSpec) -> Result<Option<&Path>> {
    match sink.location() {
        Location::Path(folder) => Ok(Some(folder)),
        Location::Dataset(_) => Ok(None),
        other @ Location::Unknown(_) => Err(StoreError::new(Code::OutputFailed, format!("{other} is not a path"))),
    }
}
