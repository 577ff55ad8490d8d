//! Performs the scheduler's actions: one arm for each. Work that may block goes to a thread, which answers with a message.

use crate::commit::Commit;
use crate::driver::Driver;
use crate::jobs::End;
use crate::journal::{PublishedTask, Record};
use std::sync::Arc;
use windrow_model::{AttemptId, JobId, StageOutputs, Task, TaskReport, WorkerId, WorkerState};
use windrow_proto::convert::path_to_bytes;
use windrow_proto::v1::{self, to_worker::Message as Tell};
use windrow_scheduler::{Action, RestoredTask};

impl Driver {
    /// Performs one action. Events that result at once are put in `follow`.
    pub(crate) fn act(&mut self, action: Action) {
        match action {
            Action::PlanJob { job } => self.start_split(job),
            Action::Assign { worker, task, tables } => self.assign(worker, *task, &tables),
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
                self.worker_changed(worker, state, &reason.unwrap_or_default());
            }
            Action::CommitJob { job, parts, bad_records, collected } => {
                self.tasks_done(job, Commit { parts, bad_records }, collected);
            }
            Action::JobEnded { job, status, collected, workers } => {
                self.job_ended(job, End { status, workers, collected });
            }
        }
    }

    fn worker_changed(&mut self, worker: WorkerId, state: WorkerState, reason: &str) {
        self.history.worker_changed(worker, state, reason, self.clock.now());
        match state {
            WorkerState::Excluded | WorkerState::Lost => {
                tracing::warn!(%worker, state = state.as_str(), reason, "worker takes no tasks");
            }
            WorkerState::Live | WorkerState::Draining => {
                tracing::info!(%worker, state = state.as_str(), "worker takes tasks again");
            }
        }
        if state == WorkerState::Lost {
            self.worker_lost(worker);
        }
    }

    fn assign(&mut self, worker: WorkerId, task: Task, tables: &[Arc<StageOutputs>]) {
        let job = task.attempt.task.job;
        self.ran_on.note(job, worker);
        let setup = match self.sessions.needs_setup(worker, job) {
            true => self.setup(job),
            false => None,
        };
        let (tables, peers) = self.take_lacking(worker, tables);
        let chunks = self.chunk_sources(&task);
        self.sessions.send(worker, Tell::Assign(v1::Assign { task: Some(task.into()), setup, peers, chunks, tables }));
    }

    /// What executors of a job need.
    fn setup(&self, job: JobId) -> Option<v1::JobSetup> {
        let spec = self.scheduler.spec(job)?;
        let prepared = self.jobs.prepared(job)?;
        let staging = prepared.staging.sinks.iter().map(|staged| v1::StagingFolder {
            sink: staged.sink,
            path: path_to_bytes(&staged.staging.area),
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
            dataset_sinks: prepared.outputs.keys().copied().collect(),
            task_timeout_ms: spec.options.task_timeout_ms.unwrap_or(0),
            progress_timeout_ms: spec.options.progress_timeout_ms.unwrap_or(0),
        })
    }

    fn record_published(&mut self, worker: WorkerId, attempt: AttemptId, report: TaskReport) {
        let outputs = self.jobs.outputs(attempt.task.job);
        let chunks = outputs.filter_map(|(sink, o)| Some((*sink, *o.chunks.get(&attempt)?))).collect();
        let receipts = self.jobs.prepared(attempt.task.job).map(|prepared| &prepared.staging.receipts);
        let receipts = receipts.into_iter().flat_map(|receipts| receipts.of_attempt(attempt));
        let receipts = receipts.map(|(sink, receipt)| (sink, receipt.clone())).collect();
        let task = RestoredTask { worker, attempt, report };
        self.journal.note(Record::Published(Box::new(PublishedTask { task, chunks, receipts })));
    }
}
