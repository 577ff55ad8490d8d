//! Handles a reader that could not read an output: ends its attempt, and decides whether the map that wrote it runs again.
//!
//! One event can damage many outputs at once, such as a file that holds hundreds of them. Readers find them one by one. So a
//! reader is not counted for the first damage of an output, nor for damage of an output that is made again already. Once several
//! outputs of a stage are found damaged on one worker, all of the stage's outputs there are made again.

use crate::ledger::Cause;
use crate::note::Why;
use crate::output_tables::edge_ports;
use crate::planted::{self, Planted};
use crate::shuffle::is_held;
use crate::state::State;
use crate::task::{Run, Task, TaskState};
use windrow_model::{AttemptId, Code, Failure, OutputRef, Port, TaskId, WorkerId};

/// Number of readers that cannot fetch an output before it counts as lost although its holder is alive.
const FETCH_FAILURES_MAX: u32 = 2;

impl State {
    /// Ends the reader's attempt without a charge. The map that wrote the output runs again if a block is corrupt,
    /// if its holder is gone, or if this was not the first failed fetch.
    pub(crate) fn handle_segment_lost(
        &mut self,
        worker: WorkerId,
        reader: AttemptId,
        lost: OutputRef,
        failure: Failure,
    ) {
        self.heard(worker, reader);
        let here = Run { worker, attempt: reader };
        let runs = |t: &Task| !matches!(t.state, TaskState::Publishing(..)) && t.runs().any(|run| run == here);
        if !self.task(reader.task).is_some_and(runs) {
            return;
        }
        let assigned = self.task(reader.task).map_or(self.now, |t| t.pace.assigned);
        self.end_reader(worker, reader, &lost, &failure);
        let is_corrupt = failure.code == Code::SegmentCorrupt;
        if self.doubt(reader.task, lost, failure.code) {
            if is_corrupt {
                self.note_damage(lost.worker);
            }
            if let Err(failure) = self.count_rerun(&lost, &failure) {
                return self.fail_job(lost.worker, lost.attempt, failure, None);
            }
            if is_corrupt {
                self.remake_if_several_are_damaged(&lost);
            }
            // A reader that got its assignment before the holder's present incarnation began had an outdated address.
            let holder = self.workers.live(lost.worker).filter(|holder| holder.since <= assigned);
            if holder.is_some() && !is_corrupt {
                self.cannot_reach(reader.task.job, lost.worker, reader.task, worker);
            }
        }
        self.requeue(reader.task.job);
    }

    /// Ends the attempt that could not read an output, and retries its task unless another attempt of it goes on.
    fn end_reader(&mut self, worker: WorkerId, reader: AttemptId, lost: &OutputRef, failure: &Failure) {
        let is_innocent =
            failure.code == Code::SegmentCorrupt && (self.is_first_damage(lost) || self.is_outdated(reader, lost));
        let cause = Cause::of(failure.code);
        self.note_failure(Run { worker, attempt: reader }, failure, false, Some(cause));
        let other_goes_on = self.stop_one(reader);
        // If the reader's own network is broken, its next attempt must not fail on it too.
        if let Some(task) = self.task_mut(reader.task) {
            task.avoid(worker);
        }
        if is_innocent {
            // Without a delay: it waits until the output is there again.
            if !other_goes_on && let Some(job) = self.jobs.get_mut(&reader.task.job) {
                let (s, t) = (reader.task.stage.0 as usize, reader.task.index as usize);
                job.stages[s].tasks[t].why = Why::Uncharged(cause);
                job.enqueue(s, t);
            }
        } else if !other_goes_on {
            self.retry_uncharged(worker, reader, cause, &failure.message);
        } else if let Err(failure) = self.count_uncharged(worker, reader, cause, &failure.message) {
            self.fail_job(worker, reader, failure, None);
        }
    }

