//! Outputs of other tasks that are on this machine and are read where they are.
//!
//! The worker names them once for each version of a stage's table. The first reader reads their indexes, and all readers
//! share what it has found, and the mappings of the files.

use super::fetched::Maker;
use super::{bad, lock, path_of};
use crate::error::Result;
use crate::task::failure::{LostOutput, TaskError, TaskResult};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use windrow_engine::{LocalSegment, MappedFiles};
use windrow_format::block::{FormatError, Identity};
use windrow_format::stage_index::{OutputImage, StageIndex, UnreadableOutput};
use windrow_model::{EdgePort, Epoch, Failure, JobId, Output, Partitions, Plan, Port, StageId, TableVersion};
use windrow_proto::v1;

/// The part of the process's memory that indexes may use. It comes on top of that of the tasks.
const INDEX_PART: u64 = 32;
/// The least of it in bytes: the indexes of 400,000 small segments.
const INDEX_BYTES_MIN: u64 = 4 << 20;

/// The outputs in place, for each port.
#[derive(Debug)]
pub(super) struct Tables {
    by_port: Mutex<HashMap<Port, Arc<PlacedOutputs>>>,
    /// Bytes of memory for the indexes of all ports.
    bytes_max: usize,
    /// Counts uses of tables.
    clock: AtomicU64,
    files: MappedFiles,
}

/// The outputs of one port that are in place.
#[derive(Debug)]
pub(super) struct PlacedOutputs {
    port: Port,
    version: TableVersion,
    partitions: u32,
    /// By ascending task; the images of the index are in the same order.
    makers: Arc<[Maker]>,
    /// The job, which the first reader tells.
    job: Arc<OnceLock<JobId>>,
    index: StageIndex,
    /// The clock at the last use.
    used: AtomicU64,
}

impl Tables {
    /// No outputs, in a process with this memory.
    pub(super) fn new(memory_bytes: u64) -> Tables {
        Tables::with_index_bytes((memory_bytes / INDEX_PART).max(INDEX_BYTES_MIN) as usize)
    }

    /// No outputs. Indexes of later ones keep at most `bytes_max` bytes of memory.
    fn with_index_bytes(bytes_max: usize) -> Tables {
        let files = MappedFiles::new(MappedFiles::KEPT_MAX);
        Tables { by_port: Mutex::default(), bytes_max, clock: AtomicU64::new(0), files }
    }

    /// Takes the outputs of a port; those of another version of its table are dropped once their last reader has ended.
    ///
    /// # Errors
    /// The frame is not valid.
    pub(super) fn put(&self, frame: v1::OutputsInPlace, plan: &Plan) -> Result<()> {
        // Two tables fit into the memory, because a join reads two.
        let outputs = PlacedOutputs::new(frame, plan, self.bytes_max / 2)?;
        let replaced = lock(&self.by_port).insert(outputs.port, Arc::new(outputs));
        if replaced.is_some() {
            let tables: Vec<_> = lock(&self.by_port).values().cloned().collect();
            let paths: HashSet<&Path> = tables.iter().flat_map(|table| table.paths()).collect();
            self.files.retain(|path| paths.contains(path));
        }
        Ok(())
    }

    /// The outputs in place of a port, none if there are no such outputs. `expected`: their number.
    ///
    /// # Errors
    /// There are more or fewer for this version of the table.
    pub(super) fn get(&self, port: &EdgePort, expected: u32) -> Result<Option<Arc<PlacedOutputs>>> {
        let known = lock(&self.by_port).get(&port.port).filter(|known| known.version == port.version).cloned();
        let number = known.as_ref().map_or(0, |known| known.makers.len());
        match known {
            _ if number != expected as usize => {
                Err(bad(format!("{expected} outputs are in place for this task, and {number} in its table")))
            }
            Some(known) if known.partitions != port.partitions => {
                Err(bad(format!("it has {} partitions, and {} in its table", port.partitions, known.partitions)))
            }
            known => Ok(known),
        }
    }

