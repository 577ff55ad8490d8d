//! Named sums that can be merged.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Counters of an attempt, a task or a job. Only committed attempts are added up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters(pub BTreeMap<String, u64>);

impl Counters {
    /// Adds `n` to a counter.
    pub fn add(&mut self, name: &str, n: u64) {
        match self.0.get_mut(name) {
            Some(v) => *v = v.saturating_add(n),
            None => {
                self.0.insert(name.to_string(), n);
            }
        }
    }
    /// Adds all counters of `other`.
    pub fn merge(&mut self, other: &Counters) {
        for (name, n) in &other.0 {
            self.add(name, *n);
        }
    }
    /// The value of a counter; 0 if it does not exist.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }
}

/// Names of the counters that the engine itself maintains.
pub mod names {
    /// Records read from inputs of the job.
    pub const RECORDS_READ: &str = "windrow.records_read";
    /// Records left out because they made tasks fail.
    pub const RECORDS_SKIPPED: &str = "windrow.records_skipped";
    /// Records read from earlier stages.
    pub const RECORDS_MERGED: &str = "windrow.records_merged";
    /// Bytes read from inputs of the job.
    pub const BYTES_READ: &str = "windrow.bytes_read";
    /// Records emitted by operations.
    pub const RECORDS_EMITTED: &str = "windrow.records_emitted";
    /// Records written to edges.
    pub const RECORDS_SHUFFLED: &str = "windrow.records_shuffled";
    /// Bytes written to edges.
    pub const BYTES_SHUFFLED: &str = "windrow.bytes_shuffled";
    /// Sorted runs and groups of blocks that were spilled.
    pub const RUNS_SPILLED: &str = "windrow.runs_spilled";
    /// Bytes that were spilled.
    pub const BYTES_SPILLED: &str = "windrow.bytes_spilled";
    /// Spills at the request of another consumer of memory, often of another task.
    pub const SPILLS_YIELDED: &str = "windrow.spills_yielded";
    /// Records written to sinks.
    pub const RECORDS_WRITTEN: &str = "windrow.records_written";
    /// Bytes written to sinks.
    pub const BYTES_WRITTEN: &str = "windrow.bytes_written";
}
