//! Named sums that can be merged.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most names of the counters of a job, whatever its attempts report: no message may have more.
pub const NAMES_MAX: usize = 10_000;
/// Names among them that only the engine's own counters take.
const OWN_NAMES: usize = 100;
/// The beginning of the names of these.
const OWN: &str = "windrow.";
/// Most bytes of these names.
pub const NAMES_BYTES_MAX: usize = 1 << 20;

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
    /// Adds all counters of `other`. The sum has at most [`NAMES_MAX`] names with [`NAMES_BYTES_MAX`] bytes: others are left
    /// off, and counted in [`names::COUNTERS_LEFT_OFF`]. Some places are only for the engine's own counters.
    pub fn merge(&mut self, other: &Counters) {
        let mut bytes: usize = self.0.keys().map(String::len).sum();
        let mut left_off = 0;
        for (name, n) in &other.0 {
            if !self.0.contains_key(name) {
                // The count of those that are left off has a place, too.
                let most = NAMES_MAX - 1 - if name.starts_with(OWN) { 0 } else { OWN_NAMES };
                if self.0.len() >= most || bytes + name.len() > NAMES_BYTES_MAX {
                    left_off += 1;
                    continue;
                }
                bytes += name.len();
            }
            self.add(name, *n);
        }
        if left_off > 0 {
            self.add(names::COUNTERS_LEFT_OFF, left_off);
        }
    }
    /// The value of a counter; 0 if it does not exist.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }
}

/// Names of the counters that the engine itself maintains.
pub mod names {
    /// Counters of attempts that a job has no place for.
    pub const COUNTERS_LEFT_OFF: &str = "windrow.counters_left_off";
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_job_are_bounded_whatever_attempts_report() {
        let mut job = Counters::default();
        job.add("windrow.records_read", 1);
        for attempt in 0..30u64 {
            let mut report = Counters::default();
            report.add("windrow.records_read", u64::MAX);
            (0..1_000).for_each(|n| report.add(&format!("{attempt} {n}"), 1));
            job.merge(&report);
        }
        // With the count of those that were left off.
        assert_eq!(job.0.len(), NAMES_MAX - OWN_NAMES);
        let kept = job.0.keys().filter(|name| !name.starts_with(OWN)).count() as u64;
        assert_eq!(job.get(names::COUNTERS_LEFT_OFF), 30_000 - kept);
        let mut own = Counters::default();
        own.add(names::BYTES_WRITTEN, 7);
        (0..1_000).for_each(|n| own.add(&format!("windrow.{n}"), 1));
        job.merge(&own);
        assert_eq!(job.0.len(), NAMES_MAX - 1);
        assert_eq!(job.get("windrow.records_read"), u64::MAX, "sums of those that are there go on");
        let mut job = Counters::default();
        for attempt in 0..1_000 {
            let mut report = Counters::default();
            report.add(&format!("{attempt:04096}"), 1);
            job.merge(&report);
        }
        assert_eq!(job.0.len(), NAMES_BYTES_MAX / 4096 + 1);
    }
}
