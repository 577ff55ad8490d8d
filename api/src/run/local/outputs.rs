//! The outputs of a local run for its other tasks, and when they are freed.
//!
//! No task runs again here, so an output that all of its readers have read is not needed: a partition in memory is
//! freed at once, and of files, whose partitions are in reading order, the start is returned to the system in
//! stretches. A large shuffle thus makes room, in the page cache and on disk, for the output that is made from it.

use crate::run::task_run::StageTable;
use crate::task::context::{edge_identity, output_identity};
use rustix::fs::{FallocateFlags, fallocate};
use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use windrow_engine::{Hole, InMemoryOutputs, LocalSegment, Memory, ReleasedPartition};
use windrow_format::names;
use windrow_format::regular_file;
use windrow_model::{AttemptId, Input, JobId, Port, SegmentRef, StageId, Task, TaskId, TaskInput};

/// Bytes that are returned to the system at once.
const SWEEP_BYTES: u64 = 64 << 20;
/// Average bytes of each file that are returned at once, because each file costs a few calls.
const SWEEP_BYTES_PER_FILE: u64 = 1 << 20;
/// Holes start and end at multiples of this, because the system frees whole pages only.
const ALIGN: u64 = 64 << 10;

/// Outputs of finished tasks, in memory or in files.
pub(super) struct Outputs {
    job: JobId,
    folder: PathBuf,
    pub in_memory_outputs: Arc<InMemoryOutputs>,
    /// Running tasks with their inputs.
    reading: HashMap<TaskId, Arc<Task>>,
    edges: BTreeMap<Port, Released>,
}

/// The part of an edge that all readers have read.
#[derive(Default)]
struct Released {
    /// All partitions below this one.
    low: u32,
    /// Later partitions, with the ends of their segments.
    ahead: BTreeMap<u32, Vec<(AttemptId, u64)>>,
    files: HashMap<AttemptId, Stretch>,
    /// Bytes that have been read and are not yet freed.
    bytes: u64,
}

/// The start of a file.
#[derive(Default)]
struct Stretch {
    /// Offset up to which all readers have read.
    read: u64,
    /// Offset up to which the file has been freed.
    gone: u64,
}

impl Outputs {
    /// Creates an empty set; outputs that are not kept in memory are files in `folder`.
    pub(super) fn new(job: JobId, folder: &Path, memory: Arc<Memory>) -> Self {
        let in_memory_outputs = Arc::new(InMemoryOutputs::new(memory, folder));
        let (folder, reading, edges) = (folder.to_path_buf(), HashMap::new(), BTreeMap::new());
        Outputs { job, folder, in_memory_outputs, reading, edges }
    }

    /// Records that a task starts to read.
    pub(super) fn started(&mut self, task: &Arc<Task>) {
        self.reading.insert(task.attempt.task, task.clone());
    }

    /// Records that a task is done. Frees its inputs if it was the last reader; returns the parts of files to free.
    pub(super) fn done(&mut self, program: &StageTable, id: TaskId, is_done: impl Fn(TaskId) -> bool) -> Vec<Hole> {
        let Some(task) = self.reading.remove(&id) else { return Vec::new() };
        let mut holes = Vec::new();
        let stage = program.plan.stage(id.stage);
        for (input, data) in stage.inputs.iter().zip(&task.inputs) {
            let (Input::Edge { from }, TaskInput::Segments(segments)) = (input, data) else { continue };
            for port in from {
                let stages = program.plan.stages.iter().enumerate();
                let mut readers = stages.filter(|(_, s)| s.reads().any(|p| p == *port));
                if readers.all(|(reader, _)| is_done(TaskId { stage: StageId(reader as u32), ..id })) {
                    let mine =
                        segments.iter().filter(|s| s.attempt.task.stage == port.stage && s.output == port.output);
                    self.release(*port, id.index, mine, &mut holes);
                }
            }
        }
        holes
    }

    fn release<'s>(
        &mut self,
        port: Port,
        partition: u32,
        segments: impl Iterator<Item = &'s SegmentRef>,
        holes: &mut Vec<Hole>,
    ) {
        let Outputs { job, folder, in_memory_outputs, edges, .. } = self;
        let end =
            |s: &SegmentRef| (output_identity(&s.attempt, s.output), (s.attempt, s.segment.offset + s.segment.length));
        let ReleasedPartition { others, holes: mut freed } =
            in_memory_outputs.release_partition(&edge_identity(*job, port, partition), segments.map(end));
        holes.append(&mut freed);
        let edge = edges.entry(port).or_default();
        edge.ahead.insert(partition, others);
        while let Some(ends) = edge.ahead.remove(&edge.low) {
            edge.low += 1;
            for (attempt, end) in ends {
                let stretch = edge.files.entry(attempt).or_default();
                let before = std::mem::replace(&mut stretch.read, end / ALIGN * ALIGN);
                edge.bytes += stretch.read - before;
            }
        }
        if edge.bytes >= SWEEP_BYTES.max(edge.files.len() as u64 * SWEEP_BYTES_PER_FILE) {
            edge.bytes = 0;
            for (attempt, stretch) in edge.files.iter_mut().filter(|(_, s)| s.gone < s.read) {
                let path = edge_path(folder, attempt, port.output).into();
                holes.push(Hole { path, from: stretch.gone, to: stretch.read });
                stretch.gone = stretch.read;
            }
        }
    }

    /// Frees all outputs of an attempt, which must have no further readers.
    pub(super) fn remove(&self, attempt: &AttemptId, outputs: u32) {
        for output in 0..outputs {
            if !self.in_memory_outputs.release(&output_identity(attempt, output)) {
                // Empty outputs have no file, and what cannot be removed now goes with the folder.
                let _ = std::fs::remove_file(edge_path(&self.folder, attempt, output));
            }
        }
    }
}