    /// The segments of a partition, by ascending task. The first call reads the indexes of all outputs; calls for other ports
    /// do not wait for that. Linear in the number of segments after it.
    ///
    /// # Errors
    /// An output cannot be read; the error names it.
    pub(super) fn segments(
        &self,
        outputs: &PlacedOutputs,
        job: JobId,
        partition: u32,
    ) -> TaskResult<Vec<LocalSegment>> {
        outputs.job.get_or_init(|| job);
        let found = outputs.index.partition(partition).map_err(|e| outputs.unreadable(job, &e))?;
        outputs.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        self.bound_memory(outputs);
        let images = outputs.index.images();
        let mut segments: Vec<LocalSegment> = found
            .iter()
            .map(|(position, segment)| {
                let position = *position as usize;
                outputs.makers[position].local(job, outputs.port, &images[position].file, segment)
            })
            .collect();
        self.files.attach(&mut segments).map_err(|e| TaskError::of_input(e, &segments))?;
        Ok(segments)
    }

    /// Drops what the indexes of other ports keep, those first that were not used for longest, until the rest fits.
    fn bound_memory(&self, used_now: &PlacedOutputs) {
        let by_port = lock(&self.by_port);
        let mut bytes: usize = by_port.values().map(|table| table.index.memory()).sum();
        if bytes <= self.bytes_max {
            return;
        }
        let mut others: Vec<_> = by_port.values().filter(|table| !std::ptr::eq(&***table, used_now)).collect();
        others.sort_by_key(|table| table.used.load(Ordering::Relaxed));
        for table in others {
            if bytes <= self.bytes_max {
                return;
            }
            bytes = bytes.saturating_sub(table.index.memory());
            table.index.forget();
        }
    }
}

impl PlacedOutputs {
    fn new(frame: v1::OutputsInPlace, plan: &Plan, index_bytes: usize) -> Result<PlacedOutputs> {
        let port = Port { stage: StageId(frame.stage), output: frame.output };
        let wrong =
            |what: &str| bad(format!("outputs in place of output {} of stage {}: {what}", port.output, port.stage));
        let output = plan.stages.get(port.stage.0 as usize).and_then(|stage| stage.outputs.get(port.output as usize));
        if !matches!(output, Some(Output::Edge { .. })) {
            return Err(wrong("the plan has no such edge"));
        }
        if !(1..=Partitions::MAX).contains(&frame.partitions) {
            return Err(wrong("the number of partitions is impossible"));
        }
        let v1::OutputsInPlace { files, task, number, epoch, file, base, length, .. } = frame;
        if [number.len(), epoch.len(), file.len(), base.len(), length.len()].iter().any(|n| *n != task.len()) {
            return Err(wrong("the lists have different lengths"));
        }
        if !task.is_sorted_by(|a, b| a < b) {
            return Err(wrong("the tasks do not ascend"));
        }
        let files: Vec<Arc<Path>> = files.iter().map(|path| path_of(path).into()).collect();
        let image = |((file, base), length): ((u32, u64), u64)| {
            let file = files.get(file as usize).cloned().ok_or_else(|| wrong("a file is not in the list"))?;
            let ends = base.checked_add(length).is_some();
            ends.then_some(OutputImage { file, base, length }).ok_or_else(|| wrong("an image ends beyond every file"))
        };
        let images: Result<Vec<OutputImage>> = file.into_iter().zip(base).zip(length).map(image).collect();
        let makers = task.into_iter().zip(number).zip(epoch);
        let makers: Arc<[Maker]> = makers.map(|((task, number), epoch)| Maker { task, number, epoch }).collect();
        let job = Arc::new(OnceLock::new());
        let owner = {
            let (makers, job) = (makers.clone(), job.clone());
            move |position: u32| {
                // The first reader sets it before it asks the index.
                let job = job.get().copied().unwrap_or(JobId::from_bytes([0; 16]));
                Identity::of_output(&makers[position as usize].attempt(job, port), port.output)
            }
        };
        Ok(PlacedOutputs {
            port,
            version: TableVersion { epoch: Epoch(frame.table_epoch), reopened: frame.reopened },
            partitions: frame.partitions,
            makers,
            job,
            index: StageIndex::new(images?, frame.partitions, index_bytes, owner),
            used: AtomicU64::new(0),
        })
    }

    /// Returns whether the output of this task is in place. Logarithmic.
    pub(super) fn holds(&self, task: u32) -> bool {
        self.makers.binary_search_by_key(&task, |maker| maker.task).is_ok()
    }

