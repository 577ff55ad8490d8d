//! Ensures that no result mixes the outputs of two attempts of one task.
//!
//! A nondeterministic task that runs again because its output was lost may give another output. Each attempt reports a
//! digest of what it read. The scheduler compares it with what readers would read now: when the attempt reports, and
//! when a stage that it reads is complete again. A reader that has read something else runs again. If it cannot,
//! because its parts are granted or staged, the job fails.
//!
//! A digest is one for all readers of a stage: it covers whole outputs and not the partition of one reader. So a reader
//! also runs again if another partition has changed. By partition, the digests would take memory for each task and
//! partition, which is what limits the size of a shuffle; and a task that gives another output seldom changes few
//! partitions.
//!
//! Workers report digests again after a restart, and the journal holds those of tasks with staged parts, so the
//! promise holds from one epoch to the next.

use crate::action::Action;
use crate::job::Job;
use crate::ledger::Cause;
use crate::note::Why;
use crate::planted::{self, Planted};
use crate::state::State;
use crate::task::{Run, TaskState};
use windrow_model::{AttemptId, Code, Failure, JobId, JobState, OutputReport, TaskId, WorkerId, output_digest};

/// A task that has read an output which has been replaced.
struct Stale {
    stage: usize,
    task: usize,
    read: u64,
    now: u64,
    /// Its parts are granted or staged.
    committed: bool,
}

impl Job {
    /// Digest of what each task of this stage would read now; `None` if it reads no stage, or while an input is made
    /// again or has not been reported in this epoch.
    fn readable(&mut self, s: usize) -> Option<u64> {
        let producers = &self.stages[s].links.producers;
        // Only in a restored job a task may be done without a reported output.
        let known = |p: usize| !self.restored || self.stages[p].known_outputs == self.stages[p].tasks.len();
        let whole = |p: &usize| self.stages[*p].is_done() && known(*p);
        if producers.is_empty() || !producers.iter().all(whole) {
            return None;
        }
        self.prepare_inputs(s);
        self.stages[s].inputs.as_ref().map(|inputs| inputs.digest)
    }

    /// Records both digests if the task's outputs differ from those of an earlier attempt.
    pub(crate) fn note_change(&mut self, s: usize, t: usize, attempt: AttemptId, outputs: &[OutputReport]) {
        if planted::has(Planted::RerunNotCompared) {
            return;
        }
        let deterministic = self.stages[s].deterministic;
        let task = &mut self.stages[s].tasks[t];
        let Some(before) = task.held.as_ref().filter(|held| held.attempt != attempt) else { return };
        let digests = (output_digest(&before.outputs), output_digest(outputs));
        if digests.0 != digests.1 || !deterministic {
            task.changed = Some(digests);
        }
    }

    /// Readers of a stage that have read something other than its present outputs, or may have. `made_anew`: some outputs
    /// may have been made in this epoch.
    fn stale_readers(&mut self, s: usize, made_anew: bool) -> Vec<Stale> {
        let mut stale = Vec::new();
        for stage in self.stages[s].links.readers.clone() {
            for task in 0..self.stages[stage].tasks.len() {
                let reader = &self.stages[stage].tasks[task];
                let staged = !reader.published.is_empty();
                let (read, granted) = match &reader.state {
                    TaskState::Publishing(_, report) => (Some(report.inputs), true),
                    // The digest of its inputs is lost; its readers compare its new output instead. Without a new input there
                    // is nothing to compare.
                    TaskState::Done if reader.held.is_none() && !made_anew => continue,
                    TaskState::Done if reader.held.is_none() => {
                        stale.push(Stale { stage, task, read: 0, now: 0, committed: false });
                        continue;
                    }
                    TaskState::Done => (reader.read, false),
                    _ if staged => (reader.read, false),
                    // Its rerun may not be dropped: the outputs that it has were made of something else.
                    _ if reader.held.is_some() => (reader.read, false),
                    _ => continue,
                };
                let Some(now) = self.readable(stage) else { break };
                if let Some(read) = read.filter(|read| *read != now && *read != 0) {
                    stale.push(Stale { stage, task, read, now, committed: staged || granted });
                }
            }
        }
        stale
    }
}

