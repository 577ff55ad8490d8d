//! What the scheduler asks for, done: one arm for each action. Whatever may take time goes to a blocking thread, which
//! answers with a message.

use crate::collecting::Then;
use crate::commit::Commit;
use crate::driver::Driver;
use crate::job_view::Past;
use crate::journal::{Durable, JobRecord, PublishedTask, Record, spec_digest};
use crate::mailbox::Message;
use crate::split::{SplitJob, StagedSink, abandon, split_job};
use crate::staging_check::Checked;
use std::collections::BTreeSet;
use windrow_failpoint::crashpoint;
use windrow_model::{AttemptId, Failure, JobId, JobStatus, Task, TaskInput, TaskReport, WorkerId, WorkerState};
use windrow_proto::convert::path_to_bytes;
use windrow_proto::v1::{self, to_worker::Message as Tell};
use windrow_scheduler::{Action, Event, RestoredSplit, RestoredTask};

impl Driver {
    /// Does one action. Events that follow at once are put in `follow`.
    pub fn act(&mut self, action: Action) {
        match action {
            Action::PlanJob { job } => self.start_split(job),
            Action::Assign { worker, task } => self.assign(worker, *task),
            Action::Revoke { worker, attempt } => {
                self.sessions.send(worker, Tell::Revoke(v1::Revoke { attempt: Some(attempt.into()) }));
            }
            Action::Grant { worker, attempt } => {
                self.sessions.send(worker, Tell::Grant(v1::Grant { attempt: Some(attempt.into()) }));
            }
            Action::Published { worker, attempt, report } => self.record_published(worker, attempt, *report),
            Action::Charged { task, failures } => self.journal.note(Record::Failures(task, failures)),
            Action::Uncharged { task, tally } => self.journal.note(Record::Uncharged(task, tally)),
            Action::SetAside { record } => self.journal.note(Record::BadRecord(record)),
            Action::WorkerChanged { worker, state, reason } => {
                let reason = reason.unwrap_or_default();
                match state {
                    WorkerState::Excluded | WorkerState::Lost => {
                        tracing::warn!(%worker, state = state.as_str(), reason, "worker takes no tasks");
                    }
                    WorkerState::Live | WorkerState::Draining => {
                        tracing::info!(%worker, state = state.as_str(), "worker takes tasks again");
                    }
                }
            }
            Action::CommitJob { job, parts, bad_records, collected } => {
                self.store_collected(job, collected, Then::Seal(Commit { parts, bad_records }));
            }
            Action::JobEnded { job, status, collected, workers } => self.job_ended(job, *status, collected, workers),
        }
    }

    pub fn start_split(&mut self, job: JobId) {
        if self.waits_for_datasets(job) {
            return self.unsplit.push(job);
        }
        match self.pin_datasets(job) {
            Ok(datasets) => self.active.get_mut(&job).into_iter().for_each(|active| active.datasets = datasets.clone()),
            Err(failure) => return self.follow.push_back(Event::PlanFailed { job, failure }),
        }
        if let Err(failure) = self.begin_outputs(job) {
            return self.follow.push_back(Event::PlanFailed { job, failure });
        }
        self.try_split(job);
    }

    /// A try is on record before it begins, so that a job which ends the coordinator is not tried without end. The first try of a
    /// new job is noted in a file, which survives the process, and begins while its submit is on the way to the journal. If that
    /// ended the coordinator too early, the next submit of the job waits until it is durable.
    fn try_split(&mut self, job: JobId) {
        let Some(active) = self.active.get_mut(&job) else { return };
        let is_first = active.tries == 0;
        active.tries += 1;
        let record = Record::Tries(job, active.tries);
        if !active.is_queued {
            active.splits_when_durable = !is_first;
            self.journal.note(record);
            if is_first {
                self.split(job);
            }
            return;
        }
        let mailbox = self.mailbox.clone();
        let done = Box::new(move |result| {
            mailbox.blocking_send(Message::MaySplit { job, result });
        });
        self.journal.record(record, done);
    }

    /// Lists and cuts inputs, and stages outputs, on a thread.
    pub fn split(&mut self, job: JobId) {
        let Some(active) = self.active.get_mut(&job) else { return };
        let Some(spec) = self.scheduler.spec(job).cloned() else { return };
        let datasets = std::mem::take(&mut active.datasets);
        let live = self.scheduler.workers();
        let slots = live.iter().filter(|w| w.state == WorkerState::Live).map(|w| w.slots).sum();
        let (claims, notes, mailbox) = (self.claims.clone(), self.notes.clone(), self.mailbox.clone());
        let (steps, planners) = (active.steps.clone(), self.planners.clone());
        self.splitting.insert(job);
        self.work.spawn(async move {
            let (own, late_claims) = (steps.clone(), claims.clone());
            let plan = move || {
                notes.note(&spec);
                crashpoint!("plan.begun");
                split_job(&spec, slots, &claims, &datasets, &own)
            };
            // Given up meanwhile: the job has ended, and nothing of it may stay.
            let late = move |result: Result<SplitJob, Failure>| {
                late_claims.release(job);
                if let Ok(split) = result {
                    abandon(split.staging.iter().map(|s| &s.staging));
                }
            };
            let result = planners.run(&steps, plan, late).await.flatten();
            mailbox.send(Message::Split { job, result }).await;
        });
    }

