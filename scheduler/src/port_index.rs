//! The index of an output: which task has written which segment of a partition.

use crate::planted::{self, Planted};
use crate::task::Task;
use crate::tasks::Tasks;
use windrow_model::{OutputReport, Segment};

/// The segments of one output of a done stage by partition: compressed rows, in task order within a row.
pub(crate) struct PortIndex {
    /// Where the entries of each partition begin, with one more at the end.
    starts: Vec<usize>,
    /// The task, and the position in its report's list.
    entries: Vec<(u32, u32)>,
    /// Bytes of all segments.
    pub bytes: u64,
}

impl PortIndex {
    /// Builds the index in two passes over all segments: once per port, so that a reader costs only its own segments.
    pub(crate) fn new(tasks: &Tasks, output: usize, partitions: u32) -> Self {
        let mut starts = vec![0usize; partitions as usize + 1];
        let mut bytes = 0u64;
        for segment in tasks.iter().flat_map(|t| segments(t, output)) {
            starts[segment.partition as usize + 1] += 1;
            bytes = bytes.saturating_add(segment.length);
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut entries = vec![(0, 0); starts.last().copied().unwrap_or(0)];
        let mut next = starts.clone();
        for (t, task) in tasks.iter().enumerate() {
            for (i, segment) in segments(task, output).iter().enumerate() {
                let at = &mut next[segment.partition as usize];
                let t = if planted::has(Planted::Reversed) { tasks.len() - 1 - t } else { t };
                entries[*at] = (t as u32, i as u32);
                *at += 1;
            }
        }
        PortIndex { starts, entries, bytes }
    }

    /// The entries of a partition: the task, and the position in its report's list.
    pub(crate) fn partition(&self, partition: usize) -> &[(u32, u32)] {
        &self.entries[self.starts[partition]..self.starts[partition + 1]]
    }
}

/// What a finished task has written for one edge.
pub(crate) fn segments(task: &Task, output: usize) -> &[Segment] {
    match task.held.as_ref().and_then(|h| h.outputs.get(output)) {
        Some(OutputReport::Edge(segments)) => segments,
        _ => &[],
    }
}
