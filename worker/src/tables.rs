//! The tables of outputs that this worker has got in its session, and for each output of such a table, the places from which
//! tasks here read it.
//!
//! The places are found once for all readers: outputs of this worker and of its neighbours are used in place, all others
//! are fetched from their holder, partition by partition.

use crate::file_list::FileList;
use crate::wanted::WantedOutputs;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::OnceCell;
use windrow_format::stage_index::OutputImage;
use windrow_model::{AttemptId, EdgePort, JobId, OutputRef, StageId, StageOutputs, TableVersion, WorkerId};
use windrow_proto::convert::path_to_bytes;
use windrow_proto::v1;

/// The places of one output of all tasks of a stage.
#[derive(Debug)]
pub(crate) struct Places {
    /// Different for any two in this process.
    pub id: u64,
    /// Outputs of files on this machine, by ascending task.
    pub in_place: Vec<(AttemptId, OutputImage)>,
    /// What is fetched, by holder.
    pub remote: Vec<(WorkerId, Arc<WantedOutputs>)>,
}

impl Places {
    /// Places with a new id.
    pub(crate) fn new(in_place: Vec<(AttemptId, OutputImage)>, remote: Vec<(WorkerId, Arc<WantedOutputs>)>) -> Places {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Places { id: LAST.fetch_add(1, Ordering::Relaxed) + 1, in_place, remote }
    }

    /// What an executor has to know of the outputs in place.
    pub(crate) fn wire(&self, port: &EdgePort) -> v1::OutputsInPlace {
        let mut files = FileList::default();
        let file = self.in_place.iter().map(|(_, image)| files.number(&image.file)).collect();
        v1::OutputsInPlace {
            stage: port.port.stage.0,
            output: port.port.output,
            table_epoch: port.version.epoch.0,
            reopened: port.version.reopened,
            files: files.files().iter().map(|file| path_to_bytes(file)).collect(),
            task: self.in_place.iter().map(|(attempt, _)| attempt.task.index).collect(),
            number: self.in_place.iter().map(|(attempt, _)| attempt.number).collect(),
            epoch: self.in_place.iter().map(|(attempt, _)| attempt.epoch.0).collect(),
            file,
            base: self.in_place.iter().map(|(_, image)| image.base).collect(),
            length: self.in_place.iter().map(|(_, image)| image.length).collect(),
            partitions: port.partitions,
        }
    }
}

/// A table, with the places of its outputs as far as tasks have read them.
#[derive(Debug)]
pub(crate) struct Table {
    /// The table.
    pub outputs: StageOutputs,
    places: std::sync::Mutex<BTreeMap<u32, Arc<OnceCell<Arc<Places>>>>>,
}

impl Table {
    /// A table whose outputs have not been looked for.
    pub(crate) fn new(outputs: StageOutputs) -> Table {
        Table { outputs, places: std::sync::Mutex::default() }
    }

    /// The places of an output: found once, while other readers wait.
    pub(crate) fn places(&self, output: u32) -> Arc<OnceCell<Arc<Places>>> {
        let mut places = self.places.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        places.entry(output).or_default().clone()
    }

    /// Forgets the places of an output, since a reader could not read something there. The next reader looks again.
    pub(crate) fn forget_places(&self, output: u32, id: u64) {
        let mut places = self.places.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if places.get(&output).and_then(|cell| cell.get()).is_some_and(|found| found.id == id) {
            places.remove(&output);
        }
    }

    /// Forgets all places if this attempt of this worker counts: it is not held any more.
    pub(crate) fn forget_attempt(&self, worker: WorkerId, attempt: AttemptId) {
        if self.outputs.attempt(attempt.task.index) == Some((worker, attempt)) {
            self.places.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        }
    }

    /// The full name of an output that an executor could not read: it does not know in which incarnation an attempt ran.
    pub(crate) fn lost(&self, of: &AttemptId, output: u32) -> Option<OutputRef> {
        let (worker, attempt) = self.outputs.attempt(of.task.index)?;
        let same = attempt.task == of.task && (attempt.number, attempt.epoch) == (of.number, of.epoch);
        same.then_some(OutputRef { worker, attempt, output })
    }
}

/// The newest table of each stage.
#[derive(Debug, Default)]
pub(crate) struct Tables(HashMap<(JobId, StageId), Arc<Table>>);

impl Tables {
    /// Takes a table from the coordinator.
    pub(crate) fn insert(&mut self, outputs: StageOutputs) {
        self.0.insert((outputs.job, outputs.stage), Arc::new(Table::new(outputs)));
    }

    /// The table of this version.
    pub(crate) fn get(&self, job: JobId, stage: StageId, version: TableVersion) -> Option<Arc<Table>> {
        self.0.get(&(job, stage)).filter(|table| table.outputs.version == version).cloned()
    }

    /// An attempt of this worker is not held any more.
    pub(crate) fn forget_attempt(&self, worker: WorkerId, attempt: AttemptId) {
        if let Some(table) = self.0.get(&(attempt.task.job, attempt.task.stage)) {
            table.forget_attempt(worker, attempt);
        }
    }

    /// Forgets the tables of a job.
    pub(crate) fn forget_job(&mut self, job: JobId) {
        self.0.retain(|(of, _), _| *of != job);
        self.0.shrink_to_fit();
    }

    /// Forgets all: the next session begins without tables.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
