//! Outputs for other tasks of a local run, and when they go.
//!
//! Nothing runs again here, so what all of its readers have read is of no use: a partition in memory goes at once, and of the files,
//! whose partitions lie in the order in which they are read, the beginning is given back to the system a stretch at a time. A large
//! shuffle then makes room for the output that is made from it, in the page cache and on the disk.

use crate::context::output_identity;
use crate::task_run::Program;
use rustix::fs::{FallocateFlags, fallocate};
use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use windrow_engine::{InMemoryOutputs, LocalSegment};
use windrow_format::names;
use windrow_model::{AttemptId, Escape, Input, Port, SegmentRef, StageId, Task, TaskId, TaskInput};

/// So much is given back at once.
const SWEEP_BYTES: u64 = 64 << 20;
/// And on average so much of each file, since each costs a few calls.
const SWEEP_BYTES_PER_FILE: u64 = 1 << 20;
/// Files are cut at multiples of this: the system gives back whole pages only.
const ALIGN: u64 = 64 << 10;

/// Outputs of finished tasks, in memory or in files.
pub(super) struct Outputs {
    folder: PathBuf,
    pub in_memory_outputs: Arc<InMemoryOutputs>,
    /// Tasks that have been started and are not done.
    reading: HashMap<TaskId, Arc<Task>>,
    edges: BTreeMap<Port, Released>,
}

/// What all readers of an edge have read.
#[derive(Default)]
struct Released {
    /// Every partition before this one.
    low: u32,
    /// Later ones, with the ends of their segments.
    ahead: BTreeMap<u32, Vec<(AttemptId, u64)>>,
    files: HashMap<AttemptId, Stretch>,
    /// Bytes that have been read and are still there.
    bytes: u64,
}

/// The beginning of a file.
#[derive(Default)]
struct Stretch {
    /// Up to here nobody reads it any more.
    read: u64,
    /// Up to here it has been given back.
    gone: u64,
}

/// A part of a file that goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hole {
    path: PathBuf,
    from: u64,
    to: u64,
}

impl Outputs {
    /// None yet; their files will lie in `folder`, those that are not held by `in_memory_outputs`.
    pub fn new(folder: &Path, in_memory_outputs: InMemoryOutputs) -> Self {
        let in_memory_outputs = Arc::new(in_memory_outputs);
        Outputs { folder: folder.to_path_buf(), in_memory_outputs, reading: HashMap::new(), edges: BTreeMap::new() }
    }

    /// A task starts to read.
    pub fn started(&mut self, task: &Arc<Task>) {
        self.reading.insert(task.attempt.task, task.clone());
    }

