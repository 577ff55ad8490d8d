//! Where the outputs of finished tasks are in a run in one process, for the threads of its tasks.
//!
//! An output is in memory, or a file of its own. Outputs in memory know their segments themselves
//! (`windrow_engine::InMemoryOutputs`); the indexes of the files of an edge are read once, when its first reader asks
//! (`windrow_format::stage_index`). So a task's report and a reader's assignment list no segments.

use super::files::edge_path;
use crate::run::task_run::Completed;
use crate::task::context::edge_identity;
use crate::task::failure::TaskResult;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use windrow_engine::{EngineError, Identity, InMemoryOutputs, LocalSegment, Memory};
use windrow_format::regular_file;
use windrow_format::stage_index::{OutputImage, StageIndex, UnreadableOutput};
use windrow_model::{AttemptId, EdgePort, JobId, OutputReport, Port, Task, TaskId, TaskInput};

/// The part of the memory of a run that the index of an edge may use.
const INDEX_PART: u64 = 64;
/// The least of it in bytes.
const INDEX_BYTES_MIN: u64 = 1 << 20;

/// Outputs of finished tasks. Threads share it.
pub(super) struct Shuffle {
    job: JobId,
    folder: PathBuf,
    pub in_memory_outputs: Arc<InMemoryOutputs>,
    index_bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    edges: HashMap<Port, Edge>,
    /// What running tasks read of files.
    reading: HashMap<TaskId, Vec<FilePart>>,
}

/// The outputs of a stage to one of its edges.
#[derive(Default)]
struct Edge {
    finished: Vec<FinishedOutput>,
    /// For its readers, which begin after its last task has finished.
    located: Option<Arc<LocatedEdge>>,
}

#[derive(Clone, Copy)]
struct FinishedOutput {
    attempt: AttemptId,
    /// Bytes of its file; none if it is in memory.
    file_bytes: Option<u64>,
}

/// A segment in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilePart {
    pub port: Port,
    pub file: Arc<Path>,
    /// Offset after its last byte.
    pub end: u64,
}

/// The outputs of all tasks of a stage to one of its edges.
struct LocatedEdge {
    /// Number and epoch of the attempt of each task.
    attempts: Vec<Option<(u32, u64)>>,
    /// Outputs in files, in task order.
    files: StageIndex,
    /// The attempt of each of those.
    of_file: Arc<[AttemptId]>,
}

impl Shuffle {
    /// Creates an empty set of a run with this memory; outputs that are not kept in it are files in `folder`.
    pub(super) fn new(job: JobId, folder: &Path, memory: Arc<Memory>, memory_bytes: u64) -> Shuffle {
        let index_bytes = (memory_bytes / INDEX_PART).max(INDEX_BYTES_MIN) as usize;
        let in_memory_outputs = Arc::new(InMemoryOutputs::new(memory, folder));
        Shuffle { job, folder: folder.to_path_buf(), in_memory_outputs, index_bytes, state: Mutex::default() }
    }

    /// The folder of files.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one call of a map or a list.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the outputs of an attempt that has finished, before its report reaches the scheduler.
    ///
    /// # Errors
    /// The length of a file cannot be read.
    pub(super) fn finished(&self, attempt: &AttemptId, completed: &Completed) -> TaskResult<()> {
        for (output, report) in (0u32..).zip(&completed.report.outputs) {
            let OutputReport::Edge(edge) = report else { continue };
            if edge.is_empty() {
                continue;
            }
            let file_bytes = match completed.in_files.contains(&output) {
                true => Some(length_of(&edge_path(&self.folder, attempt, output))?),
                false => None,
            };
            let port = Port { stage: attempt.task.stage, output };
            let mut state = self.state();
            let edge = state.edges.entry(port).or_default();
            edge.finished.push(FinishedOutput { attempt: *attempt, file_bytes });
            edge.located = None;
        }
        Ok(())
    }

