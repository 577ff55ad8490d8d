//! Everything that has to be known of files before the first task of a job can run: outputs checked and staged, inputs
//! listed and cut. The same for a cluster and for a run in one process.

use crate::error::{Result, StoreError};
use crate::list::{InputFile, list_inputs};
use crate::output::check_output;
use crate::publish::Staging;
use crate::split::{SplitOptions, input_bytes, split};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use windrow_format::durable::Durability;
use windrow_model::{Chunk, Code, JobId, JobOptions, Output, Partitioner, Partitions, Plan, SinkSpec, StageId};

/// A job that is ready to run.
pub struct Prepared {
    /// Bytes of all distinct inputs: what default partition counts follow from.
    pub input_bytes: u64,
    /// Chunks of every source stage.
    pub stages: Vec<(StageId, Vec<Chunk>)>,
    /// Hidden folders beside the outputs, by sink.
    pub stagings: Vec<Staging>,
}

/// Checks outputs against inputs, lists and cuts inputs, makes staging folders. On an error nothing is left behind.
///
/// `slots`: tasks that can run at once, for the default chunk size.
pub fn prepare(job: JobId, plan: &Plan, options: &JobOptions, slots: u32, durability: Durability) -> Result<Prepared> {
    let every_input: Vec<String> =
        plan.stages.iter().filter_map(|s| s.source()).flat_map(|s| s.inputs.iter().cloned()).collect();
    for (i, sink) in plan.sinks.iter().enumerate() {
        if let Some(other) = plan.sinks[..i].iter().find(|s| s.path == sink.path) {
            return Err(StoreError::new(Code::OutputInUse, format!("two outputs of the job are {}", other.path)));
        }
        check_output(&output_path(sink)?, sink.overwrite, &every_input)?;
    }

    // The same files under the same names are listed once, and count once.
    let mut listed: BTreeMap<&[String], Vec<InputFile>> = BTreeMap::new();
    for source in plan.stages.iter().filter_map(|s| s.source()) {
        if let Some(name) = source.inputs.iter().find(|i| i.contains("://")) {
            return Err(StoreError::new(Code::InputNotFound, format!("{name} is neither a path nor a glob")));
        }
        if !listed.contains_key(&source.inputs[..]) {
            listed.insert(&source.inputs, list_inputs(&source.inputs)?);
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
            SplitOptions { chunk_bytes: options.chunk_bytes, slots, parts },
        )?;
        stages.push((StageId(i as u32), chunks));
    }

    let mut stagings: Vec<Staging> = Vec::new();
    for sink in &plan.sinks {
        match Staging::create(&output_path(sink)?, job, durability) {
            Ok(staging) => stagings.push(staging),
            Err(e) => {
                for staging in &stagings {
                    // The error that stopped us is the one to tell; a folder that stays is found by its name later.
                    let _ = crate::publish::abandon(staging);
                }
                return Err(e);
            }
        }
    }
    Ok(Prepared { input_bytes, stages, stagings })
}

/// The folder of a sink, which must be a path.
pub fn output_path(sink: &SinkSpec) -> Result<PathBuf> {
    if sink.path.contains("://") {
        return Err(StoreError::new(Code::OutputFailed, format!("{} is not a path", sink.path)));
    }
    Ok(Path::new(&sink.path).to_path_buf())
}
