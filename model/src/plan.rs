//! The plan: a graph of stages, as data. Closures never travel: every process builds the same plan from the same
//! binary and parameters, and the fingerprint proves it.

mod check;

pub use check::PlanError;

use crate::ids::{Digest, Port, StageId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How many partitions an edge or a map-only output has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Partitions {
    /// Chosen once per job from the bytes of all its inputs, never from threads, workers or memory.
    Auto,
    Count(u32),
}

impl Partitions {
    /// Bytes of input that one partition of an `Auto` edge stands for.
    pub const AUTO_BYTES: u64 = 16 << 20;
    /// No `Auto` edge has more partitions than this.
    pub const AUTO_MAX: u32 = 2_000;

    /// The number of partitions in a job whose inputs hold `input_bytes`.
    pub fn resolve(self, input_bytes: u64) -> u32 {
        match self {
            Partitions::Count(n) => n.max(1),
            Partitions::Auto => input_bytes.div_ceil(Self::AUTO_BYTES).clamp(1, Self::AUTO_MAX as u64) as u32,
        }
    }
}

/// Which partition a record goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Partitioner {
    /// By the hash of its key.
    Hash,
    /// By key ranges whose bounds come from a broadcast sample, so that partitions are ordered among themselves.
    Range,
    /// The task's own partition: the next stage's task of the same number reads it.
    Same,
    /// The contiguous part of the input that the task's chunk lies in.
    InputPart,
}

/// The order of records inside a partition as one task writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Ascending by key bytes; equal keys in input order.
    Key,
    /// As they were emitted.
    Arrival,
}

/// Where a record begins, so that a file can be cut without knowing what is in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Framing {
    /// Records end with this byte (the last may lack it).
    Delimiter(u8),
    /// Every record has this many bytes, and the file a whole number of them.
    Fixed(u32),
    /// One file is one unit: never cut.
    Whole,
}
/// `lines`, `delimiter:N` for another byte, `fixed:N`, `whole`: as flags and lists have it.
impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Framing::Delimiter(b'\n') => f.write_str("lines"),
            Framing::Delimiter(byte) => write!(f, "delimiter:{byte}"),
            Framing::Fixed(bytes) => write!(f, "fixed:{bytes}"),
            Framing::Whole => f.write_str("whole"),
        }
    }
}
impl FromStr for Framing {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |kind: &str| text.strip_prefix(kind);
        let wrong = || format!("`{text}` is none of: lines, delimiter:BYTE, fixed:BYTES, whole");
        match (text, number("delimiter:"), number("fixed:")) {
            ("lines", ..) => Ok(Framing::Delimiter(b'\n')),
            ("whole", ..) => Ok(Framing::Whole),
            (_, Some(byte), _) => byte.parse().map(Framing::Delimiter).map_err(|_| wrong()),
            (_, _, Some(bytes)) => match bytes.parse() {
                Ok(n) if n > 0 => Ok(Framing::Fixed(n)),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSpec {
    /// What the user named: files, folders, globs, `windrow://NAME`. Made absolute once, at submit.
    pub inputs: Vec<String>,
    pub framing: Framing,
    /// Bytes of header at the start of every file that belong to no record are found by the reader, not here; this
    /// says that the reader needs the start of the file to read any chunk of it (a CSV header).
    pub header: bool,
    /// If set, a task reads only sample windows of its chunk (see the engine), for range partitioning.
    pub sample: bool,
    /// If set, files are read as they are stored. Otherwise they are text: what is compressed is decompressed, and never cut.
    pub as_is: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// Chunks of files: the stage has one task for each. At most one per stage, and then no `Edge`.
    Source(SourceSpec),
    /// Partition `i` of every task of these ports, in this order. All edges of a stage have the same number of
    /// partitions, and the stage has one task for each.
    Edge { from: Vec<Port> },
    /// The whole inline output of every task of this port, in task order, given to every task.
    Broadcast { from: Port },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    Edge {
        partitions: Partitions,
        partitioner: Partitioner,
        order: Order,
        combined: bool,
    },
    /// Small bytes that travel inside the task's report: samples, results for the driver.
    Broadcast,
    /// One part of the sink with this index in `Plan::sinks`; the part's number is the task's.
    Sink {
        sink: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Operations in it, as a person reads them: `lines → map → combine`.
    pub label: String,
    /// Where the user's program made it: `src/main.rs:12`.
    pub place: String,
    pub inputs: Vec<Input>,
    pub outputs: Vec<Output>,
    /// False for stages whose result may differ from run to run (network calls).
    pub deterministic: bool,
}

impl Stage {
    pub fn source(&self) -> Option<&SourceSpec> {
        self.inputs.iter().find_map(|i| match i {
            Input::Source(s) => Some(s),
            _ => None,
        })
    }
    /// Every port that must be complete before a task of this stage can run.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
}

/// A folder of part files that appears as a whole when the job commits, or `windrow://NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkSpec {
    /// Absolute path of the output folder, or `windrow://NAME` for a dataset.
    pub path: String,
    /// `tsv`, `text`, `jsonl`, …: for people and for the manifest.
    pub format: String,
    /// After `part-00000`: empty, `.gz`, …
    pub suffix: String,
    /// Where records begin in a part: how a dataset of such parts can be read.
    pub framing: Framing,
    pub overwrite: bool,
}

/// A result that goes back to the driver: an inline output under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collect {
    pub name: String,
    pub from: Port,
}

/// A value made once at submit and available to every task: by content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    pub digest: Digest,
    pub length: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub stages: Vec<Stage>,
    pub sinks: Vec<SinkSpec>,
    pub collects: Vec<Collect>,
    pub sides: Vec<Side>,
    /// Of operators, types, source locations, parameters and graph: equal in every process that built the same plan.
    pub fingerprint: Digest,
}

impl Plan {
    pub fn stage(&self, id: StageId) -> &Stage {
        &self.stages[id.0 as usize]
    }
    pub fn output(&self, port: Port) -> &Output {
        &self.stage(port.stage).outputs[port.output as usize]
    }
    /// Stages that read an output of `stage`.
    pub fn readers(&self, stage: StageId) -> impl Iterator<Item = StageId> + '_ {
        self.stages
            .iter()
            .enumerate()
            .filter(move |(_, s)| s.reads().any(|p| p.stage == stage))
            .map(|(i, _)| StageId(i as u32))
    }
    /// Tasks that a stage without source has.
    pub fn partitions(&self, stage: StageId, input_bytes: u64) -> Option<u32> {
        self.stage(stage).inputs.iter().find_map(|i| match i {
            Input::Edge { from } => match self.output(*from.first()?) {
                Output::Edge { partitions, .. } => Some(partitions.resolve(input_bytes)),
                _ => None,
            },
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_framing_is_read_back_from_its_text() {
        for framing in [Framing::Delimiter(b'\n'), Framing::Delimiter(b';'), Framing::Fixed(100), Framing::Whole] {
            assert_eq!(framing.to_string().parse(), Ok(framing));
        }
        for wrong in ["", "line", "fixed:0", "fixed:", "fixed:-1", "delimiter:256"] {
            assert!(wrong.parse::<Framing>().is_err(), "{wrong}");
        }
    }
}
