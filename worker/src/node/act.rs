//! Performs the actions of `windrow-attempts`: each is begun here, runs in a task of its own if it takes time, and reports
//! back as an event. It decides nothing.

use super::{Begun, Mail, Node, StagingTask};
use crate::artifacts::Artifacts;
use crate::executor::{self, Command, supervise};
use crate::finished_part;
use crate::job::JobSetup;
use crate::made_files::MadeFiles;
use crate::progress::Watch;
use crate::publish::{PublishedParts, check_setup, publish};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use windrow_attempts::{Action, Event, Report, StageError};
use windrow_model::{AttemptId, Chunk, Code, Escape, Failure, JobId, Task, TaskInput};
use windrow_net::Connection;
use windrow_proto::convert::path_to_bytes;
use windrow_proto::v1::{self, from_worker};
use windrow_store::StorageCalls;

/// An attempt that still runs this long after its cancellation takes its executor with it.
const CANCEL_GRACE: Duration = Duration::from_secs(1);
/// Grace for an attempt that was withdrawn right after its start. The task that goes instead waited for this slot, and
/// has it already unless it is of the same job. The withdrawn attempt is not known to be slow, so its neighbours should
/// not rerun for it soon.
const WITHDRAWN_GRACE: Duration = Duration::from_secs(30);
/// An attempt this young has just started.
const JUST_NOW: Duration = Duration::from_secs(1);
/// How long unused artifacts are kept after their last request.
const ARTIFACTS_KEPT: Duration = Duration::from_secs(24 * 3600);
const COLLECT_EVERY: Duration = Duration::from_secs(3600);

