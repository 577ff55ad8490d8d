//! The plan: a graph of stages as data. Closures are never sent: every process builds the same plan from the same
//! binary and parameters, and compares the fingerprint.

mod check;
mod partitions;

pub use check::PlanError;
pub use partitions::{PartitionCounts, Partitions};

use crate::framing::Framing;
use crate::ids::{Digest, Port, StageId};
use serde::{Deserialize, Serialize};

/// Assigns records to partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Partitioner {
    /// By the hash of its key.
    Hash,
    /// By key ranges whose bounds come from a broadcast sample, so that partitions are ordered.
    Range,
    /// The task's own partition, read by the next stage's task of the same index.
    Same,
    /// The contiguous part of the input that contains the task's chunk.
    InputPart,
    /// The number of the input file that contains the task's chunk: the files are the partitions of an earlier output.
    InputFile,
}

/// The order of the records that one task writes to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Ascending by key bytes; equal keys in input order.
    Key,
    /// In order of emission.
    Arrival,
}

/// The source of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSpec {
    /// Inputs as the user named them: files, folders, globs, `windrow://NAME`. Made absolute once, at submission.
    pub inputs: Vec<String>,
    /// Framing of the records.
    pub framing: Framing,
    /// Whether the reader needs the start of the file to read any of its chunks (a CSV header). The reader itself skips
    /// the header, whose bytes belong to no record.
    pub header: bool,
    /// Whether a task reads only sample windows of its chunk (see the engine), for range partitioning.
    pub sample: bool,
    /// Whether files are read as stored. Otherwise they are text: compressed files are decompressed, and never cut.
    pub as_is: bool,
}

/// An input of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// Chunks of files: the stage has one task for each chunk. At most one per stage, and then no `Edge`.
    Source(SourceSpec),
    /// Partition `i` of every task of these ports, in this order. All edges of a stage have the same number of
    /// partitions, and the stage has one task for each partition.
    Edge {
        /// The ports, in the order in which they are read.
        from: Vec<Port>,
    },
    /// The whole inline output of every task of this port, in task order, for every task.
    Broadcast {
        /// The port whose output is broadcast.
        from: Port,
    },
}

/// An output of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// Records by partition, for the next stage.
    Edge {
        /// Number of partitions.
        partitions: Partitions,
        /// How a record's partition is chosen.
        partitioner: Partitioner,
        /// Order of the records in a partition.
        order: Order,
        /// Whether the values of a key are folded before they are written.
        combined: bool,
    },
    /// Small blobs within the task's report: samples, and results for the driver.
    Broadcast,
    /// One part of the sink with this index in `Plan::sinks`; the part has the index of the task.
    Sink {
        /// Index in `Plan::sinks`.
        sink: u32,
    },
}

/// A stage of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Its operations in readable form: `lines → map → combine`.
    pub label: String,
    /// Source location in the user's program: `src/main.rs:12`.
    pub place: String,
    /// Inputs, in the order of a task's inputs.
    pub inputs: Vec<Input>,
    /// Outputs, in the order of a task's outputs.
    pub outputs: Vec<Output>,
    /// False if the result may differ between attempts (network calls).
    pub deterministic: bool,
}

impl Stage {
    /// The source, if the stage has one.
    pub fn source(&self) -> Option<&SourceSpec> {
        self.inputs.iter().find_map(|i| match i {
            Input::Source(s) => Some(s),
            _ => None,
        })
    }
    /// All ports that must be complete before a task of this stage can run.
    pub fn reads(&self) -> impl Iterator<Item = Port> + '_ {
        self.inputs
            .iter()
            .flat_map(|i| match i {
                Input::Source(_) => &[][..],
                Input::Edge { from } => &from[..],
                Input::Broadcast { from } => std::slice::from_ref(from),
            })
            .copied()
    }
}

/// Compression of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compression {
    /// Uncompressed.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
    /// bzip2.
    Bzip2,
}

/// An output: a folder of part files that appears atomically when the job commits, or the dataset `windrow://NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkSpec {
    /// Absolute path of the output folder, or `windrow://NAME` for a dataset.
    pub path: String,
    /// Name of the format, for people and the manifest: `tsv`, `text`, `jsonl`, …
    pub format: String,
    /// Suffix after `part-00000`: empty, `.gz`, …
    pub suffix: String,
    /// Framing of the records in a part: how a dataset of such parts can be read.
    pub framing: Framing,
    /// Whether an existing output is replaced.
    pub overwrite: bool,
}

/// A named result for the driver: an inline output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collect {
    /// Name of the result.
    pub name: String,
    /// The port that produces it.
    pub from: Port,
}

/// A value made once at submission and available to every task, identified by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Digest of the encoded value.
    pub digest: Digest,
    /// Length of the encoded value in bytes.
    pub length: u64,
}

/// The plan of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Stages in topological order.
    pub stages: Vec<Stage>,
    /// Outputs.
    pub sinks: Vec<SinkSpec>,
    /// Results for the driver.
    pub collects: Vec<Collect>,
    /// Values that tasks share.
    pub sides: Vec<Side>,
    /// Digest of operators, types, source locations, parameters and graph: equal in all processes that built the same
    /// plan.
    pub fingerprint: Digest,
}

impl Plan {
    /// The stage with this id, which must exist.
    pub fn stage(&self, id: StageId) -> &Stage {
        &self.stages[id.0 as usize]
    }
    /// The output of this port, which must exist.
    pub fn output(&self, port: Port) -> &Output {
        &self.stage(port.stage).outputs[port.output as usize]
    }
    /// The stages that read an output of `stage`.
    pub fn readers(&self, stage: StageId) -> impl Iterator<Item = StageId> + '_ {
        self.stages
            .iter()
            .enumerate()
            .filter(move |(_, s)| s.reads().any(|p| p.stage == stage))
            .map(|(i, _)| StageId(i as u32))
    }
}
