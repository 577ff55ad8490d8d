//! Life of a stage: blocked → open → done, and open again when outputs are lost.
//!
//! A stage is blocked while a stage that it reads is not done, and done when all of its tasks are. A stage without
//! tasks (a source without chunks) is done from the start. It owns the queues and counts of its tasks; every change of
//! a task's state goes through the functions here, so that queues and counts agree with it. It knows nothing of
//! workers' slots.

use crate::job::Job;
use crate::planted::{self, Planted};
use crate::shuffle::PortIndex;
use crate::speculate::{Durations, Pace};
use crate::task::{Backup, Run, Task, TaskOutputs, TaskState};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use windrow_model::{Chunk, Incarnation, Input, Plan, StageId, TaskOutput, TaskReport, Time};

/// The stages that this one reads and that read it, by position, each named once.
#[derive(Default)]
pub(crate) struct Links {
    pub producers: Vec<usize>,
    pub readers: Vec<usize>,
    /// Those linked by segments, which can be lost; broadcasts cannot.
    pub edge_producers: Vec<usize>,
    pub edge_readers: Vec<usize>,
}

pub(crate) struct Stage {
    pub tasks: Vec<Task>,
    /// One for each task of a source stage; empty for others.
    pub chunks: Vec<Chunk>,
    pub outputs: Vec<TaskOutput>,
    /// It gives the same output for the same records.
    pub deterministic: bool,
    pub links: Links,
    /// Number of producing stages that are not done.
    pub blocked_by: usize,
    /// Tasks that wait for any worker.
    pub waiting: BTreeSet<usize>,
    /// Waiting tasks that avoid a worker on which they failed.
    pub picky: BTreeSet<usize>,
    pub done: usize,
    /// Number of tasks with a known output, including outputs that are lost by now.
    pub known_outputs: usize,
    /// Number of tasks with an attempt that runs or publishes.
    pub running: usize,
    /// Number of attempts that failed and were charged.
    pub failed: u64,
    pub bytes_done: u64,
    pub bytes_total: u64,
    /// Bytes that running attempts have read, by their latest reports: the sum over the tasks.
    pub bytes_running: u64,
    /// Durations of its finished attempts.
    pub durations: Durations,
    /// How often it was done and had to be reopened: its outputs are unchanged while this number is.
    pub reopened: u64,
    /// For each output, the holder of each segment: built when a reader first needs it.
    pub index: Vec<Option<PortIndex>>,
}

impl Stage {
    /// `tasks` is the number of tasks, `chunks` has one for each if it is a source stage.
    pub fn new(plan: &Plan, at: usize, outputs: Vec<TaskOutput>, tasks: usize, chunks: Vec<Chunk>) -> Self {
        let stage = &plan.stages[at];
        let once = |set: BTreeSet<usize>| -> Vec<usize> { set.into_iter().collect() };
        let edges_of = |reader: usize| {
            plan.stages[reader].inputs.iter().flat_map(|i| match i {
                Input::Edge { from } => &from[..],
                Input::Source(_) | Input::Broadcast { .. } => &[],
            })
        };
        let readers: Vec<usize> = plan.readers(StageId(at as u32)).map(|r| r.0 as usize).collect();
        let reads_edge = |r: &usize| edges_of(*r).any(|p| p.stage.0 as usize == at);
        let links = Links {
            producers: once(stage.reads().map(|p| p.stage.0 as usize).collect()),
            edge_readers: readers.iter().copied().filter(reads_edge).collect(),
            readers,
            edge_producers: once(edges_of(at).map(|p| p.stage.0 as usize).collect()),
        };
        Stage {
            tasks: std::iter::repeat_with(Task::new).take(tasks).collect(),
            deterministic: stage.deterministic,
            bytes_total: chunks.iter().map(Chunk::length).sum(),
            bytes_running: 0,
            chunks,
            blocked_by: links.producers.len(),
            links,
            waiting: (0..tasks).collect(),
            picky: BTreeSet::new(),
            done: 0,
            known_outputs: 0,
            running: 0,
            failed: 0,
            bytes_done: 0,
            durations: Durations::default(),
            reopened: 0,
            index: outputs.iter().map(|_| None).collect(),
            outputs,
        }
    }

    pub fn is_done(&self) -> bool {
        self.done == self.tasks.len()
    }

    pub fn has_sink(&self) -> bool {
        self.outputs.iter().any(|o| matches!(o, TaskOutput::Sink { .. }))
    }

    /// Whether a task could be given to a worker now.
    pub fn is_runnable(&self) -> bool {
        (self.blocked_by == 0 || planted::has(Planted::NoBarrier))
            && !(self.waiting.is_empty() && self.picky.is_empty())
    }
}