    /// The segments of each of a task's inputs: those of the first port in the order of its tasks, then those of the next.
    /// Linear in their number, and in that of the outputs in memory.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub(super) fn segments(&self, task: &Task) -> TaskResult<Vec<Vec<LocalSegment>>> {
        let mut parts = Vec::new();
        let mut of_input = |input: &TaskInput| {
            let mut segments = Vec::new();
            if let TaskInput::Edge(edge) = input {
                for port in &edge.ports {
                    self.add_partition(port, task.attempt.task.index, &mut segments, &mut parts)?;
                }
            }
            Ok(segments)
        };
        let segments = task.inputs.iter().map(&mut of_input).collect::<TaskResult<_>>()?;
        if !parts.is_empty() {
            self.state().reading.insert(task.attempt.task, parts);
        }
        Ok(segments)
    }

    /// What a task has read of files. The second call returns nothing.
    pub(super) fn take_read(&self, task: TaskId) -> Vec<FilePart> {
        self.state().reading.remove(&task).unwrap_or_default()
    }

    /// Forgets the outputs to an edge, which has no further readers.
    pub(super) fn forget(&self, port: Port) {
        let forgotten = self.state().edges.remove(&port);
        drop(forgotten);
    }

    fn add_partition(
        &self,
        EdgePort { port, partitions, .. }: &EdgePort,
        partition: u32,
        segments: &mut Vec<LocalSegment>,
        parts: &mut Vec<FilePart>,
    ) -> TaskResult<()> {
        let located = self.located(*port, *partitions);
        let of = edge_identity(self.job, *port, partition);
        let in_memory = self.in_memory_outputs.partition(&of, |identity| located.counts(identity))?;
        let in_files = located.files.partition(partition).map_err(|UnreadableOutput { image, source, .. }| {
            EngineError::File { path: image.file.to_path_buf(), source }
        })?;
        let first = segments.len();
        segments.extend(in_memory);
        for (position, segment) in in_files {
            let (file, attempt) =
                (&located.files.images()[position as usize].file, &located.of_file[position as usize]);
            segments.push(LocalSegment::of(file.clone(), &segment, Identity::of_output(attempt, port.output)));
            parts.push(FilePart { port: *port, file: file.clone(), end: segment.offset + segment.length });
        }
        // Stable, and both lists are in task order.
        segments[first..].sort_by_key(|segment| segment.identity.task);
        Ok(())
    }

    fn located(&self, port: Port, partitions: u32) -> Arc<LocatedEdge> {
        let mut state = self.state();
        let Edge { finished, located } = state.edges.entry(port).or_default();
        let locate = || Arc::new(LocatedEdge::new(&self.folder, port, partitions, finished, self.index_bytes));
        located.get_or_insert_with(locate).clone()
    }
}

impl LocatedEdge {
    /// Reads no file.
    fn new(folder: &Path, port: Port, partitions: u32, finished: &[FinishedOutput], index_bytes: usize) -> LocatedEdge {
        let tasks = finished.iter().map(|output| output.attempt.task.index as usize + 1).max().unwrap_or(0);
        let mut attempts = vec![None; tasks];
        for FinishedOutput { attempt, .. } in finished {
            attempts[attempt.task.index as usize] = Some((attempt.number, attempt.epoch.0));
        }
        let mut files: Vec<(AttemptId, u64)> =
            finished.iter().filter_map(|output| Some((output.attempt, output.file_bytes?))).collect();
        files.sort_unstable_by_key(|(attempt, _)| attempt.task.index);
        let image = |(attempt, length): &(AttemptId, u64)| OutputImage {
            file: edge_path(folder, attempt, port.output).into(),
            base: 0,
            length: *length,
        };
        let images = files.iter().map(image).collect();
        let of_file: Arc<[AttemptId]> = files.into_iter().map(|(attempt, _)| attempt).collect();
        let owners = of_file.clone();
        let owner = move |position: u32| Identity::of_output(&owners[position as usize], port.output);
        LocatedEdge { attempts, files: StageIndex::new(images, partitions, index_bytes, owner), of_file }
    }

    fn counts(&self, of: &Identity) -> bool {
        self.attempts.get(of.task as usize).copied().flatten() == Some((of.attempt, of.epoch))
    }
}