impl Node {
    /// Performs one action; what takes time is only begun.
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Stage(task) => self.stage(task),
            Action::StartExecutor { job, generation } => self.start_executor(job, generation),
            Action::Run(id) => self.run_task(id),
            Action::Clear(id) => self.clear(id),
            Action::Cancel(id) => self.cancel(id, CANCEL_GRACE),
            Action::Withdraw(id) => {
                let just_now = self.began.get(&id).is_some_and(|begun| begun.at.elapsed() < JUST_NOW);
                self.cancel(id, if just_now { WITHDRAWN_GRACE } else { CANCEL_GRACE });
            }
            Action::KillExecutor(job) => self.command(job, Command::Kill),
            Action::RemoveInputs(id) => {
                let made = self.staged.remove(&id).map(|staged| staged.made).unwrap_or_default();
                if let Some(job) = self.jobs.get(&id.task.job).filter(|_| !made.is_empty()) {
                    // The attempt has reported that it is done, so its executor does not read them any more.
                    let spare = job.spare.clone();
                    self.background.spawn_blocking(move || spare.keep_or_delete(made));
                }
            }
            Action::Serve(id) => {
                self.began.remove(&id);
                self.serve(id);
            }
            Action::Remove(id) => {
                let mut files = self.forget_outputs(id);
                if let Some(begun) = self.began.remove(&id) {
                    files.extend(self.parts.scratch.attempt(&id).of_outputs(&begun.outputs));
                }
                files.extend(self.staged.remove(&id).into_iter().flat_map(|staged| staged.made));
                self.published.remove(&id);
                let staging = self.stagings.remove(&id).into_iter().collect();
                let removal = self.remove(id.task.job, files, staging, Vec::new());
                self.last_removal = Some((id, removal));
            }
            Action::Publish { attempt, sinks } => self.publish(attempt, sinks),
            Action::DropJob { job, at_once } => self.drop_job(job, at_once),
            Action::Report(Report::Failed(id, failure)) if failure.code == Code::NoSpace => {
                self.report_after_a_look(id, failure)
            }
            Action::Report(report) => self.report(report),
        }
    }

    fn cancel(&self, id: AttemptId, grace: Duration) {
        self.command(id.task.job, Command::Cancel(id));
        self.post_later(grace, Event::CancelOverdue(id));
    }

    fn stage(&mut self, task: Box<Task>) {
        let id = task.attempt;
        let answer = move |staged| match staged {
            Ok(staged) => Mail::Staged(id, staged),
            Err(error) => Mail::Attempt(Event::StageFailed(id, error)),
        };
        let sources = self.sources.remove(&id).unwrap_or_default();
        let wanted = match self.wanted_ports(&task) {
            Ok(wanted) => wanted,
            Err(failure) => {
                let _ = self.post.send(answer(Err(StageError::Failed(failure))));
                return;
            }
        };
        if let Some(staged) = self.staging.at_once(&task, &wanted) {
            let _ = self.post.send(answer(Ok(staged)));
            return;
        }
        let cancel = CancellationToken::new();
        let (staging, peers, post, cancelled) =
            (self.staging.clone(), self.peers.clone(), self.post.clone(), cancel.clone());
        let spare = self.jobs.get(&id.task.job).map(|job| job.spare.clone()).unwrap_or_default();
        let staging = async move {
            let made = Arc::new(MadeFiles::new(spare));
            let staged = staging.stage(&task, &wanted, &peers, &sources, &made);
            // A cancelled staging belongs to a forgotten attempt: there is no receiver for an answer.
            let Some(staged) = cancelled.run_until_cancelled(staged).await else { return made.take() };
            // If the attempt was forgotten meanwhile, the removal finds them here.
            let files = staged.as_ref().map_or_else(|_| made.take(), |staged| staged.made.clone());
            let _ = post.send(answer(staged));
            files
        };
        let task = self.background.spawn_on(staging, &self.parts.transfers);
        self.stagings.insert(id, StagingTask { cancel, task });
    }

    fn start_executor(&mut self, id: JobId, generation: u64) {
        let Some(spool) = self.spool_of(id, generation) else { return };
        let notices = self.notices();
        let Some(job) = self.jobs.get_mut(&id) else { return };
        // A new process knows nothing.
        job.told_places.clear();
        let plan = plan(
            job.setup.clone(),
            job.folder.clone(),
            self.artifacts.clone(),
            self.session.as_ref().map(|s| s.connection.clone()),
            [self.staging.storage.clone(), self.looks.clone()],
            spool,
            Share {
                threads: self.parts.slots,
                memory_bytes: self.parts.memory_bytes,
                scratch_quota_bytes: self.parts.scratch_quota_bytes.unwrap_or(0),
            },
        );
        let log = self.parts.logs.open(id);
        let watch = Watch::new(self.parts.progress.clone());
        let handle = supervise::start(id, generation, self.parts.spawner.clone(), log, watch, plan, notices);
        if let Some(last) = job.executor.replace(handle) {
            job.gone.retain(|h| !h.has_ended());
            job.gone.push(last);
        }
    }

    fn clear(&mut self, id: AttemptId) {
        let outputs = self.attempts.task(id).map(|task| &task.outputs[..]).unwrap_or_default();
        let (files, post) = (self.parts.scratch.attempt(&id).of_outputs(outputs), self.post.clone());
        let clearing = self.background.spawn_blocking(move || {
            for file in files {
                match std::fs::remove_file(&file) {
                    // The executor reports a problem with the file, if there is one.
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        tracing::warn!("cannot remove {}: {e}", file.escaped());
                    }
                    _ => {}
                }
            }
            let _ = post.send(Mail::Attempt(Event::Cleared(id)));
            Vec::new()
        });
        // Like a staging it is awaited before the attempt's files are removed.
        self.stagings.insert(id, StagingTask { cancel: CancellationToken::new(), task: clearing });
    }

    fn run_task(&mut self, id: AttemptId) {
        self.stagings.remove(&id);
        let Some(task) = self.attempts.task(id) else { return };
        let folder = self.parts.scratch.job(id.incarnation, id.task.job);
        let mut task = task.clone();
        self.began.insert(id, Begun { at: Instant::now(), outputs: task.outputs.clone() });
        if let Some(local) = self.staged.get(&id).and_then(|s| s.chunk.clone())
            && let Some(TaskInput::Chunk(chunk)) = task.inputs.iter_mut().find(|i| matches!(i, TaskInput::Chunk(_)))
        {
            *chunk = Chunk { skip: std::mem::take(&mut chunk.skip), ..local };
        }
        let chunk = task.inputs.iter().find_map(|input| match input {
            TaskInput::Chunk(chunk) => Some(Box::new(chunk.clone())),
            TaskInput::Edge(_) | TaskInput::Inline(_) => None,
        });
        let ports = self.port_files(id);
        let run = v1::RunTask {
            task: Some(task.into()),
            folder: path_to_bytes(&folder),
            ports,
            compress: self.parts.compress,
        };
        let run = Command::Run(id, Box::new(run), chunk);
        let Some(executor) = self.jobs.get(&id.task.job).and_then(|j| j.executor.as_ref()) else { return };
        executor.send(run);
    }

    fn publish(&mut self, id: AttemptId, sinks: Vec<u32>) {
        let Some(job) = self.jobs.get(&id.task.job) else { return };
        let (setup, storage) = (job.setup.clone(), self.staging.storage.clone());
        let files = self.parts.scratch.attempt(&id);
        let chunks = self.staging.replicas.chunks.clone();
        let post = self.post.clone();
        let parts = finished_part::parts_of(self.attempts.report(id), &sinks);
        self.background.spawn(async move {
            // If the coordinator has chosen another attempt since, this one's parts have names that the commit ignores.
            let published = match parts {
                Ok(parts) => publish(id, files, parts, &setup, chunks, &storage).await,
                Err(failure) => Err(failure),
            };
            let _ = post.send(match published {
                Ok(parts) => Mail::Published(id, parts),
                Err(failure) => Mail::Attempt(Event::PublishFailed(id, failure)),
            });
        });
    }

    fn drop_job(&mut self, id: JobId, at_once: bool) {
        let mut executors = Vec::new();
        if let Some(mut job) = self.jobs.remove(&id) {
            executors = job.gone;
            if let Some(executor) = job.executor.take() {
                executor.send(if at_once { Command::Kill } else { Command::Close });
                executors.push(executor);
            }
        }
        self.parts.outputs.remove_job(id);
        self.forget_tables(id);
        self.parts.logs.ended(id);
        self.began.retain(|a, _| a.task.job != id);
        self.staged.retain(|a, _| a.task.job != id);
        self.published.retain(|a, _| a.task.job != id);
        let folders = self.parts.scratch.set_aside_job(id);
        let stagings = self.stagings.extract_if(|a, _| a.task.job == id).map(|(_, staging)| staging).collect();
        self.remove(id, folders, stagings, executors);
        self.collect_artifacts();
        self.heap.job_ended();
    }

    /// Executors and stagings may recreate a folder of an ended job before they are cancelled. They have ended now: the
    /// folder is removed, unless the job has been restarted.
    pub(super) fn sweep_job(&mut self, id: JobId) {
        if !self.jobs.contains_key(&id) {
            let folders = self.parts.scratch.set_aside_job(id);
            self.remove(id, folders, Vec::new(), Vec::new());
        }
    }

    /// Periodically, when a job has ended: removes binaries and side values that have not been used for long.
    fn collect_artifacts(&mut self) {
        if self.collected.is_some_and(|at| at.elapsed() < COLLECT_EVERY) {
            return;
        }
        self.collected = Some(Instant::now());
        let setups = self.jobs.values().map(|job| &job.setup);
        let used = setups.flat_map(|s| s.sides.iter().copied().chain([s.binary])).collect();
        let artifacts = self.artifacts.clone();
        self.background.spawn_blocking(move || {
            if let Err(e) = artifacts.collect(&used, ARTIFACTS_KEPT) {
                tracing::warn!("cannot delete unused artifacts: {e}");
            }
        });
    }

    /// Deletes files and folders of a job once all writers have ended.
    fn remove(
        &self,
        job: JobId,
        mut paths: Vec<PathBuf>,
        stagings: Vec<StagingTask>,
        executors: Vec<executor::Handle>,
    ) -> JoinHandle<()> {
        stagings.iter().for_each(|s| s.cancel.cancel());
        let quiet = (!stagings.is_empty() || !executors.is_empty()).then(|| self.post.clone());
        let deletions = self.deletions.clone();
        self.background.spawn(async move {
            for staging in stagings {
                paths.extend(staging.task.await.unwrap_or_default());
            }
            for executor in executors {
                executor.ended().await;
            }
            if !paths.is_empty() {
                deletions.remove(paths).await;
            }
            quiet.into_iter().for_each(|post| drop(post.send(Mail::JobQuiet(job))));
        })
    }

    fn command(&self, job: JobId, command: Command) {
        if let Some(executor) = self.jobs.get(&job).and_then(|j| j.executor.as_ref()) {
            executor.send(command);
        }
    }

    fn post_later(&self, delay: Duration, event: Event) {
        let post = self.post.clone();
        tokio::spawn(async move {
            sleep(delay).await;
            let _ = post.send(Mail::Attempt(event));
        });
    }

    pub(super) fn report(&self, report: Report) {
        use from_worker::Message;
        self.send(match report {
            Report::Done(id, report) => {
                Message::Done(v1::AttemptDone { attempt: Some(id.into()), report: Some(report.into()) })
            }
            Report::Failed(id, failure) => {
                Message::Failed(v1::AttemptFailed { attempt: Some(id.into()), failure: Some(failure.into()) })
            }
            Report::Published(id) => {
                let PublishedParts { chunks, placed } = self.published.get(&id).cloned().unwrap_or_default();
                Message::Published(v1::Published { attempt: Some(id.into()), chunks, parts: placed })
            }
            Report::PublishFailed(id, failure) => {
                Message::PublishFailed(v1::PublishFailed { attempt: Some(id.into()), failure: Some(failure.into()) })
            }
            Report::SegmentLost { reader, lost, failure } => Message::SegmentLost(v1::SegmentLost {
                reader: Some(reader.into()),
                lost: Some(lost.into()),
                failure: Some(failure.into()),
            }),
        });
    }

    pub(super) fn send(&self, message: from_worker::Message) {
        // Without a session the message is dropped.
        if let Some(outgoing) = &self.outgoing {
            let _ = outgoing.send(v1::FromWorker { message: Some(message) });
        }
    }
}