impl Job {
    /// Enqueues the task for a worker.
    pub fn enqueue(&mut self, s: usize, t: usize) {
        let stage = &mut self.stages[s];
        let task = &mut stage.tasks[t];
        task.state = TaskState::Waiting;
        if task.is_suspect() && !planted::has(Planted::SuspectShares) {
            self.suspects.insert((s, t));
        } else {
            if task.avoid.is_empty() { &mut stage.waiting } else { &mut stage.picky }.insert(t);
        }
        self.note_runnable(s);
    }

    /// Moves a waiting task to the right queue after it may have become a suspect or ceased to be one.
    pub fn requeue_waiting(&mut self, s: usize, t: usize) {
        if matches!(self.stages[s].tasks[t].state, TaskState::Waiting) {
            self.dequeue(s, t);
            self.enqueue(s, t);
        }
    }

    /// Starts an attempt of a waiting task.
    pub fn begin(&mut self, s: usize, t: usize, run: Run, bytes: u64, now: Time) {
        assert!(matches!(self.stages[s].tasks[t].state, TaskState::Waiting), "only a waiting task gets an attempt");
        self.adopt(s, t, run, bytes, now);
    }

    /// Gives a task without an attempt one that was started before.
    pub fn adopt(&mut self, s: usize, t: usize, run: Run, bytes: u64, now: Time) {
        self.attempts += u64::from(self.bind(s, t, run, TaskState::Running(run), bytes, now));
        self.stages[s].running += 1;
        self.slots += 1;
    }

    /// Queues an attempt of the task on its worker. It counts as an attempt when it starts.
    pub fn wait_ahead(&mut self, s: usize, t: usize, run: Run, place: u64, bytes: u64, now: Time) {
        self.bind(s, t, run, TaskState::QueuedOnWorker { run, place }, bytes, now);
        self.ahead.insert((s, Reverse(place), t));
    }

    fn bind(&mut self, s: usize, t: usize, run: Run, state: TaskState, bytes: u64, now: Time) -> bool {
        self.dequeue(s, t);
        self.note_read(s, t, 0);
        let task = &mut self.stages[s].tasks[t];
        assert!(task.waits(), "a task has one attempt at a time, and a backup beside it");
        task.bytes = bytes;
        task.state = state;
        task.pace = Pace::begin(now);
        self.note_attempt(s, t, run)
    }

    /// Records the bytes that the running attempt has read.
    pub fn note_read(&mut self, s: usize, t: usize, bytes: u64) {
        let stage = &mut self.stages[s];
        let before = std::mem::replace(&mut stage.tasks[t].bytes_read, bytes);
        stage.bytes_running = stage.bytes_running - before + bytes;
    }

    /// Gives a slot to the queued attempt.
    pub fn can_begin(&mut self, s: usize, t: usize, now: Time) {
        let task = &mut self.stages[s].tasks[t];
        let TaskState::QueuedOnWorker { run, place } = task.state else { return };
        task.state = TaskState::Running(run);
        task.pace.can_begin(now);
        self.ahead.remove(&(s, Reverse(place), t));
        self.stages[s].running += 1;
        self.slots += 1;
        self.attempts += 1;
    }

    /// Adds a second attempt to a running task.
    pub fn add_backup(&mut self, s: usize, t: usize, run: Run, now: Time) {
        let task = &mut self.stages[s].tasks[t];
        assert!(matches!(task.state, TaskState::Running(_)) && task.backup.is_none(), "a running task has one backup");
        task.backup = Some(Box::new(Backup { run, pace: Pace::begin(now) }));
        self.backups_running += 1;
        self.slots += 1;
        self.attempts += u64::from(self.note_attempt(s, t, run));
    }

    /// Records an attempt. True if it was not known in this epoch.
    fn note_attempt(&mut self, s: usize, t: usize, run: Run) -> bool {
        self.workers.insert(run.worker);
        let task = &mut self.stages[s].tasks[t];
        let is_new = run.attempt.number >= task.attempts;
        task.attempts = task.attempts.max(run.attempt.number + 1);
        is_new
    }

    /// Takes the backup from its task.
    pub fn end_backup(&mut self, s: usize, t: usize) -> Option<Run> {
        let backup = self.stages[s].tasks[t].backup.take()?;
        self.slots -= 1;
        self.backups_running -= 1;
        Some(backup.run)
    }

    /// Records the duration of an attempt that ends successfully: that of its report if the scheduler has not seen it
    /// start.
    pub fn note_duration(&mut self, s: usize, t: usize, now: Time, run_ms: u64) {
        let stage = &mut self.stages[s];
        let task = &stage.tasks[t];
        stage.durations.add(now.since_ms(task.pace.since).max(run_ms), task.bytes);
    }

    /// Moves a granted attempt to publishing, which frees its slot.
    pub fn publish(&mut self, s: usize, t: usize, run: Run, report: TaskReport, now: Time) {
        let task = &mut self.stages[s].tasks[t];
        task.state = TaskState::Publishing(run, Box::new(report));
        task.pace = Pace::begin(now);
        self.slots -= 1;
    }

