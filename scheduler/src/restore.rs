//! Continues the jobs of an earlier epoch after a restart of the driver.
//!
//! The journal holds what workers cannot report again: the job, how its inputs were cut, how often tasks have failed,
//! and which parts are staged, because those lie in a shared folder and their workers may be gone. Workers report
//! everything else when they return (`rejoin.rs`): which attempts run and which outputs they hold. Until then a
//! restored job starts nothing, because the same attempt may still exist.

use crate::action::{Action, Collected};
use crate::commit::staged_parts;
use crate::event::{RestoredJob, RestoredTask};
use crate::job::Job;
use crate::ledger::Tally;
use crate::note::{Note, Notes};
use crate::planted::{self, Planted};
use crate::state::State;
use crate::task::Run;
use crate::timers::Timer;
use windrow_model::{JobId, JobState, TaskId, WorkerId};

impl State {
    pub(crate) fn handle_restored(&mut self, restored: RestoredJob) {
        let id = restored.spec.id;
        if self.jobs.contains_key(&id) || self.history.contains_key(&id) {
            return;
        }
        self.submitted += 1;
        if let Some(ms) = restored.spec.options.timeout_ms.filter(|_| !restored.sealed) {
            let left = ms.saturating_sub(restored.elapsed_ms);
            self.timers.set(Timer::Timeout(id), self.now.plus_ms(left));
        }
        let mut job = Job::new(restored.spec, self.submitted, self.epoch, self.now, restored.unix_ms);
        job.elapsed_before_ms = restored.elapsed_ms;
        (job.restored, job.held, job.sealed) = (true, true, restored.sealed && !planted::has(Planted::SealForgotten));
        job.restored_partitions = restored.split.as_ref().map(|split| split.auto_partitions);
        let started = restored.split.map(|split| job.start(split.epoch, split.input_bytes, split.stages));
        if matches!(started, Some(Ok(()))) {
            restored.bad_records.into_iter().for_each(|bad| job.set_aside(bad));
            if !planted::has(Planted::FailuresForgotten) {
                job.restore_failures(&restored.failures);
            }
            if !planted::has(Planted::CountsForgotten) {
                job.restore_uncharged(&restored.uncharged, self.config.suspect_after);
            }
        }
        let parts = if matches!(started, Some(Ok(()))) { restored.published } else { Vec::new() };
        let done: Vec<usize> = parts.into_iter().filter_map(|part| job.restore(part)).collect();
        // What is restored here was noted in an earlier epoch.
        job.notes = Notes::new(self.config.notes);
        job.notes.add(|| Note::Restored);
        self.jobs.insert(id, job);
        self.collect_notes(id);
        match started {
            None => self.out.push(Action::PlanJob { job: id }),
            Some(Err(failure)) => self.end_job(id, JobState::Failed, Some(failure)),
            Some(Ok(())) => {
                self.settle_sealed(id, restored.collected);
                for stage in done {
                    self.drop_needless_reruns(id, stage);
                }
                self.advance(id);
            }
        }
    }

    /// Marks all tasks of a sealed job as done if its collected results are recorded: no task needs to run again.
    fn settle_sealed(&mut self, id: JobId, collected: Collected) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.sealed) else { return };
        if collected.len() != job.spec.plan.collects.len() {
            return;
        }
        job.collected_before = collected;
        for s in 0..job.stages.len() {
            for t in 0..job.stages[s].tasks.len() {
                let task = &mut job.stages[s].tasks[t];
                if !task.is_done() {
                    task.skipped = task.held.is_none();
                    job.mark_done(s, t);
                }
            }
        }
    }

    pub(crate) fn handle_awaited(&mut self, workers: Vec<WorkerId>, ms: u64) {
        self.awaited = workers.into_iter().filter(|w| self.workers.live(*w).is_none()).collect();
        if self.awaited.is_empty() {
            self.stop_waiting();
        } else {
            self.timers.set(Timer::Awaited, self.now.plus_ms(ms));
        }
    }

    /// Lets restored jobs continue: workers that are not back count as lost.
    pub(crate) fn stop_waiting(&mut self) {
        self.timers.clear(Timer::Awaited);
        self.awaited.clear();
        let held: Vec<JobId> = self.jobs.iter().filter(|(_, j)| j.held).map(|(id, _)| *id).collect();
        for id in &held {
            if let Some(job) = self.jobs.get_mut(id) {
                job.held = false;
                job.notes.add(|| Note::Resumed);
                for s in 0..job.stages.len() {
                    if job.stages[s].blocked_by > 0 {
                        job.recall_ahead(s);
                    }
                }
            }
        }
        if !held.is_empty() {
            self.reopen_lost_outputs();
        }
    }
}

impl Job {
    /// Restores the failures charged to tasks.
    fn restore_failures(&mut self, failures: &[(TaskId, u32)]) {
        let most = self.spec.options.attempts_max.max(1) - 1;
        for (id, failures) in failures {
            let stage = self.stages.get_mut(id.stage.0 as usize);
            if let Some(stage) = stage
                && let Some(task) = stage.tasks.get_mut(id.index as usize)
            {
                // The failure that would have failed the job is not recorded: the end of the job is.
                let failures = (*failures).min(most);
                stage.failed += u64::from(failures.saturating_sub(task.failures));
                task.failures = failures;
            }
        }
    }

    /// Restores the counts of uncharged attempts.
    fn restore_uncharged(&mut self, uncharged: &[(TaskId, Tally)], suspect_after: u32) {
        for (id, tally) in uncharged.iter().filter(|(_, tally)| !tally.is_empty()) {
            let (s, t) = (id.stage.0 as usize, id.index as usize);
            if let Some(task) = self.stages.get_mut(s).and_then(|stage| stage.tasks.get_mut(t)) {
                task.ledger.get_or_insert_default().restore(tally, suspect_after);
                for loss in &tally.losses {
                    self.losses.entry(loss.worker).or_default().insert((s, t));
                }
                self.requeue_waiting(s, t);
            }
        }
    }

    /// Marks a task with staged parts as done. Returns its stage if that completes it.
    fn restore(&mut self, part: RestoredTask) -> Option<usize> {
        let RestoredTask { worker, attempt, report } = part;
        let (s, t) = (attempt.task.stage.0 as usize, attempt.task.index as usize);
        let stage = self.stages.get_mut(s)?;
        let task = stage.tasks.get_mut(t).filter(|t| t.waits())?;
        if attempt.epoch < self.split_epoch {
            return None;
        }
        task.published = staged_parts(attempt, &report);
        task.attempts = attempt.number + 1;
        task.bytes = stage.chunks.get(t).map_or(0, |chunk| chunk.length());
        self.attempts += 1;
        self.workers.insert(worker);
        // The worker reports whether it still has the other outputs; they count as lost until it returns.
        self.finish(s, t, Run { worker, attempt }, attempt.incarnation, report).then_some(s)
    }
}