    /// This task is done. Lets go of what it has read if it was the last reader; says which parts of files go with that.
    pub fn done(&mut self, program: &Program, id: TaskId, is_done: impl Fn(TaskId) -> bool) -> Vec<Hole> {
        let Some(task) = self.reading.remove(&id) else { return Vec::new() };
        let mut holes = Vec::new();
        let stage = program.plan.stage(id.stage);
        for (input, told) in stage.inputs.iter().zip(&task.inputs) {
            let (Input::Edge { from }, TaskInput::Segments(segments)) = (input, told) else { continue };
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
        let Outputs { folder, in_memory_outputs, edges, .. } = self;
        let edge = edges.entry(port).or_default();
        let mut ends = Vec::new();
        for SegmentRef { attempt, output, segment, .. } in segments {
            if !in_memory_outputs.release_partition(&edge_path(folder, attempt, *output), partition) {
                ends.push((*attempt, segment.offset + segment.length));
            }
        }
        edge.ahead.insert(partition, ends);
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
                let path = edge_path(folder, attempt, port.output);
                holes.push(Hole { path, from: stretch.gone, to: stretch.read });
                stretch.gone = stretch.read;
            }
        }
    }

    /// Nobody reads any output of this attempt any more.
    pub fn remove(&self, attempt: &AttemptId, outputs: u32) {
        for path in (0..outputs).map(|output| edge_path(&self.folder, attempt, output)) {
            if !self.in_memory_outputs.release(&path) {
                // Empty outputs have no file, and what stays goes with the folder.
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// Gives parts of files back to the system. A file system that cannot do that keeps them until the files go.
pub(super) fn dig(holes: Vec<Hole>) {
    for Hole { path, from, to } in holes {
        // The file may be gone already.
        let Ok(file) = OpenOptions::new().write(true).open(&path) else { continue };
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if let Err(e) = fallocate(&file, flags, from, to - from) {
            return tracing::debug!("{}: {e}", path.escaped());
        }
    }
}

/// Where segments of a task's inputs are.
pub(super) fn locate(root: &Path, in_memory_outputs: &InMemoryOutputs, refs: &[SegmentRef]) -> Vec<LocalSegment> {
    let local = |r: &SegmentRef| {
        let path = edge_path(root, &r.attempt, r.output);
        let identity = output_identity(&r.attempt, r.output);
        let resident = in_memory_outputs.find(&path, &r.segment, identity);
        resident.unwrap_or_else(|| vec![LocalSegment::of(path, &r.segment, identity)])
    };
    refs.iter().flat_map(local).collect()
}

/// Where an output is, or would be if it were not kept in memory.
fn edge_path(root: &Path, attempt: &AttemptId, output: u32) -> PathBuf {
    root.join(names::attempt_folder(attempt)).join(names::edge_file(output))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::MetadataExt;
    use windrow_engine::Memory;
    use windrow_model::{Epoch, Incarnation, JobId, Segment, WorkerId};

    const PORT: Port = Port { stage: StageId(0), output: 0 };

    fn attempt(index: u32) -> AttemptId {
        let task = TaskId { job: JobId(uuid::Uuid::nil()), stage: PORT.stage, index };
        AttemptId { task, number: 0, epoch: Epoch(1), incarnation: Incarnation(1) }
    }

    /// Files of one edge, given as the lengths of their segments.
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
        /// In whatever order partitions are read, only what has been read goes, and in the end all but the last sweep.
        #[test]
        fn only_what_was_read_goes(
            lengths in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0u64), 1..40_000_000u64], 12), 1..4),
            order in Just((0..12u32).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let files = files(&lengths);
            let mut outputs = Outputs::new(Path::new("scratch"), InMemoryOutputs::new(Memory::new(0, 1)));
            let mut gone: HashMap<PathBuf, u64> = HashMap::new();
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
                    prop_assert!(gone.get(&path).is_none_or(|gone| *gone <= segment.segment.offset));
                }
            }
            let all: u64 = lengths.iter().flatten().sum();
            let gone: u64 = gone.values().sum();
            let kept = SWEEP_BYTES + lengths.len() as u64 * ALIGN;
            prop_assert!(gone + kept >= all, "{gone} of {all}");
        }
    }

    #[test]
    fn partitions_read_in_order_go_as_they_are_read() {
        let files = files(&[vec![32 << 20; 8], vec![32 << 20; 8]]);
        let mut outputs = Outputs::new(Path::new("scratch"), InMemoryOutputs::new(Memory::new(0, 1)));
        let mut holes = Vec::new();
        for partition in 0..8 {
            let mine = files.iter().flatten().filter(|s| s.segment.partition == partition);
            outputs.release(PORT, partition, mine, &mut holes);
        }
        assert_eq!(holes.len(), 16);
        assert_eq!(holes.iter().map(|h| h.to - h.from).sum::<u64>(), 2 * 8 * (32 << 20));
    }

    #[test]
    fn a_hole_gives_back_room_and_leaves_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        let bytes: Vec<u8> = (0..1u32 << 18).flat_map(|i| i.to_le_bytes()).collect();
        std::fs::write(&path, &bytes).unwrap();
        std::fs::File::open(&path).unwrap().sync_all().unwrap();
        let before = path.metadata().unwrap().blocks();
        let to = 8 * ALIGN;
        let missing = Hole { path: folder.path().join("gone"), from: 0, to };
        dig(vec![missing, Hole { path: path.clone(), from: 0, to }]);
        assert!(std::fs::read(&path).unwrap()[to as usize..] == bytes[to as usize..]);
        let after = path.metadata().unwrap().blocks();
        // Not every file system can do it.
        assert!(after == before || after <= before - to / 512, "{before} to {after} blocks");
    }
}
