//! The task that an attempt gets, and the report that it returns.

use crate::chunk::Chunk;
use crate::counters::Counters;
use crate::edge_report::EdgeReport;
use crate::ids::{AttemptId, Digest, Port, StageId};
use crate::mix::mixed;
use crate::stage_outputs::TableVersion;
use crate::total::total;
use serde::{Deserialize, Serialize};

/// One input of a task, in the order of the stage's inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskInput {
    /// A chunk of input files.
    Chunk(Chunk),
    /// The task's partition of the outputs of other stages.
    Edge(EdgeInput),
    /// Broadcast outputs, in task order.
    Inline(Vec<Vec<u8>>),
}

/// A partition of the outputs of other stages: the one with the task's own index. The records are those of the first port
/// in the order of its tasks, then those of the next port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeInput {
    /// The outputs that are read, in the order of the stage's ports.
    pub ports: Vec<EdgePort>,
    /// About how many bytes the partition has.
    pub bytes: u64,
}

/// An output of a stage, as a reader gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgePort {
    /// The output.
    pub port: Port,
    /// Its number of partitions.
    pub partitions: u32,
    /// Version of the [table](crate::StageOutputs) that names the attempts that count.
    pub version: TableVersion,
    /// Digest of the output in that table.
    pub digest: u64,
}

/// One output of a task, in the order of the stage's outputs, with every `Auto` resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskOutput {
    /// An edge with this number of partitions.
    Edge {
        /// Number of partitions.
        partitions: u32,
    },
    /// An inline output.
    Broadcast,
    /// A part of the sink with this index.
    Sink {
        /// Index in `Plan::sinks`.
        sink: u32,
    },
}

/// One attempt to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Id of the attempt.
    pub attempt: AttemptId,
    /// Inputs, in the order of the stage's inputs.
    pub inputs: Vec<TaskInput>,
    /// Outputs, in the order of the stage's outputs.
    pub outputs: Vec<TaskOutput>,
    /// Bytes of all inputs of the job, from which sampling strides and default counts follow.
    pub job_input_bytes: u64,
    /// Digests of keys to leave out because they made tasks fail, in ascending order.
    pub skip_keys: Vec<Digest>,
}

impl Task {
    /// The stage of the task.
    pub fn stage(&self) -> StageId {
        self.attempt.task.stage
    }
    /// Bytes that the task will read, as far as known.
    pub fn input_bytes(&self) -> u64 {
        total(self.inputs.iter().map(|i| match i {
            TaskInput::Chunk(c) => c.length(),
            TaskInput::Edge(edge) => edge.bytes,
            TaskInput::Inline(b) => total(b.iter().map(|b| b.len() as u64)),
        }))
    }
}

/// A finished part file in the attempt's scratch folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartReport {
    /// Index of the sink.
    pub sink: u32,
    /// Size in bytes.
    pub bytes: u64,
    /// Number of records.
    pub records: u64,
    /// CRC-32C of the whole file.
    pub checksum: u32,
}

/// One part of an output that is staged and waits for the job's commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedPart {
    /// The number of the task, which is the number of the part.
    pub task: u32,
    /// The attempt that wrote the part.
    pub attempt: AttemptId,
    /// What the attempt reported of the part.
    pub part: PartReport,
}

/// The result of one output of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputReport {
    /// Size and digest of an output for other tasks.
    Edge(EdgeReport),
    /// The inline output.
    Broadcast(Vec<u8>),
    /// The part file of a sink.
    Sink(PartReport),
    /// A broadcast that only the client reads. The driver has stored its bytes; executors never report this.
    Stored(StoredBlob),
}

/// The location of a collected result that the driver has stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBlob {
    /// Offset of the first byte in the file of the job's results.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// Digest of the bytes.
    pub digest: Digest,
}

/// The result of a finished attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskReport {
    /// Results of the outputs, in order.
    pub outputs: Vec<OutputReport>,
    /// Counters of the attempt.
    pub counters: Counters,
    /// Milliseconds of computing in the executor.
    pub run_ms: u64,
    /// [`input_digest`] of the inputs that it read.
    pub inputs: u64,
}