    /// Ends the attempt that is on a worker, if there is one. The task is in no queue afterwards: the caller enqueues
    /// it, marks it finished, or sets its timer.
    pub fn end_attempt(&mut self, s: usize, t: usize) -> Option<(Run, Option<Box<TaskReport>>)> {
        self.note_read(s, t, 0);
        let stage = &mut self.stages[s];
        let task = &mut stage.tasks[t];
        let run = task.run()?;
        let ended = std::mem::replace(&mut task.state, TaskState::Delayed);
        if let TaskState::QueuedOnWorker { place, .. } = ended {
            self.ahead.remove(&(s, Reverse(place), t));
            return Some((run, None));
        }
        stage.running -= 1;
        match ended {
            TaskState::Publishing(_, report) => Some((run, Some(report))),
            _ => {
                self.slots -= u32::from(!planted::has(Planted::SlotLeaked));
                Some((run, None))
            }
        }
    }

    /// Makes the attempt's outputs the task's. Adds its counters unless those of an earlier attempt were added. True
    /// if this completes the stage: then the caller must settle its readers.
    pub fn finish(&mut self, s: usize, t: usize, run: Run, life: Incarnation, report: TaskReport) -> bool {
        self.note_change(s, t, run.attempt, &report.outputs);
        self.note_collected(s, t, &report.outputs);
        let task = &mut self.stages[s].tasks[t];
        let outputs = report.outputs;
        task.read = Some(report.inputs);
        let Run { worker, attempt } = run;
        let before = task.held.replace(TaskOutputs { worker, attempt, outputs, life, lost: false, doubted: false });
        match before {
            Some(before) if before.worker == worker => {}
            Some(before) => drop(self.outputs_on.get_mut(&before.worker).map(|of| of.remove(&(s, t)))),
            None => self.stages[s].known_outputs += 1,
        }
        self.outputs_on.entry(worker).or_default().insert((s, t));
        let task = &mut self.stages[s].tasks[t];
        task.must_run = false;
        task.fetch_failures = 0;
        task.uncharged = 0;
        if !std::mem::replace(&mut task.counted, true) || planted::has(Planted::CountedTwice) {
            self.counters.merge(&report.counters);
        }
        self.mark_done(s, t)
    }

    /// Marks the task as done. True if this completes the stage.
    pub fn mark_done(&mut self, s: usize, t: usize) -> bool {
        self.dequeue(s, t);
        self.note_read(s, t, 0);
        let stage = &mut self.stages[s];
        stage.tasks[t].state = TaskState::Done;
        stage.bytes_done += stage.tasks[t].bytes;
        stage.done += 1;
        if stage.is_done() {
            self.stage_finished(s);
        }
        self.stages[s].is_done()
    }

    /// Unblocks the readers of a stage that is done now.
    pub fn stage_finished(&mut self, s: usize) {
        self.stages_done += 1;
        for i in 0..self.stages[s].links.readers.len() {
            let reader = self.stages[s].links.readers[i];
            self.stages[reader].blocked_by -= 1;
            self.note_runnable(reader);
        }
    }

    /// Reopens a done task. True if the stage was done before; its readers are blocked then.
    pub fn unfinish(&mut self, s: usize, t: usize) -> bool {
        let stage = &mut self.stages[s];
        assert!(stage.tasks[t].is_done(), "only a done task is reopened");
        let was_done = stage.is_done();
        stage.done -= 1;
        stage.bytes_done -= stage.tasks[t].bytes;
        stage.tasks[t].fetch_failures = 0;
        stage.tasks[t].skipped = false;
        if was_done {
            stage.reopened += 1;
            stage.index.fill_with(|| None);
            self.stages_done -= 1;
            for i in 0..self.stages[s].links.readers.len() {
                let reader = self.stages[s].links.readers[i];
                self.stages[reader].blocked_by += 1;
                self.recall_ahead(reader);
                self.note_runnable(reader);
            }
        }
        self.enqueue(s, t);
        was_done
    }

    /// Recalls the queued attempts of a stage that is blocked now: some of their inputs are lost.
    pub fn recall_ahead(&mut self, s: usize) {
        let of_stage: Vec<usize> =
            self.ahead.range((s, Reverse(u64::MAX), 0)..).take_while(|a| a.0 == s).map(|a| a.2).collect();
        for t in of_stage {
            let ended = self.end_attempt(s, t);
            self.recalled.extend(ended.map(|(run, _)| run));
            self.enqueue(s, t);
        }
    }

    fn dequeue(&mut self, s: usize, t: usize) {
        let stage = &mut self.stages[s];
        let queued = stage.waiting.remove(&t) || stage.picky.remove(&t);
        if !queued && !self.suspects.is_empty() {
            self.suspects.remove(&(s, t));
        }
        self.note_runnable(s);
    }

    fn note_runnable(&mut self, s: usize) {
        if self.stages[s].is_runnable() {
            self.runnable.insert(s);
        } else {
            self.runnable.remove(&s);
        }
    }
}