    /// The job is split: every worker is asked whether it sees the files.
    pub fn handle_split(&mut self, job: JobId, result: Result<SplitJob, Failure>) {
        self.splitting.remove(&job);
        let split = match result {
            Ok(split) => split,
            Err(failure) => {
                self.end_of_unknown(job, Vec::new());
                return self.step(Event::PlanFailed { job, failure });
            }
        };
        let Some(active) = self.active.get_mut(&job) else {
            return self.end_of_unknown(job, split.staging);
        };
        active.staging = split.staging.clone();
        active.tries = 0;
        self.journal.note(Record::Tries(job, 0));
        let now = self.clock.now();
        // Whoever is lost and still has a session says nothing: its tasks are others' by now.
        for worker in self.sessions.workers().filter(|w| self.scheduler.worker_address(*w).is_some()) {
            for question in self.checks.ask(now, job, worker, &split) {
                self.sessions.send(worker, Tell::CheckStaging(question));
            }
        }
        active.split = Some(split);
        self.plan_if_checked(job);
    }

    /// The first task may run when nobody's answer is awaited any more.
    pub fn plan_if_checked(&mut self, job: JobId) {
        let left_out = match self.checks.take_checked(job) {
            Some(Checked::Passed(left_out)) => left_out,
            Some(Checked::Failed(failure)) => return self.step(Event::PlanFailed { job, failure }),
            None => return,
        };
        left_out.into_iter().for_each(|(worker, failure)| self.leave_out(job, worker, failure));
        if let Some(mut split) = self.active.get_mut(&job).and_then(|active| active.split.take()) {
            split.stages.iter_mut().flat_map(|s| &mut s.chunks).for_each(|chunk| self.locate(chunk));
            let restorable =
                RestoredSplit { epoch: self.epoch, input_bytes: split.input_bytes, stages: split.stages.clone() };
            // Should it get lost, the inputs are cut again, and attempts on these chunks are not used.
            let mailbox = self.mailbox.clone();
            let done = Box::new(move |result: Result<Durable, Failure>| {
                if let Ok(durable) = result {
                    mailbox.blocking_send(Message::SplitRecorded { job, durable });
                }
            });
            self.journal.note_then(Record::Split(job, Box::new(restorable)), done);
            self.step(Event::Planned { job, input_bytes: split.input_bytes, stages: split.stages });
        }
    }

    /// The job gives nothing to a worker that does not see its files.
    pub fn leave_out(&mut self, job: JobId, worker: WorkerId, failure: Failure) {
        tracing::warn!(%job, %worker, "the worker is left out of the job: {failure}");
        self.step(Event::LeftOut { job, worker, failure });
    }

    /// A job that ended while it was split: what came of it goes away.
    fn end_of_unknown(&mut self, job: JobId, staging: Vec<StagedSink>) {
        if !self.active.contains_key(&job) {
            self.claims.release(job);
            self.remove(job, staging);
        }
    }

    fn assign(&mut self, worker: WorkerId, task: Task) {
        let job = task.attempt.task.job;
        self.ran.entry(job).or_default().insert(worker);
        let setup = match self.sessions.needs_setup(worker, job) {
            true => self.setup(job),
            false => None,
        };
        let peers = self.peers(&task);
        let chunks = self.chunk_sources(&task);
        self.sessions.send(worker, Tell::Assign(v1::Assign { task: Some(task.into()), setup, peers, chunks }));
    }

    /// What executors of a job need.
    fn setup(&self, job: JobId) -> Option<v1::JobSetup> {
        let spec = self.scheduler.spec(job)?;
        let active = self.active.get(&job)?;
        let staging = active.staging.iter().map(|staged| v1::StagingFolder {
            sink: staged.sink,
            path: path_to_bytes(&staged.staging.folder),
            suffix: spec.plan.sinks[staged.sink as usize].suffix.clone(),
            nonce: staged.nonce.clone(),
        });
        Some(v1::JobSetup {
            job: Some(job.into()),
            name: spec.name.clone(),
            program: spec.program.clone(),
            params: spec.params.clone(),
            binary: Some(spec.binary.into()),
            fingerprint: Some(spec.plan.fingerprint.into()),
            sides: spec.plan.sides.iter().map(|s| (*s).into()).collect(),
            staging: staging.collect(),
            dataset_sinks: active.outputs.keys().copied().collect(),
            task_timeout_ms: spec.options.task_timeout_ms.unwrap_or(0),
            progress_timeout_ms: spec.options.progress_timeout_ms.unwrap_or(0),
        })
    }

