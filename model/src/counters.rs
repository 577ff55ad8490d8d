//! Named sums that merge.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Counters of an attempt, a task or a job. Only those of committed attempts are added up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters(pub BTreeMap<String, u64>);

impl Counters {
    pub fn add(&mut self, name: &str, n: u64) {
        match self.0.get_mut(name) {
            Some(v) => *v = v.saturating_add(n),
            None => {
                self.0.insert(name.to_string(), n);
            }
        }
    }
    pub fn merge(&mut self, other: &Counters) {
        for (name, n) in &other.0 {
            self.add(name, *n);
        }
    }
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }
}

/// Names of the counters that the engine itself keeps.
pub mod names {
    /// From inputs of the job.
    pub const RECORDS_READ: &str = "windrow.records_read";
    /// Left out because they made tasks fail.
    pub const RECORDS_SKIPPED: &str = "windrow.records_skipped";
    /// From earlier stages.
    pub const RECORDS_MERGED: &str = "windrow.records_merged";
    pub const BYTES_READ: &str = "windrow.bytes_read";
    pub const RECORDS_EMITTED: &str = "windrow.records_emitted";
    pub const RECORDS_SHUFFLED: &str = "windrow.records_shuffled";
    pub const BYTES_SHUFFLED: &str = "windrow.bytes_shuffled";
    pub const RUNS_SPILLED: &str = "windrow.runs_spilled";
    pub const BYTES_SPILLED: &str = "windrow.bytes_spilled";
    /// Times that something was spilled because another consumer of memory, often of another task, had asked for it.
    pub const SPILLS_YIELDED: &str = "windrow.spills_yielded";
    pub const RECORDS_WRITTEN: &str = "windrow.records_written";
    pub const BYTES_WRITTEN: &str = "windrow.bytes_written";
}