    /// Paths of the files; neighbours in one file count once.
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let runs = self.index.images().chunk_by(|a, b| Arc::ptr_eq(&a.file, &b.file));
        runs.map(|images| &*images[0].file)
    }

    /// The error of a reader that has found an index missing or damaged.
    fn unreadable(&self, job: JobId, e: &UnreadableOutput) -> TaskError {
        let maker = self.makers[e.position as usize];
        let lost = LostOutput { attempt: maker.attempt(job, self.port), output: self.port.output };
        let failure = Failure::new(e.source.code(), e.to_string());
        TaskError { lost: is_lost(&e.source).then(|| Box::new(lost)), ..TaskError::from(failure) }
    }
}

/// Whether an error of an index is one of the output, and not of this process (as a lack of descriptors is).
fn is_lost(e: &FormatError) -> bool {
    match e {
        FormatError::Io(e) => e.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_format::codec::Codec;
    use windrow_format::shuffle::ShuffleWriter;

    const JOB: JobId = JobId(uuid::Uuid::nil());

    /// An output with one record in each of 100 partitions.
    fn outputs(folder: &Path, stage: u32) -> PlacedOutputs {
        let port = Port { stage: StageId(stage), output: 0 };
        let maker = Maker { task: 0, number: 0, epoch: 0 };
        let path = folder.join(format!("of-{stage}"));
        let identity = Identity::of_output(&maker.attempt(JOB, port), 0);
        let mut writer = ShuffleWriter::create(&path, identity, Codec::None).unwrap();
        (0..100).for_each(|partition| writer.push(partition, b"key", b"value").unwrap());
        writer.finish().unwrap();
        let length = path.metadata().unwrap().len();
        let images = vec![OutputImage { file: path.into(), base: 0, length }];
        PlacedOutputs {
            port,
            version: TableVersion::default(),
            partitions: 100,
            makers: [maker].into(),
            job: Arc::default(),
            index: StageIndex::new(images, 100, usize::MAX, move |_| identity),
            used: AtomicU64::new(0),
        }
    }

    #[test]
    fn indexes_that_were_not_used_for_longest_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let one = outputs(folder.path(), 0);
        let bytes = {
            one.index.partition(0).unwrap();
            one.index.memory()
        };
        let tables = Tables::with_index_bytes(2 * bytes);
        let all: Vec<_> = (0..4).map(|stage| Arc::new(outputs(folder.path(), stage))).collect();
        all.iter().for_each(|table| drop(lock(&tables.by_port).insert(table.port, table.clone())));
        let kept = || all.iter().map(|table| table.index.memory() > 0).collect::<Vec<_>>();
        let read = |stage: usize| assert_eq!(tables.segments(&all[stage], JOB, 7).unwrap().len(), 1);
        (0..2).for_each(read);
        assert_eq!(kept(), [true, true, false, false]);
        read(0);
        read(2);
        assert_eq!(kept(), [true, false, true, false]);
        read(1);
        assert_eq!(kept(), [false, true, true, false]);
    }

    #[test]
    fn files_of_a_replaced_table_are_not_kept_mapped() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (outputs(folder.path(), 0), outputs(folder.path(), 1));
        let [path, other_path] = [&one, &other].map(|of| of.index.images()[0].file.clone());
        let tables = Tables::with_index_bytes(1 << 20);
        for table in [Arc::new(one), Arc::new(other)] {
            lock(&tables.by_port).insert(table.port, table.clone());
            tables.segments(&table, JOB, 0).unwrap();
        }
        // The mapping is the same as long as it is kept.
        let mapped = |path| tables.files.get(path, 1).unwrap();
        let before = [mapped(&path), mapped(&other_path)];
        let plan = crate::run::executor::tests::program().plan;
        tables.put(v1::OutputsInPlace { partitions: 1, ..v1::OutputsInPlace::default() }, &plan).unwrap();
        assert!(!Arc::ptr_eq(&before[0], &mapped(&path)) && Arc::ptr_eq(&before[1], &mapped(&other_path)));
    }

    #[test]
    fn lack_of_descriptors_is_no_fault_of_an_output() {
        let error = |errno: rustix::io::Errno| FormatError::Io(errno.into());
        assert!(is_lost(&error(rustix::io::Errno::IO)) && is_lost(&FormatError::Truncated));
        assert!(!is_lost(&error(rustix::io::Errno::MFILE)) && !is_lost(&error(rustix::io::Errno::NOMEM)));
    }
}
