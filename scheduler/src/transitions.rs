//! Transitions of tasks and stages.
//!
//! A stage goes blocked → open → done, and is open again when outputs are lost. Every change of a task's state goes
//! through the functions here, so that the queues and counts of its stage agree with it. They know nothing of workers'
//! slots.

use crate::job::Job;
use crate::note::{Done, Note, Why};
use crate::planted::{self, Planted};
use crate::speculate::Pace;
use crate::task::{Backup, Run, TaskOutputs, TaskState};
use std::cmp::Reverse;
use windrow_model::counters::names;
use windrow_model::{Incarnation, OutputReport, SizeHints, StageId, TaskReport, Time};

impl Job {
    /// Enqueues the task for a worker.
    pub(crate) fn enqueue(&mut self, s: usize, t: usize) {
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
    pub(crate) fn requeue_waiting(&mut self, s: usize, t: usize) {
        if matches!(self.stages[s].tasks[t].state, TaskState::Waiting) {
            self.dequeue(s, t);
            self.enqueue(s, t);
        }
    }

    /// Starts an attempt of a waiting task.
    pub(crate) fn begin(&mut self, s: usize, t: usize, run: Run, bytes: u64, now: Time) {
        assert!(matches!(self.stages[s].tasks[t].state, TaskState::Waiting), "only a waiting task gets an attempt");
        self.adopt(s, t, run, bytes, now);
    }

    /// Gives a task without an attempt one that was started before.
    pub(crate) fn adopt(&mut self, s: usize, t: usize, run: Run, bytes: u64, now: Time) {
        self.attempts += u64::from(self.bind(s, t, run, TaskState::Running(run), bytes, now));
        self.stages[s].running += 1;
        self.slots += 1;
    }

    /// Queues an attempt of the task on its worker. It counts as an attempt when it starts.
    pub(crate) fn wait_ahead(&mut self, s: usize, t: usize, run: Run, place: u64, bytes: u64, now: Time) {
        self.bind(s, t, run, TaskState::QueuedOnWorker { run, place }, bytes, now);
        self.ahead.insert((s, Reverse(place), t));
    }

    fn bind(&mut self, s: usize, t: usize, run: Run, state: TaskState, bytes: u64, now: Time) -> bool {
        self.dequeue(s, t);
        self.note_read(s, t, 0, 0);
        let task = &mut self.stages[s].tasks[t];
        assert!(task.waits(), "a task has one attempt at a time, and a backup beside it");
        task.bytes = bytes;
        task.state = state;
        task.pace = Pace::begin(now);
        let queued = matches!(task.state, TaskState::QueuedOnWorker { .. });
        let why = match task.why {
            Why::First if self.restored => Why::Restarted,
            why => why,
        };
        let Run { worker, attempt } = run;
        self.notes.add(|| Note::Assigned { worker, attempt, why, queued, bytes });
        self.note_attempt(s, t, run)
    }

    /// Records the bytes and records that the running attempt has read.
    pub(crate) fn note_read(&mut self, s: usize, t: usize, bytes: u64, records: u64) {
        let stage = &mut self.stages[s];
        let known = std::mem::replace(&mut stage.tasks[t].records, records);
        stage.records = stage.records.saturating_sub(known).saturating_add(records);
        let before = std::mem::replace(&mut stage.tasks[t].bytes_read, bytes);
        stage.bytes_running = stage.bytes_running.saturating_sub(before).saturating_add(bytes);
    }

    /// Gives a slot to the queued attempt.
    pub(crate) fn can_begin(&mut self, s: usize, t: usize, now: Time) {
        let task = &mut self.stages[s].tasks[t];
        let TaskState::QueuedOnWorker { run, place } = task.state else { return };
        task.state = TaskState::Running(run);
        task.pace.can_begin(now);
        self.notes.add(|| Note::Started { attempt: run.attempt });
        self.ahead.remove(&(s, Reverse(place), t));
        self.stages[s].running += 1;
        self.slots += 1;
        self.attempts += 1;
    }

    /// Adds a second attempt to a running task.
    pub(crate) fn add_backup(&mut self, s: usize, t: usize, run: Run, now: Time) {
        let task = &mut self.stages[s].tasks[t];
        assert!(matches!(task.state, TaskState::Running(_)) && task.backup.is_none(), "a running task has one backup");
        task.backup = Some(Box::new(Backup { run, pace: Pace::begin(now) }));
        let (Run { worker, attempt }, bytes) = (run, task.bytes);
        self.notes.add(|| Note::Assigned { worker, attempt, why: Why::Backup, queued: false, bytes });
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
    pub(crate) fn end_backup(&mut self, s: usize, t: usize) -> Option<Run> {
        let backup = self.stages[s].tasks[t].backup.take()?;
        self.slots -= 1;
        self.backups_running -= 1;
        Some(backup.run)
    }

    /// Records the duration of an attempt that ends successfully: that of its report if the scheduler has not seen it
    /// start.
    pub(crate) fn note_duration(&mut self, s: usize, t: usize, now: Time, run_ms: u64) {
        let stage = &mut self.stages[s];
        let task = &stage.tasks[t];
        stage.durations.add(now.since_ms(task.pace.since).max(run_ms), task.bytes);
    }

    /// Moves a granted attempt to publishing, which frees its slot.
    pub(crate) fn publish(&mut self, s: usize, t: usize, run: Run, report: TaskReport, now: Time) {
        let task = &mut self.stages[s].tasks[t];
        task.state = TaskState::Publishing(run, Box::new(report));
        self.notes.add(|| Note::Granted { attempt: run.attempt });
        task.pace = Pace::begin(now);
        self.slots -= 1;
    }

    /// Ends the attempt that is on a worker, if there is one. The task is in no queue afterwards: the caller enqueues
    /// it, marks it finished, or sets its timer.
    pub(crate) fn end_attempt(&mut self, s: usize, t: usize) -> Option<(Run, Option<Box<TaskReport>>)> {
        self.note_read(s, t, 0, 0);
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
    pub(crate) fn finish(
        &mut self,
        s: usize,
        t: usize,
        run: Run,
        incarnation: Incarnation,
        report: TaskReport,
    ) -> bool {
        self.note_change(s, t, run.attempt, &report.outputs);
        self.note_collected(s, t, &report.outputs);
        let Run { worker, attempt } = run;
        self.notes.add(|| Note::Done { worker, attempt, done: Box::new(Done::of(&report)) });
        self.stages[s].add_hints(t, worker, &report.outputs);
        let mut outputs = report.outputs;
        outputs.iter_mut().for_each(|output| {
            if let OutputReport::Edge(edge) = output {
                edge.sizes = SizeHints::None;
            }
        });
        let task = &mut self.stages[s].tasks[t];
        task.read = Some(report.inputs);
        let before =
            task.held.replace(TaskOutputs { worker, attempt, outputs, incarnation, lost: false, doubted: false });
        match before {
            Some(before) if before.worker == worker => {}
            Some(before) => drop(self.outputs_on.get_mut(&before.worker).map(|of| of.remove(&(s, t)))),
            None => self.stages[s].known_outputs += 1,
        }
        self.outputs_on.entry(worker).or_default().insert((s, t));
        let read = |name| report.counters.get(name);
        self.note_read(s, t, 0, read(names::RECORDS_READ).saturating_add(read(names::RECORDS_MERGED)));
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
    pub(crate) fn mark_done(&mut self, s: usize, t: usize) -> bool {
        self.dequeue(s, t);
        self.note_read(s, t, 0, self.stages[s].tasks[t].records);
        let stage = &mut self.stages[s];
        stage.tasks[t].state = TaskState::Done;
        stage.bytes_done = stage.bytes_done.saturating_add(stage.tasks[t].bytes);
        stage.done += 1;
        if stage.is_done() {
            self.stage_finished(s);
        }
        self.stages[s].is_done()
    }

    /// Unblocks the readers of a stage that is done now.
    pub(crate) fn stage_finished(&mut self, s: usize) {
        self.stages_done += 1;
        self.notes.add(|| Note::StageDone { stage: StageId(s as u32) });
        for i in 0..self.stages[s].links.readers.len() {
            let reader = self.stages[s].links.readers[i];
            self.stages[reader].blocked_by -= 1;
            if self.stages[reader].blocked_by == 0 {
                self.notes.add(|| Note::StageOpened { stage: StageId(reader as u32) });
            }
            self.note_runnable(reader);
        }
    }

    /// Reopens a done task. True if the stage was done before; its readers are blocked then.
    pub(crate) fn unfinish(&mut self, s: usize, t: usize) -> bool {
        let stage = &mut self.stages[s];
        assert!(stage.tasks[t].is_done(), "only a done task is reopened");
        let was_done = stage.is_done();
        stage.done -= 1;
        stage.bytes_done = stage.bytes_done.saturating_sub(stage.tasks[t].bytes);
        stage.tasks[t].fetch_failures = 0;
        stage.tasks[t].skipped = false;
        stage.tasks[t].why = Why::OutputsLost;
        if was_done {
            self.notes.add(|| Note::StageReopened { stage: StageId(s as u32) });
            stage.reopened += 1;
            stage.drop_table();
            self.stages_done -= 1;
            for i in 0..self.stages[s].links.readers.len() {
                let reader = self.stages[s].links.readers[i];
                self.stages[reader].blocked_by += 1;
                self.stages[reader].drop_inputs();
                self.recall_ahead(reader);
                self.note_runnable(reader);
            }
        }
        self.enqueue(s, t);
        was_done
    }

    /// Recalls the queued attempts of a stage that is blocked now: some of their inputs are lost.
    pub(crate) fn recall_ahead(&mut self, s: usize) {
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
