//! Prepares the files of a job before its first task runs: checks and stages outputs, lists and cuts inputs. Used by a
//! cluster and by a run in one process.

use crate::error::{Result, StoreError};
use crate::input_file::InputFile;
use crate::list::list_inputs;
use crate::output::{canonical_output, check_output};
use crate::publish::Staging;
use crate::split::{SplitOptions, input_bytes, split};
use crate::steps::Steps;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use windrow_format::durable::Durability;
use windrow_model::dataset::{SCHEME, dataset_name};
use windrow_model::{
    Chunk, Code, Dataset, FileIdentity, Framing, JobId, JobOptions, Output, Partitioner, Partitions, Plan, SinkSpec,
    SourceSpec, StageId,
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
    let every_input: Vec<String> =
        plan.stages.iter().filter_map(|s| s.source()).flat_map(|s| s.inputs.iter().cloned()).collect();
    for (i, sink) in plan.sinks.iter().enumerate() {
        if let Some(other) = plan.sinks[..i].iter().find(|s| s.path == sink.path) {
            return Err(StoreError::new(
                Code::OutputInUse,
                format!("two outputs of the job have the path {}", other.path),
            ));
        }
        if dataset_name(&sink.path).is_none() {
            check_output(&output_path(sink)?, sink.overwrite, &every_input, steps)?;
        }
    }
    check_apart(&plan.sinks)?;

    // The same inputs in two sources are listed once and count once.
    let mut listed: BTreeMap<&[String], Vec<InputFile>> = BTreeMap::new();
    for source in plan.stages.iter().filter_map(|s| s.source()) {
        check_framing(source, datasets)?;
        if !listed.contains_key(&source.inputs[..]) {
            listed.insert(&source.inputs, list(&source.inputs, datasets, steps)?);
        }
    }
    let input_bytes = listed.values().map(|files| input_bytes(files)).fold(0, u64::saturating_add);
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
    for (index, sink) in (0u32..).zip(&plan.sinks).filter(|(_, s)| dataset_name(&s.path).is_none()) {
        match steps
            .step(Path::new(&sink.path))
            .and_then(|()| Staging::create_with(&output_path(sink)?, job, durability, &stagings))
        {
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
    for sink in sinks.iter().filter(|sink| dataset_name(&sink.path).is_none()) {
        let folder = canonical_output(&output_path(sink)?)?;
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

/// Files, and chunks of datasets as files, in the order of the inputs.
fn list(inputs: &[String], datasets: &BTreeMap<String, Dataset>, steps: &Steps) -> Result<Vec<InputFile>> {
    let known = |input: &String| dataset_name(input).and_then(|name| datasets.get(name));
    // One call, so that one error names all bad inputs.
    let paths: Vec<(usize, &String)> = inputs.iter().enumerate().filter(|(_, i)| known(i).is_none()).collect();
    if let Some((_, name)) = paths.iter().find(|(_, i)| i.contains("://") && dataset_name(i).is_none()) {
        return Err(StoreError::new(Code::InputNotFound, format!("{name} is not a path, a glob or a dataset")));
    }
    let mut files = list_inputs(&paths.iter().map(|(_, path)| (*path).clone()).collect::<Vec<_>>(), steps)?;
    for file in &mut files {
        file.argument_index = paths[file.argument_index].0;
    }
    for (argument_index, dataset) in inputs.iter().enumerate().filter_map(|(i, input)| Some((i, known(input)?))) {
        for (number, chunk) in dataset.chunks.iter().enumerate() {
            files.push(InputFile {
                path: PathBuf::from(format!("{SCHEME}{}/{number:05}", dataset.name)),
                identity: FileIdentity { length: chunk.length, ..FileIdentity::default() },
                argument_index,
                as_is: dataset.framing != Framing::Whole,
                content: Some(chunk.digest),
            });
        }
    }
    // Stable: within an argument the order is right already.
    files.sort_by_key(|f| f.argument_index);
    Ok(files)
}

/// Checks that each dataset fits its source. A dataset whose chunks are whole files fits every source; others fit only
/// a source with the same framing that does not need the start of a file.
fn check_framing(source: &SourceSpec, datasets: &BTreeMap<String, Dataset>) -> Result<()> {
    let named = source.inputs.iter().filter_map(|i| datasets.get(dataset_name(i)?));
    for dataset in named.filter(|d| d.framing != Framing::Whole) {
        if dataset.framing != source.framing || source.header {
            let header = if source.header { " with a header in each file" } else { "" };
            let message = format!(
                "dataset {} was put as {}, the job reads {}{header}",
                dataset.name, dataset.framing, source.framing
            );
            return Err(StoreError::new(Code::DatasetFraming, message));
        }
    }
    Ok(())
}

/// The folder of a sink.
///
/// # Errors
/// The sink is not a path.
pub fn output_path(sink: &SinkSpec) -> Result<PathBuf> {
    if sink.path.contains("://") {
        return Err(StoreError::new(Code::OutputFailed, format!("{} is not a path", sink.path)));
    }
    Ok(Path::new(&sink.path).to_path_buf())
}