fn length_of(path: &Path) -> Result<u64, EngineError> {
    let file = regular_file::open(path).map_err(EngineError::io("open", path))?;
    Ok(file.metadata().map_err(EngineError::io("read the length of", path))?.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use windrow_engine::{EdgeSpec, Pairs, Partitioning, PlainEdge, open_concat};
    use windrow_format::codec::Codec;
    use windrow_model::{EdgeInput, EdgeReport, Epoch, Incarnation, StageId, TableVersion, TaskOutput, TaskReport};

    fn job() -> JobId {
        JobId::from_bytes([3; 16])
    }

    fn attempt(stage: u32, index: u32) -> AttemptId {
        let task = TaskId { job: job(), stage: StageId(stage), index };
        AttemptId { task, number: 0, epoch: Epoch(1), incarnation: Incarnation(1) }
    }

    /// Runs a task that writes a value of this length for each key to its only output.
    fn write(shuffle: &Shuffle, memory: &Arc<Memory>, of: &AttemptId, partitions: u32, in_memory: bool, value: usize) {
        let mut edge = PlainEdge::new(EdgeSpec {
            folder: shuffle.folder.clone(),
            file: edge_path(&shuffle.folder, of, 0),
            identity: Identity::of_output(of, 0),
            partitioning: Partitioning::Hash(partitions),
            codec: Codec::None,
            share: memory.begin(2),
            any_order: false,
            in_memory_outputs: in_memory.then(|| shuffle.in_memory_outputs.clone()),
            spool: None,
        });
        for key in 0..partitions * 2 {
            edge.push(&key.to_be_bytes(), &vec![of.task.index as u8; value]).unwrap();
        }
        let result = edge.finish().unwrap();
        let report = OutputReport::Edge(EdgeReport::of(&result.segments, partitions));
        let report = TaskReport { outputs: vec![report], ..TaskReport::default() };
        let in_files = if result.has_file { vec![0] } else { Vec::new() };
        shuffle.finished(of, &Completed { report, spooled: Vec::new(), in_files }).unwrap();
    }

    fn reader(index: u32, ports: &[Port], partitions: u32) -> Task {
        let port = |port: &Port| EdgePort { port: *port, partitions, version: TableVersion::default(), digest: 0 };
        Task {
            attempt: attempt(9, index),
            inputs: vec![TaskInput::Edge(EdgeInput { ports: ports.iter().map(port).collect(), bytes: 0 })],
            outputs: vec![TaskOutput::Broadcast],
            job_input_bytes: 0,
            skip_keys: Vec::new(),
        }
    }

    /// The tasks of the records, in the order in which they are read.
    fn makers(segments: Vec<LocalSegment>) -> Vec<u8> {
        let mut pairs = open_concat(segments).unwrap();
        let mut makers = Vec::new();
        while let Some((_, value)) = pairs.peek() {
            makers.push(value[0]);
            pairs.advance().unwrap();
        }
        makers
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]
        #[test]
        fn records_come_by_port_and_task_wherever_they_are(
            tasks in prop::collection::vec((any::<bool>(), prop_oneof![Just(20usize), Just(9_000)]), 1..8),
            order in any::<prop::sample::Index>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let memory = Memory::new(64 << 20, 1);
            let shuffle = Shuffle::new(job(), folder.path(), memory.clone(), 64 << 20);
            for stage in [1, 0] {
                for at in 0..tasks.len() {
                    // Tasks end in any order.
                    let index = (at + order.index(tasks.len())) % tasks.len();
                    let (in_memory, value) = tasks[index];
                    write(&shuffle, &memory, &attempt(stage, index as u32), 4, in_memory, value);
                }
            }
            let ports = [0, 1].map(|stage| Port { stage: StageId(stage), output: 0 });
            let mut records = 0;
            for partition in 0..4 {
                let task = reader(partition, &ports, 4);
                let segments = shuffle.segments(&task).unwrap().remove(0);
                let stages: Vec<u32> = segments.iter().map(|s| s.identity.stage).collect();
                prop_assert!(stages.is_sorted());
                let [first, second] = [0, 1].map(|stage| {
                    makers(segments.iter().filter(|s| s.identity.stage == stage).cloned().collect())
                });
                prop_assert!(first.is_sorted() && first == second);
                records += first.len();
                let read = shuffle.take_read(task.attempt.task);
                let in_files = segments.iter().filter(|s| s.resident.is_none()).count();
                prop_assert_eq!(read.len(), in_files);
                prop_assert!(shuffle.take_read(task.attempt.task).is_empty());
            }
            prop_assert_eq!(records, tasks.len() * 8);
        }
    }

    #[test]
    fn missing_file_of_an_output_is_an_error_of_its_reader() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new(64 << 20, 1);
        let shuffle = Shuffle::new(job(), folder.path(), memory.clone(), 64 << 20);
        (0..3).for_each(|index| write(&shuffle, &memory, &attempt(0, index), 1, false, 10));
        let path = edge_path(folder.path(), &attempt(0, 1), 0);
        fs::remove_file(&path).unwrap();
        let port = Port { stage: StageId(0), output: 0 };
        let error = shuffle.segments(&reader(0, &[port], 1)).unwrap_err();
        assert_eq!(error.failure.code, windrow_model::Code::SegmentCorrupt);
        assert!(error.failure.message.contains(path.to_str().unwrap()), "{}", error.failure);
        shuffle.forget(port);
        assert!(shuffle.segments(&reader(0, &[port], 1)).unwrap()[0].is_empty());
    }

    #[test]
    fn output_of_another_attempt_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new(64 << 20, 1);
        let shuffle = Shuffle::new(job(), folder.path(), memory.clone(), 64 << 20);
        for number in 0..2 {
            write(&shuffle, &memory, &AttemptId { number, ..attempt(0, 5) }, 1, true, 10);
        }
        let segments = shuffle.segments(&reader(0, &[Port { stage: StageId(0), output: 0 }], 1)).unwrap().remove(0);
        assert_eq!(segments.iter().map(|s| s.identity.attempt).collect::<Vec<_>>(), [1]);
    }

    /// Small outputs are merged by the task that fills a batch, while others finish.
    #[test]
    fn outputs_finish_while_others_are_merged() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new(256 << 20, 4);
        let shuffle = Shuffle::new(job(), folder.path(), memory.clone(), 256 << 20);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (shuffle, memory) = (&shuffle, &memory);
                scope.spawn(move || {
                    (0..12).for_each(|n| write(shuffle, memory, &attempt(0, thread * 12 + n), 1_000, true, 1_000))
                });
            }
        });
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let segments = shuffle.segments(&reader(7, &[Port { stage: StageId(0), output: 0 }], 1_000)).unwrap().remove(0);
        assert_eq!(segments.iter().map(|s| s.identity.task).collect::<Vec<_>>(), (0..48).collect::<Vec<_>>());
    }
}