    /// Where the task's segments are.
    fn peers(&self, task: &Task) -> Vec<v1::Peer> {
        let segments = task.inputs.iter().flat_map(|input| match input {
            TaskInput::Segments(segments) => &segments[..],
            TaskInput::Chunk(_) | TaskInput::Inline(_) => &[],
        });
        let holders: BTreeSet<WorkerId> = segments.map(|s| s.worker).collect();
        let peer = |w: WorkerId| {
            let address = self.scheduler.worker_address(w)?.to_string();
            let home = self.scheduler.worker_home(w).cloned().map(Into::into);
            Some(v1::Peer { worker: Some(w.into()), address, home })
        };
        holders.into_iter().filter_map(peer).collect()
    }

    fn record_published(&mut self, worker: WorkerId, attempt: AttemptId, report: TaskReport) {
        let outputs = self.active.get(&attempt.task.job).into_iter().flat_map(|a| &a.outputs);
        let chunks = outputs.filter_map(|(sink, o)| Some((*sink, *o.chunks.get(&attempt)?))).collect();
        let task = RestoredTask { worker, attempt, report };
        self.journal.note(Record::Published(Box::new(PublishedTask { task, chunks })));
    }

    /// Before the first output can be seen it is on record that the job is being committed: from then on it can only be
    /// done or fail, and its parts and results are those that are recorded.
    pub fn seal(&mut self, job: JobId, commit: Commit) {
        let Some(status) = self.scheduler.status(job, self.clock.now()) else { return };
        let Some(record) = self.record_of(job, status) else { return };
        if let Some(active) = self.active.get_mut(&job).filter(|active| active.commit_held.is_none()) {
            active.tries += 1;
            self.journal.note(Record::Tries(job, active.tries));
        }
        let mailbox = self.mailbox.clone();
        let done = Box::new(move |result: Result<Durable, Failure>| {
            mailbox.blocking_send(Message::Sealed { job, commit, result });
        });
        self.journal.record(record.into(), done);
    }

    /// What the journal keeps of a job that the scheduler knows.
    fn record_of(&self, job: JobId, status: JobStatus) -> Option<JobRecord> {
        let spec = self.scheduler.spec(job)?;
        Some(JobRecord {
            status,
            program: spec.program.clone(),
            binary: spec.binary,
            spec: Some(spec_digest(spec)),
            collects: Some(!spec.plan.collects.is_empty()),
        })
    }

    pub fn end(&mut self, job: JobId, status: JobStatus, workers: &[WorkerId]) {
        self.checks.forget(job);
        self.forget_publishing(job);
        self.unsplit.retain(|unsplit| *unsplit != job);
        let told: BTreeSet<WorkerId> =
            self.sessions.forget_job(job).into_iter().chain(workers.iter().copied()).collect();
        for worker in told {
            self.sessions.send(worker, Tell::DropJob(v1::DropJob { job: Some(job.into()) }));
        }
        self.committing.remove(&job);
        self.commits.remove(&job);
        let active = self.active.remove(&job).unwrap_or_default();
        self.spec_bytes -= active.spec_bytes;
        active.steps.cancel();
        let now = self.clock.now();
        active.outputs.values().for_each(|output| self.datasets.end_put(output.put, now));
        // They go, and their outputs are free again, when the end is recorded: until then a restart goes on with the job.
        self.leftovers.insert(job, active.staging);

        let Some(record) = self.record_of(job, status.clone()) else {
            return tracing::error!(%job, "a job ended that the scheduler does not know");
        };
        let JobStatus { name, state, tasks, attempts, elapsed_ms, error, .. } = &status;
        let code = error.as_ref().map_or("", |e| e.code.as_str());
        let (state, done, total) = (state.as_str(), tasks.done, tasks.total);
        tracing::info!(%job, ?name, state, code, tasks = done, of = total, attempts, elapsed_ms, "job ended");
        self.ending.insert(job);
        let past = Box::new(Past { status, spec: record.spec, collects: record.collects });
        let mailbox = self.mailbox.clone();
        let done = Box::new(move |recorded: Result<Durable, Failure>| match recorded {
            Ok(durable) => drop(mailbox.blocking_send(Message::EndRecorded { job, past, durable })),
            // This life ends with its journal; the next one goes on with the job.
            Err(failure) => tracing::error!(%job, "the end of a job is not recorded: {failure}"),
        });
        self.journal.record(record.into(), done);
        self.forget_old_runs();
    }

    /// Removes what a job has staged, and the note of it, unless more may be staged for it at this moment: then that stays until
    /// whoever does so is done, or the next start of a coordinator.
    pub fn remove(&mut self, job: JobId, staging: Vec<StagedSink>) {
        let notes = Some(self.notes.clone()).filter(|_| !self.splitting.contains(&job));
        self.work.spawn_blocking(move || {
            abandon(staging.iter().map(|s| &s.staging));
            notes.into_iter().for_each(|notes| notes.forget(job));
        });
    }

    /// Who ran what is kept for as many jobs as lists show, and for all that have not ended.
    fn forget_old_runs(&mut self) {
        while self.ran.len() > crate::job_view::PAST_MAX + self.active.len()
            && let Some(oldest) = self.ran.keys().find(|job| !self.active.contains_key(job)).copied()
        {
            self.ran.remove(&oldest);
        }
    }
}