/// A digest by which two attempts can be compared: equal if they read the same inputs from other tasks. It hashes the
/// digests of all outputs and broadcasts that they read, in order. Chunks are not included: they are the same for every
/// attempt of a task, or the attempt is refused.
pub fn input_digest(inputs: &[TaskInput]) -> u64 {
    let mut digest = InputDigest::default();
    for input in inputs {
        match input {
            TaskInput::Chunk(_) => {}
            TaskInput::Edge(edge) => edge.ports.iter().for_each(|port| digest.port(port.port, port.digest)),
            TaskInput::Inline(blobs) => blobs.iter().for_each(|blob| digest.blob(blob)),
        }
    }
    digest.get()
}

/// [`input_digest`] of inputs that arrive piece by piece, in the order of the stage's inputs.
#[derive(Clone, Copy, Debug, Default)]
pub struct InputDigest(u64);

impl InputDigest {
    /// Adds the next output, of which `digest` stands in the table of its stage.
    pub fn port(&mut self, port: Port, digest: u64) {
        self.0 = mixed(self.0, u64::from(port.output) << 32 | u64::from(port.stage.0));
        self.0 = mixed(self.0, digest);
    }

    /// Adds the next blob of a broadcast.
    pub fn blob(&mut self, blob: &[u8]) {
        let content = Digest::of(blob).0;
        self.0 = mixed(self.0, u64::from_le_bytes(std::array::from_fn(|i| content[i])));
    }

    /// The digest of all inputs so far.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// A digest by which two attempts can be compared: equal if they produced the same outputs for other tasks. It hashes
/// what the [`input_digest`] of their readers depends on; parts are not included.
pub fn output_digest(outputs: &[OutputReport]) -> u64 {
    let mut hash = 0;
    for output in outputs {
        match output {
            OutputReport::Edge(edge) => hash = mixed(hash, edge.digest),
            OutputReport::Broadcast(blob) => {
                let content = Digest::of(blob).0;
                hash = mixed(hash, u64::from_le_bytes(std::array::from_fn(|i| content[i])));
            }
            OutputReport::Stored(blob) => {
                let content = blob.digest.0;
                hash = mixed(hash, u64::from_le_bytes(std::array::from_fn(|i| content[i])));
            }
            OutputReport::Sink(_) => {}
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(digests: &[(u32, u64)]) -> TaskInput {
        let port = |(output, digest): &(u32, u64)| EdgePort {
            port: Port { stage: StageId(0), output: *output },
            partitions: 3,
            version: TableVersion::default(),
            digest: *digest,
        };
        TaskInput::Edge(EdgeInput { ports: digests.iter().map(port).collect(), bytes: 1 })
    }

    #[test]
    fn digests_cover_everything_that_readers_see() {
        let digest = |ports: &[(u32, u64)], blobs: &[&[u8]]| {
            let blobs = blobs.iter().map(|b| b.to_vec()).collect();
            input_digest(&[edge(ports), TaskInput::Inline(blobs)])
        };
        let (a, b) = ((0, 8), (1, 9));
        let all = [
            digest(&[a, b], &[b"x"]),
            digest(&[b, a], &[b"x"]),
            digest(&[a], &[b"x"]),
            digest(&[(1, 8), (0, 9)], &[b"x"]),
            digest(&[a, b], &[b"y"]),
            digest(&[a, b], &[]),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|other| other != one), "{i}");
        }
        assert_eq!(input_digest(&[TaskInput::Chunk(Chunk::default())]), 0);
        let made = |digest, blob: &[u8]| {
            let edge = EdgeReport { digest, ..EdgeReport::default() };
            output_digest(&[OutputReport::Edge(edge), OutputReport::Broadcast(blob.to_vec())])
        };
        assert!(made(1, b"x") != made(2, b"x") && made(1, b"x") != made(1, b"y") && made(1, b"x") == made(1, b"x"));
    }
}
