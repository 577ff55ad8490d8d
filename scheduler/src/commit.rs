//! Grants one attempt per task, and commits the job when all parts are staged.
//!
//! Of two attempts of a task the first to report is accepted, and the other one is revoked. A granted attempt is the
//! task's only winner unless it fails or its worker is lost before it has published. Published parts stay even if the
//! task runs again because other outputs of it were lost: they are in a staging folder and not on the worker.

use crate::action::Action;
use crate::attempt::Standing;
use crate::note::Note;
use crate::planted::{self, Planted};
use crate::state::State;
use crate::task::Run;
use crate::timers::Timer;
use windrow_model::{AttemptId, Failure, JobId, JobState, OutputReport, StagedPart, TaskId, TaskReport, WorkerId};

impl State {
    /// Accepts the report of a running attempt: grants it if it has parts to publish, otherwise the task is done.
    pub(crate) fn take_report(&mut self, worker: WorkerId, attempt: AttemptId, report: TaskReport) {
        let id = attempt.task;
        let (s, t) = (id.stage.0 as usize, id.index as usize);
        if !self.inputs_are_current(worker, attempt, report.inputs) {
            return;
        }
        self.choose(attempt);
        let now = self.now;
        let Some(job) = self.jobs.get_mut(&id.job) else { return };
        job.note_duration(s, t, now, report.run_ms);
        let first = job.stages[s].tasks[t].published.is_empty() || planted::has(Planted::SecondGrant);
        if job.stages[s].has_sink() && first {
            job.publish(s, t, Run { worker, attempt }, report, now);
            self.workers.publish(worker, id);
            self.out.push(Action::Grant { worker, attempt });
            self.requeue(id.job);
        } else if let Some((run, _)) = self.stop(id) {
            self.finish(id, run, report);
        }
    }

    /// Does not renew the worker's lease: the confirmation may have been queued for some time.
    pub(crate) fn handle_published(&mut self, worker: WorkerId, attempt: AttemptId) {
        if self.standing(worker, attempt) != Standing::Publishing {
            return;
        }
        let id = attempt.task;
        let Some((run, Some(report))) = self.stop(id) else { return };
        if let Some(task) = self.task_mut(id) {
            match planted::has(Planted::SecondGrant) {
                true => task.published.extend(staged_parts(attempt, &report)),
                false => task.published = staged_parts(attempt, &report),
            }
        }
        if !planted::has(Planted::UnrecordedPart) {
            self.out.push(Action::Published { worker, attempt, report: report.clone() });
        }
        self.finish(id, run, *report);
    }

    fn finish(&mut self, id: TaskId, run: Run, report: TaskReport) {
        let s = id.stage.0 as usize;
        self.succeeded_on(id, run.worker);
        let incarnation = self.workers.get(run.worker).map_or(run.attempt.incarnation, |w| w.info.incarnation);
        let Some(mut job) = self.jobs.get_mut(&id.job) else { return };
        if job.stages[s].tasks[id.index as usize].ledger.is_some() {
            self.settle_ledger(id);
            let Some(again) = self.jobs.get_mut(&id.job) else { return };
            job = again;
        }
        let complete = job.finish(s, id.index as usize, run, incarnation, report);
        if !self.fits_its_parts(id, run.attempt) {
            return;
        }
        if complete && self.settle_readers(id.job, s, true) {
            self.drop_needless_reruns(id.job, s);
            self.advance(id.job);
        }
        self.requeue(id.job);
    }

    /// Commits the job if every stage is done. A job without outputs has nothing to commit.
    pub(crate) fn advance(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.state == JobState::Running && job.stages_done == job.stages.len() {
            if job.spec.plan.sinks.is_empty() {
                self.end_job(id, JobState::Done, None);
            } else {
                job.state = JobState::Committing;
                job.sealed = true;
                let mut parts: Vec<StagedPart> = job
                    .stages
                    .iter()
                    .flat_map(|s| s.tasks.touched())
                    .flat_map(|t| t.published.iter().cloned())
                    .collect();
                parts.sort_by_key(|p| (p.part.sink, p.task));
                self.timers.clear(Timer::Timeout(id));
                job.notes.add(|| Note::CommitBegan { parts: parts.len() as u64 });
                let mut bad_records = job.bad_records.clone();
                bad_records.sort_by_key(|bad| (bad.task, bad.record));
                if planted::has(Planted::CommitTwice) {
                    let (parts, bad_records, collected) = (parts.clone(), Vec::new(), Vec::new());
                    self.out.push(Action::CommitJob { job: id, parts, bad_records, collected });
                }
                let collected = job.collected();
                self.out.push(Action::CommitJob { job: id, parts, bad_records, collected });
            }
        }
        self.requeue(id);
    }

    pub(crate) fn handle_committed(&mut self, id: JobId) {
        if self.jobs.get(&id).is_some_and(|j| j.state == JobState::Committing) {
            self.end_job(id, JobState::Done, None);
        }
    }

    pub(crate) fn handle_commit_waits(&mut self, id: JobId, reason: Option<String>) {
        if let Some(job) = self.jobs.get_mut(&id).filter(|j| j.state == JobState::Committing) {
            job.commit_waits.clone_from(&reason);
            self.note(id, || Note::CommitWaits { reason });
        }
    }

    /// The job does not fail: its outputs may be complete.
    pub(crate) fn handle_commit_given_up(&mut self, id: JobId, failure: Failure) {
        if self.jobs.get(&id).is_some_and(|j| j.state == JobState::Committing) {
            self.end_job(id, JobState::Cancelled, Some(failure));
        }
    }

    pub(crate) fn handle_commit_failed(&mut self, id: JobId, failure: Failure) {
        if self.jobs.get(&id).is_some_and(|j| j.state == JobState::Committing) {
            self.end_job(id, JobState::Failed, Some(failure));
        }
    }
}

/// The staged parts of an attempt that has published.
pub(crate) fn staged_parts(attempt: AttemptId, report: &TaskReport) -> Vec<StagedPart> {
    let parts = report.outputs.iter().filter_map(|o| match o {
        OutputReport::Sink(part) => Some(StagedPart { task: attempt.task.index, attempt, part: part.clone() }),
        OutputReport::Edge(_) | OutputReport::Broadcast(_) | OutputReport::Stored(_) => None,
    });
    parts.collect()
}