/// Returns parts of files to the system. On a file system without this call they stay until the files are removed.
pub(super) fn punch_holes(holes: Vec<Hole>) {
    for Hole { path, from, to } in holes {
        // The file may be gone already.
        let Ok(file) = regular_file::open_with(OpenOptions::new().write(true), &path) else { continue };
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if fallocate(&file, flags, from, to - from).is_err() {
            return;
        }
    }
}

/// The local segments of a task's inputs.
pub(super) fn locate(root: &Path, in_memory_outputs: &InMemoryOutputs, refs: &[SegmentRef]) -> Vec<LocalSegment> {
    let wanted = refs.iter().map(|r| (output_identity(&r.attempt, r.output), &r.segment));
    in_memory_outputs.locate(wanted, |at| edge_path(root, &refs[at].attempt, refs[at].output))
}

/// Path of a file of an attempt, in the folder that all attempts share.
pub(super) fn own_file(root: &Path, attempt: &AttemptId, name: &str) -> PathBuf {
    root.join(format!("{}{name}", names::attempt_prefix(attempt)))
}

/// Path of an output, or the path that it would have if it were not kept in memory.
fn edge_path(root: &Path, attempt: &AttemptId, output: u32) -> PathBuf {
    own_file(root, attempt, &names::edge_file(output))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::MetadataExt;
    use windrow_model::{Epoch, Incarnation, Segment, WorkerId};

    const PORT: Port = Port { stage: StageId(0), output: 0 };

    fn attempt(index: u32) -> AttemptId {
        let task = TaskId { job: JobId(uuid::Uuid::nil()), stage: PORT.stage, index };
        AttemptId { task, number: 0, epoch: Epoch(1), incarnation: Incarnation(1) }
    }

    /// Files of one edge, given by the lengths of their segments.
    fn files(lengths: &[Vec<u64>]) -> Vec<Vec<SegmentRef>> {
        let file = |(index, lengths): (usize, &Vec<u64>)| {
            let mut offset = 0;
            let segment = |(partition, length): (usize, &u64)| {
                let partition = partition as u32;
                let segment =
                    Segment { partition, offset, length: *length, records: 1, raw_length: *length, digest: 0 };
                offset += length;
                SegmentRef { worker: WorkerId(uuid::Uuid::nil()), attempt: attempt(index as u32), output: 0, segment }
            };
            lengths.iter().enumerate().map(segment).filter(|s| s.segment.length > 0).collect()
        };
        lengths.iter().enumerate().map(file).collect()
    }

    proptest! {
        /// In any reading order, only read parts are freed, and in the end all but the last sweep.
        #[test]
        fn only_read_parts_are_freed(
            lengths in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0u64), 1..40_000_000u64], 12), 1..4),
            order in Just((0..12u32).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let files = files(&lengths);
            let mut outputs = Outputs::new(JobId(uuid::Uuid::nil()), Path::new("scratch"), Memory::new(0, 1));
            let mut gone: HashMap<Arc<Path>, u64> = HashMap::new();
            let mut read = Vec::new();
            for partition in order {
                let mine = files.iter().flatten().filter(|s| s.segment.partition == partition);
                let mut holes = Vec::new();
                outputs.release(PORT, partition, mine, &mut holes);
                read.push(partition);
                for hole in holes {
                    let gone = gone.entry(hole.path.clone()).or_default();
                    prop_assert_eq!(hole.from, *gone, "without gaps");
                    prop_assert!(hole.from < hole.to && hole.to.is_multiple_of(ALIGN));
                    *gone = hole.to;
                }
                for segment in files.iter().flatten().filter(|s| !read.contains(&s.segment.partition)) {
                    let path = edge_path(Path::new("scratch"), &segment.attempt, 0);
                    prop_assert!(gone.get(&*path).is_none_or(|gone| *gone <= segment.segment.offset));
                }
            }
            let all: u64 = lengths.iter().flatten().sum();
            let gone: u64 = gone.values().sum();
            let kept = SWEEP_BYTES + lengths.len() as u64 * ALIGN;
            prop_assert!(gone + kept >= all, "{gone} of {all}");
        }
    }

    #[test]
    fn partitions_read_in_order_are_freed_as_read() {
        let files = files(&[vec![32 << 20; 8], vec![32 << 20; 8]]);
        let mut outputs = Outputs::new(JobId(uuid::Uuid::nil()), Path::new("scratch"), Memory::new(0, 1));
        let mut holes = Vec::new();
        for partition in 0..8 {
            let mine = files.iter().flatten().filter(|s| s.segment.partition == partition);
            outputs.release(PORT, partition, mine, &mut holes);
        }
        assert_eq!(holes.len(), 16);
        assert_eq!(holes.iter().map(|h| h.to - h.from).sum::<u64>(), 2 * 8 * (32 << 20));
    }

    #[test]
    fn hole_frees_space_and_keeps_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        let bytes: Vec<u8> = (0..1u32 << 18).flat_map(|i| i.to_le_bytes()).collect();
        std::fs::write(&path, &bytes).unwrap();
        std::fs::File::open(&path).unwrap().sync_all().unwrap();
        let before = path.metadata().unwrap().blocks();
        let to = 8 * ALIGN;
        let missing = Hole { path: folder.path().join("gone").into(), from: 0, to };
        punch_holes(vec![missing, Hole { path: path.clone().into(), from: 0, to }]);
        assert!(std::fs::read(&path).unwrap()[to as usize..] == bytes[to as usize..]);
        let after = path.metadata().unwrap().blocks();
        // Not every file system supports this.
        assert!(after == before || after <= before - to / 512, "{before} to {after} blocks");
    }
}
