//! An edge with usual settings, and the simplest accumulator.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::Path;
use windrow_engine::{Accumulate, Codec, EdgeSpec, EngineError, Identity, Partitioning, Share};

/// An edge of task 2 into `out`, with this many bytes of memory for two consumers.
pub fn spec(folder: &Path, partitioning: Partitioning, codec: Codec, memory: usize) -> EdgeSpec {
    EdgeSpec {
        folder: folder.join("runs"),
        file: folder.join("out"),
        identity: Identity { job: [3; 16], stage: 1, task: 2, attempt: 0, epoch: 1, output: 0, partition: 0 },
        partitioning,
        codec,
        share: Share::alone(memory, 2),
        any_order: false,
        in_memory_outputs: None,
        spool: None,
    }
}

/// Sums of numbers of eight bytes.
pub struct Sum;
impl Accumulate for Sum {
    type Acc = u64;
    fn merge(&self, into: &mut u64, other: u64) {
        *into += other;
    }
    fn encode(&self, acc: &u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&acc.to_le_bytes());
    }
    fn decode(&self, bytes: &[u8]) -> Result<u64, EngineError> {
        bytes.try_into().map(u64::from_le_bytes).map_err(|_| EngineError::Decode("eight bytes".to_string()))
    }
}