    /// Counts the rerun of the map if the doubt has reopened it. The error is the job's failure.
    fn count_rerun(&mut self, lost: &OutputRef, failure: &Failure) -> Result<(), Failure> {
        if self.task(lost.attempt.task).is_none_or(Task::is_done) {
            return Ok(());
        }
        let cause = match failure.code {
            Code::SegmentCorrupt => Cause::OutputDamaged,
            _ => Cause::OutputUnreachable,
        };
        self.count_uncharged(lost.worker, lost.attempt, cause, &failure.message)?;
        let ledger = self.task_mut(lost.attempt.task).and_then(|task| task.ledger.as_mut());
        if let Some(ledger) = ledger.filter(|_| cause == Cause::OutputDamaged) {
            ledger.damaged.push(lost.attempt);
        }
        Ok(())
    }

    /// Counts damage of the task's present output. It counts against the task and not against its reader, which finds
    /// the damage of one disk event piece by piece.
    fn is_first_damage(&self, lost: &OutputRef) -> bool {
        self.task(lost.attempt.task).is_some_and(|task| {
            task.is_done()
                && is_of(task, lost)
                && task.ledger.as_ref().is_none_or(|ledger| ledger.count(Cause::OutputDamaged) == 0)
        })
    }

    /// Whether this output is not the present one any more, and the reader was assigned before that changed. So it counts at
    /// most once for each attempt, and attempts that are assigned later get another output.
    fn is_outdated(&self, reader: AttemptId, lost: &OutputRef) -> bool {
        let is_present = self.task(lost.attempt.task).is_some_and(|task| task.is_done() && is_of(task, lost));
        let Some(job) = self.jobs.get(&reader.task.job).filter(|_| !is_present) else { return false };
        let Some(task) = self.task(reader.task) else { return false };
        let backup = task.backup.as_ref().filter(|backup| backup.run.attempt == reader);
        let pace = backup.map_or(&task.pace, |backup| &backup.pace);
        let now = job.inputs_reopened(reader.task.stage.0 as usize);
        !planted::has(Planted::StaleDamageCharged) && pace.inputs_reopened.is_none_or(|then| then < now)
    }

    /// Counts a damaged output against its worker. Once there are several of a stage, all outputs of the stage that lie there are
    /// made again: readers would find the others one by one, each with an attempt and a rerun.
    fn remake_if_several_are_damaged(&mut self, lost: &OutputRef) {
        let State { jobs, workers, config, .. } = self;
        let Some(job) = jobs.get_mut(&lost.attempt.task.job) else { return };
        let s = lost.attempt.task.stage.0 as usize;
        let damaged = job.stages[s].damaged.entry(lost.worker).or_default();
        *damaged += 1;
        if *damaged >= config.damaged_max {
            job.stages[s].damaged.remove(&lost.worker);
            job.remake_stage(s, lost.worker, workers);
        }
    }

    /// Doubts the task's present output. False if the failed fetch is of another output, or if the task holds none.
    fn doubt(&mut self, reader: TaskId, lost: OutputRef, code: Code) -> bool {
        let State { jobs, workers, .. } = self;
        let map = lost.attempt.task;
        let (s, t) = (map.stage.0 as usize, map.index as usize);
        let Some(job) = jobs.get_mut(&reader.job).filter(|_| map.job == reader.job) else { return false };
        let port = Port { stage: map.stage, output: lost.output };
        let inputs = job.spec.plan.stages.get(reader.stage.0 as usize).map_or(&[][..], |stage| &stage.inputs);
        if !edge_ports(inputs).any(|read| read == port) {
            return false;
        }
        let Some(task) = job.stages[s].tasks.get_mut(t) else { return false };
        if !task.is_done() || !is_of(task, &lost) {
            return false;
        }
        task.fetch_failures += 1;
        let gone = !is_held(task, workers);
        let enough = task.fetch_failures >= FETCH_FAILURES_MAX && !planted::has(Planted::FetchFailuresIgnored);
        if code == Code::SegmentCorrupt || gone || enough {
            if let Some(held) = task.held.as_mut().filter(|_| !gone) {
                held.doubted = true;
                task.avoid(lost.worker);
            }
            job.reopen(s, t, workers);
        }
        !gone
    }
}

/// Whether this is the present output of the task, on the worker that holds it.
fn is_of(task: &Task, lost: &OutputRef) -> bool {
    task.held.as_ref().is_some_and(|held| held.attempt == lost.attempt && held.worker == lost.worker)
}