impl State {
    /// Whether a reporting attempt has read the present inputs. If not, it runs again without a charge.
    pub(crate) fn inputs_are_current(&mut self, worker: WorkerId, attempt: AttemptId, read: u64) -> bool {
        let id = attempt.task;
        let Some(job) = self.jobs.get_mut(&id.job) else { return true };
        let now = job.readable(id.stage.0 as usize);
        // Zero: the job's binary is of an earlier release and reports no digest.
        if read == 0 || now.is_none_or(|now| now == read) || planted::has(Planted::StaleReaderTaken) {
            return true;
        }
        self.out.push(Action::Revoke { worker, attempt });
        let what = "what it had read was made anew meanwhile";
        let replaced = Failure::new(Code::NondeterministicTask, what);
        self.note_failure(Run { worker, attempt }, &replaced, false, Some(Cause::InputReplaced));
        if !self.stop_one(attempt) {
            self.retry_uncharged(worker, attempt, Cause::InputReplaced, what);
        } else if let Err(failure) = self.count_uncharged(worker, attempt, Cause::InputReplaced, what) {
            self.fail_job(worker, attempt, failure, None);
        }
        false
    }

    /// After a stage is complete, perhaps again: reruns readers that have read something else from it. False if the
    /// job has failed instead.
    pub(crate) fn settle_readers(&mut self, id: JobId, s: usize, made_anew: bool) -> bool {
        let State { jobs, workers, .. } = self;
        let Some(job) = jobs.get_mut(&id) else { return false };
        // The parts of a job whose commit has begun are final; only tasks for its collected results run again.
        if job.sealed || planted::has(Planted::MixtureUnseen) {
            return true;
        }
        for stale in job.stale_readers(s, made_anew) {
            if stale.committed {
                let failure = mixture(job, s, &stale);
                self.end_job(id, JobState::Failed, Some(failure));
                return false;
            }
            let task = &mut job.stages[stale.stage].tasks[stale.task];
            task.must_run = true;
            job.reopen(stale.stage, stale.task, workers);
            job.stages[stale.stage].tasks[stale.task].why = Why::InputsReplaced;
        }
        true
    }

    /// Compares the outputs of a task that ran again with its staged parts. False if they do not fit, and the job has
    /// failed.
    pub(crate) fn fits_its_parts(&mut self, id: TaskId, attempt: AttemptId) -> bool {
        let Some(task) = self.task(id) else { return false };
        let sealed = self.jobs.get(&id.job).is_some_and(|job| job.sealed);
        let Some((before, now)) = task.changed.filter(|_| !sealed) else { return true };
        if task.published.iter().all(|part| part.attempt == attempt) || planted::has(Planted::MixtureUnseen) {
            return true;
        }
        let what = format!(
            "task {}/{} gave another output when it ran again (digest {now:016x}, before {before:016x}), and its parts are \
             published already",
            id.stage, id.index
        );
        self.end_job(id.job, JobState::Failed, Some(Failure::new(Code::NondeterministicTask, what)));
        false
    }
}

fn mixture(job: &Job, s: usize, stale: &Stale) -> Failure {
    let label = |s: usize| job.spec.plan.stages.get(s).map(|p| format!("{s} `{}` ({})", p.label, p.place));
    let reader = format!("task {} of stage {}", stale.task, label(stale.stage).unwrap_or_default());
    let changed = job.stages[s].tasks.iter().enumerate().find_map(|(t, task)| Some((t, task.changed?)));
    let what = match changed {
        Some((t, (before, now))) => format!(
            "task {t} of stage {} gave another output when it ran again (digest {now:016x}, before {before:016x}), and \
             {reader}, which has read the first one, is published already",
            label(s).unwrap_or_default()
        ),
        None => format!(
            "a task of stage {} gave another output when it ran again: {reader} is published already and has read digest \
             {:016x}, it would be {:016x} now",
            label(s).unwrap_or_default(),
            stale.read,
            stale.now
        ),
    };
    Failure::new(Code::NondeterministicTask, what)
}