/// The resources of an executor; a quota of 0 means none.
struct Share {
    threads: u32,
    memory_bytes: u64,
    scratch_quota_bytes: u64,
}

/// The inputs for starting an executor of this job.
async fn plan(
    setup: JobSetup,
    folder: PathBuf,
    artifacts: Arc<Artifacts>,
    coordinator: Option<Connection>,
    [storage, looks]: [StorageCalls; 2],
    spool: PathBuf,
    share: Share,
) -> Result<executor::Plan, Failure> {
    let binary = artifacts.open(setup.binary, coordinator.as_ref()).await?;
    let mut sides = Vec::with_capacity(setup.sides.len());
    for side in &setup.sides {
        sides.push(path_to_bytes(&artifacts.get(*side, coordinator.as_ref()).await?));
    }
    check_setup(&setup.staging, &storage).await?;
    // Here, and not in the blocking thread: this future is dropped if the job ends meanwhile, and a folder made after
    // that would never be removed.
    windrow_format::private::create_folders(&folder).map_err(|e| crate::error::disk_failure("make", &folder, 0, &e))?;
    let message = v1::ExecutorSetup {
        protocol: windrow_proto::PROTOCOL_MAX,
        program: setup.program,
        params: setup.params,
        fingerprint: Some(setup.fingerprint.into()),
        sides,
        threads: share.threads,
        memory_bytes: share.memory_bytes,
        scratch_quota_bytes: share.scratch_quota_bytes,
        spool: path_to_bytes(&spool),
    };
    let (fingerprint, limits) = (setup.fingerprint, setup.limits);
    Ok(executor::Plan { binary, folder, setup: message, fingerprint, limits, looks })
}
