//! What an attempt is told, and what it answers.

use crate::chunk::Chunk;
use crate::counters::Counters;
use crate::ids::{AttemptId, StageId};
use crate::segment::{Segment, SegmentRef};
use serde::{Deserialize, Serialize};

/// One input of a task, in the order of the stage's inputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskInput {
    Chunk(Chunk),
    /// The task's partition: for each producing port in the stage's order, that port's tasks in order.
    Segments(Vec<SegmentRef>),
    /// Broadcast outputs, in task order.
    Inline(Vec<Vec<u8>>),
}

/// One output of a task, in the order of the stage's outputs, with every `Auto` resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskOutput {
    Edge { partitions: u32 },
    Broadcast,
    Sink { sink: u32 },
}

/// One attempt to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub attempt: AttemptId,
    pub inputs: Vec<TaskInput>,
    pub outputs: Vec<TaskOutput>,
    /// Bytes of all inputs of the job: what sampling strides and default counts follow from.
    pub job_input_bytes: u64,
}

impl Task {
    pub fn stage(&self) -> StageId {
        self.attempt.task.stage
    }
    /// Bytes that the task will read, as far as is known.
    pub fn input_bytes(&self) -> u64 {
        self.inputs
            .iter()
            .map(|i| match i {
                TaskInput::Chunk(c) => c.length(),
                TaskInput::Segments(s) => s.iter().map(|s| s.segment.length).sum(),
                TaskInput::Inline(b) => b.iter().map(|b| b.len() as u64).sum(),
            })
            .sum()
    }
}

/// A finished part file in the attempt's scratch folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartReport {
    pub sink: u32,
    pub bytes: u64,
    pub records: u64,
    /// CRC-32C of the whole file.
    pub checksum: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputReport {
    /// Segments of the output's file, by ascending partition; empty partitions are left out.
    Edge(Vec<Segment>),
    Broadcast(Vec<u8>),
    Sink(PartReport),
}

/// What a finished attempt answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskReport {
    pub outputs: Vec<OutputReport>,
    pub counters: Counters,
    /// Milliseconds of computing in the executor.
    pub run_ms: u64,
}
