//! How far the running tasks of a run in one process are: by the crumbs of their threads, as a worker reads them of its executors.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use windrow_format::crumbs::Slot;
use windrow_model::{AttemptId, Chunk, Task, TaskInput};
use windrow_scheduler::Progress;

/// The threads of the running attempts. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Positions(Arc<Mutex<HashMap<AttemptId, Position>>>);

struct Position {
    thread: Slot<'static>,
    /// What the attempt reads, if it reads files.
    chunk: Option<Chunk>,
}

impl Positions {
    /// Runs a task on this thread. It shows as running meanwhile.
    pub(super) fn during<X>(&self, task: &Task, run: impl FnOnce() -> X) -> X {
        let chunk = task.inputs.iter().find_map(|input| match input {
            TaskInput::Chunk(chunk) => Some(chunk.clone()),
            _ => None,
        });
        self.lock().insert(task.attempt, Position { thread: windrow_engine::blame::slot(), chunk });
        let ended = run();
        self.lock().remove(&task.attempt);
        ended
    }

    /// The progress of all running attempts.
    pub(super) fn progress(&self) -> Vec<Progress> {
        let running = self.lock();
        let one = |(attempt, position): (&AttemptId, &Position)| {
            // The thread has not begun it, or is at one that has begun since.
            let now = position.thread.now().filter(|now| now.attempt == *attempt)?;
            let permille = now.permille(position.chunk.as_ref());
            Some(Progress { attempt: *attempt, permille, mark: now.step(), waits: false, records: now.records })
        };
        running.iter().filter_map(one).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AttemptId, Position>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use windrow_model::{Epoch, FileIdentity, FileRange, Incarnation, JobId, StageId, TaskId};

    fn task(inputs: Vec<TaskInput>) -> Task {
        let task = TaskId { job: JobId::from_bytes([1; 16]), stage: StageId(0), index: 0 };
        let attempt = AttemptId { task, number: 0, epoch: Epoch(1), incarnation: Incarnation(1) };
        Task { attempt, inputs, outputs: Vec::new(), job_input_bytes: 0, skip_keys: Vec::new() }
    }

    #[test]
    fn running_task_shows_its_share_and_records() {
        let path = PathBuf::from("/in");
        let identity = FileIdentity { length: 400, ..FileIdentity::default() };
        let range = FileRange {
            path: path.clone(),
            offset: 100,
            length: 300,
            identity,
            content: None,
            local: None,
            as_is: false,
        };
        let chunk = Chunk { ranges: vec![range], ..Chunk::default() };
        let positions = Positions::default();
        let shown = || positions.progress().iter().map(|p| (p.permille, p.records)).collect::<Vec<_>>();
        let task = task(vec![TaskInput::Chunk(chunk)]);
        positions.during(&task, || {
            assert_eq!(shown(), [], "it has not begun");
            let slot = windrow_engine::blame::slot();
            slot.begin(&task.attempt);
            slot.file(&path, 400);
            slot.record(250);
            slot.has_read(7);
            assert_eq!(shown(), [(500, 7)]);
            slot.end();
        });
        assert_eq!(shown(), []);
        // A reader of other tasks' records.
        positions.during(&task, || {
            let slot = windrow_engine::blame::slot();
            slot.begin(&task.attempt);
            slot.reads(40);
            (0..10).for_each(|_| slot.has_read_one());
            assert_eq!(shown(), [(250, 10)]);
            slot.end();
        });
    }
}
