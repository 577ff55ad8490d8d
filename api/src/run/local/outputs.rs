//! When the outputs of a local run for its other tasks are freed.
//!
//! No task runs again here, so an output that all of its readers have read is not needed: a partition in memory is
//! freed at once, and of files, whose partitions are in reading order, the start is returned to the system in
//! stretches. A large shuffle thus makes room, in the page cache and on disk, for the output that is made from it.

use super::files::edge_path;
use super::released::Released;
use super::shuffle::{FilePart, Shuffle};
use crate::run::task_run::StageTable;
use crate::task::context::edge_identity;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use windrow_engine::{Hole, Memory};
use windrow_format::block::Identity;
use windrow_model::{AttemptId, Input, JobId, Port, StageId, TaskId};

/// Outputs of finished tasks, in memory or in files.
pub(super) struct Outputs {
    job: JobId,
    /// Where they are, for the threads of tasks.
    pub shuffle: Arc<Shuffle>,
    edges: BTreeMap<Port, Released>,
}

impl Outputs {
    /// Creates an empty set of a run with this memory; outputs that are not kept in it are files in `folder`.
    pub(super) fn new(job: JobId, folder: &Path, memory: Arc<Memory>, memory_bytes: u64) -> Self {
        let shuffle = Arc::new(Shuffle::new(job, folder, memory, memory_bytes));
        Outputs { job, shuffle, edges: BTreeMap::new() }
    }

    /// Records that a task is done. Frees its inputs if it was the last reader; returns the parts of files to free.
    pub(super) fn done(&mut self, program: &StageTable, id: TaskId, is_done: impl Fn(TaskId) -> bool) -> Vec<Hole> {
        let read = self.shuffle.take_read(id);
        let mut holes = Vec::new();
        let inputs = program.plan.stage(id.stage).inputs.iter();
        let ports = inputs.filter_map(|input| if let Input::Edge { from } = input { Some(from) } else { None });
        for port in ports.flatten().copied() {
            let stages = program.plan.stages.iter().enumerate();
            let mut readers = stages.filter(|(_, s)| s.reads().any(|p| p == port));
            if readers.all(|(reader, _)| is_done(TaskId { stage: StageId(reader as u32), ..id })) {
                let in_files: Vec<FilePart> = read.iter().filter(|part| part.port == port).cloned().collect();
                let of = edge_identity(self.job, port, id.index);
                holes.append(&mut self.shuffle.in_memory_outputs.release_partition(&of));
                self.edges.entry(port).or_default().release(id.index, in_files, &mut holes);
            }
        }
        holes
    }

    /// Frees all outputs of an attempt, which must have no further readers.
    pub(super) fn remove(&self, attempt: &AttemptId, outputs: u32) {
        for output in 0..outputs {
            if !self.shuffle.in_memory_outputs.release(&Identity::of_output(attempt, output)) {
                // Empty outputs have no file, and what cannot be removed now goes with the folder.
                let _ = std::fs::remove_file(edge_path(self.shuffle.folder(), attempt, output));
            }
        }
    }

    /// Forgets the outputs of a stage, which must have no further readers and have been removed.
    pub(super) fn forget(&mut self, stage: StageId, outputs: u32) {
        for port in (0..outputs).map(|output| Port { stage, output }) {
            self.shuffle.forget(port);
            self.edges.remove(&port);
        }
    }
}
