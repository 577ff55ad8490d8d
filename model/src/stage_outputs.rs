//! The table of a stage's outputs: which attempt of each task counts, and which worker holds what it wrote.
//!
//! The scheduler makes it when the stage is done, and again whenever the stage is done again. A worker gets it once, with
//! the first reader; all readers on it share it.

use crate::ids::{AttemptId, Epoch, Incarnation, JobId, StageId, TaskId, WorkerId};
use crate::mix::mixed;
use std::collections::HashMap;

/// A state of a stage's outputs. Two tables of a stage with equal versions are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableVersion {
    /// Epoch of the coordinator that made the table.
    pub epoch: Epoch,
    /// How often the stage had been done and reopened in that epoch.
    pub reopened: u64,
}

/// A worker, with what the attempts that it holds have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The worker that holds the outputs.
    pub worker: WorkerId,
    /// Its incarnation in which the attempts ran.
    pub incarnation: Incarnation,
    /// Epoch of the coordinator that started them.
    pub epoch: Epoch,
}

/// The attempt of a task that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputEntry {
    /// Index in [`StageOutputs::origins`].
    pub origin: u32,
    /// Number of the attempt.
    pub number: u32,
}

/// The outputs of all tasks of a done stage: about ten bytes for each task, however many partitions there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageOutputs {
    /// The job.
    pub job: JobId,
    /// The stage.
    pub stage: StageId,
    /// Which state of the outputs this is.
    pub version: TableVersion,
    /// Workers and incarnations.
    pub origins: Vec<Origin>,
    /// By task: none if the task has written nothing for other tasks, or if no reader needs what it wrote.
    pub entries: Vec<Option<OutputEntry>>,
    /// By output of the stage: a digest of what all tasks have written to it.
    pub digests: Vec<u64>,
}

impl StageOutputs {
    /// The table of a stage with these outputs by task. Linear in their number.
    pub fn new(
        job: JobId,
        stage: StageId,
        version: TableVersion,
        outputs: impl Iterator<Item = Option<(WorkerId, AttemptId)>>,
        digests: Vec<u64>,
    ) -> StageOutputs {
        let mut origins = Vec::new();
        let mut known: HashMap<Origin, u32> = HashMap::new();
        let entries = outputs.map(|output| {
            let (worker, attempt) = output?;
            let origin = Origin { worker, incarnation: attempt.incarnation, epoch: attempt.epoch };
            let index = *known.entry(origin).or_insert_with(|| {
                origins.push(origin);
                origins.len() as u32 - 1
            });
            Some(OutputEntry { origin: index, number: attempt.number })
        });
        let entries = entries.collect();
        StageOutputs { job, stage, version, origins, entries, digests }
    }

    /// The attempt of a task that counts, and its holder.
    pub fn attempt(&self, task: u32) -> Option<(WorkerId, AttemptId)> {
        let OutputEntry { origin, number } = (*self.entries.get(task as usize)?)?;
        let Origin { worker, incarnation, epoch } = *self.origins.get(origin as usize)?;
        let task = TaskId { job: self.job, stage: self.stage, index: task };
        Some((worker, AttemptId { task, number, epoch, incarnation }))
    }

    /// All attempts that count, in the order of the tasks.
    pub fn attempts(&self) -> impl Iterator<Item = (WorkerId, AttemptId)> + '_ {
        (0..self.entries.len() as u32).filter_map(|task| self.attempt(task))
    }

    /// The workers that hold outputs.
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> + '_ {
        self.origins.iter().map(|origin| origin.worker)
    }
}

/// A digest of what the tasks of a stage have written to one output, task by task.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutputsDigest(u64);

impl OutputsDigest {
    /// Adds the output of the next task. `digest` is that of its [`EdgeReport`](crate::EdgeReport). An output of a
    /// nondeterministic stage counts as the same only if it is of the same attempt.
    pub fn add(&mut self, attempt: &AttemptId, digest: u64, deterministic: bool) {
        self.0 = mixed(mixed(self.0, u64::from(attempt.task.index)), digest);
        if !deterministic {
            self.0 = mixed(self.0, u64::from(attempt.number));
            self.0 = mixed(mixed(self.0, attempt.epoch.0), attempt.incarnation.0);
        }
    }

    /// The digest of all outputs so far.
    pub fn get(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(index: u32, number: u32, incarnation: u64) -> AttemptId {
        let task = TaskId { job: JobId::from_bytes([1; 16]), stage: StageId(2), index };
        AttemptId { task, number, epoch: Epoch(3), incarnation: Incarnation(incarnation) }
    }

    #[test]
    fn table_names_every_attempt_and_its_holder() {
        let [a, b] = [1, 2].map(|n| WorkerId::from_bytes([n; 16]));
        let outputs = [Some((a, attempt(0, 0, 1))), None, Some((b, attempt(2, 4, 1))), Some((a, attempt(3, 1, 2)))];
        let job = JobId::from_bytes([1; 16]);
        let table = StageOutputs::new(job, StageId(2), TableVersion::default(), outputs.into_iter(), vec![5]);
        assert_eq!((0..5).map(|task| table.attempt(task)).collect::<Vec<_>>()[..4], outputs);
        assert_eq!((table.attempt(4), table.origins.len(), table.attempts().count()), (None, 3, 3));
    }

    #[test]
    fn digest_ignores_attempts_of_deterministic_stages() {
        let digest = |number, digest, deterministic| {
            let mut all = OutputsDigest::default();
            all.add(&attempt(0, number, 1), digest, deterministic);
            all.get()
        };
        assert_eq!(digest(0, 7, true), digest(1, 7, true));
        assert_ne!(digest(0, 7, true), digest(0, 8, true));
        assert_ne!(digest(0, 7, false), digest(1, 7, false));
    }
}
