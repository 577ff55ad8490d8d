//! The owner of the daemon's state: one task with a mailbox. Events come in, `attempts.rs` decides, this file acts.
//!
//! It waits for nothing but its mailbox: whatever takes time (staging, publishing, deleting, executors) runs in a task
//! of its own and comes back as an event. What it holds beside the attempts is the means to act: the session, setups
//! of jobs, handles of executors and stagings.

use crate::artifacts::Artifacts;
use crate::attempts::{Action, Attempts, Event, Report};
use crate::error::Error;
use crate::executor::{self, Command, Spawner, supervise};
use crate::job::JobSetup;
use crate::logs::Logs;
use crate::outputs::Outputs;
use crate::publish::{check_setup, check_shared, publish};
use crate::scratch::Scratch;
use crate::session::{self, Up};
use crate::staging::{Staged, Staging};
use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use windrow_model::{AttemptId, Code, Failure, JobId, Task, WorkerId};
use windrow_net::{Clock, Connection};
use windrow_proto::convert::path_to_bytes;
use windrow_proto::v1::{self, from_worker, to_worker};

/// An attempt that was told to stop and still runs after this time takes its executor with it.
const CANCEL_GRACE: Duration = Duration::from_secs(1);
/// A worker that was asked to end does so after this time, whatever still needs it.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// Executors and deletions that are under way at the end are awaited for so long.
const STOP_MAX: Duration = Duration::from_secs(5);

/// What a node is made of.
#[derive(Debug)]
pub struct Parts {
    pub slots: u32,
    pub memory_bytes: u64,
    /// Compress what executors write for the shuffle.
    pub compress: bool,
    pub scratch: Arc<Scratch>,
    pub outputs: Outputs,
    pub logs: Logs,
    pub spawner: Spawner,
    pub clock: Clock,
}

#[derive(Debug)]
enum Mail {
    Attempt(Event),
    Staged(AttemptId, Staged),
}

#[derive(Debug)]
struct Job {
    setup: JobSetup,
    folder: PathBuf,
    executor: Option<executor::Handle>,
    /// Executors that ended or were replaced: their processes are gone before the job's files are.
    gone: Vec<executor::Handle>,
}

#[derive(Debug)]
struct StagingTask {
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

#[derive(Debug)]
pub struct Node {
    parts: Parts,
    artifacts: Arc<Artifacts>,
    staging: Arc<Staging>,
    attempts: Attempts,
    session: Option<Up>,
    peers: Arc<HashMap<WorkerId, String>>,
    jobs: HashMap<JobId, Job>,
    stagings: HashMap<AttemptId, StagingTask>,
    staged: HashMap<AttemptId, Staged>,
    post: mpsc::UnboundedSender<Mail>,
    mail: mpsc::UnboundedReceiver<Mail>,
    background: TaskTracker,
    draining: bool,
}

impl Node {
    /// A node without attempts.
    pub fn new(parts: Parts, staging: Arc<Staging>) -> Node {
        let (post, mail) = mpsc::unbounded_channel();
        Node {
            artifacts: Arc::new(Artifacts::new(parts.scratch.clone())),
            staging,
            attempts: Attempts::new(parts.slots),
            parts,
            session: None,
            peers: Arc::default(),
            jobs: HashMap::new(),
            stagings: HashMap::new(),
            staged: HashMap::new(),
            post,
            mail,
            background: TaskTracker::new(),
            draining: false,
        }
    }

    /// Works until `shutdown` and the drain after it are over, or the coordinator refuses this worker.
    pub async fn run(
        mut self,
        mut session: mpsc::UnboundedReceiver<session::Event>,
        shutdown: impl Future<Output = ()>,
        on_registered: impl FnOnce(WorkerId),
    ) -> Result<(), Error> {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut on_registered = Some(on_registered);
        let mut end_by: Option<Instant> = None;
        let result = loop {
            tokio::select! {
                // In this order: a lost session is known before reports are sent into it.
                biased;
                event = session.recv() => match event {
                    Some(session::Event::Up(up)) => {
                        self.session = Some(up);
                        if let Some(on_registered) = on_registered.take() {
                            on_registered(self.parts.scratch.worker());
                        }
                        if self.draining {
                            self.send(from_worker::Message::Draining(v1::Draining {}));
                        }
                    }
                    Some(session::Event::Message(message)) => self.hear(*message),
                    Some(session::Event::Down(failure)) => {
                        tracing::warn!("the session with the coordinator is lost: {failure}");
                        self.session_lost();
                    }
                    Some(session::Event::Refused(error)) => break Err(error),
                    None => break Ok(()),
                },
                mail = self.mail.recv() => match mail {
                    Some(Mail::Attempt(event)) => self.step(event),
                    Some(Mail::Staged(attempt, staged)) => {
                        self.staged.insert(attempt, staged);
                        self.step(Event::Staged(attempt));
                    }
                    None => break Ok(()),
                },
                () = &mut shutdown, if end_by.is_none() => {
                    end_by = Some(Instant::now() + DRAIN_MAX);
                    self.drain();
                }
                () = sleep_until(end_by.unwrap_or_else(Instant::now)), if end_by.is_some() => break Ok(()),
            }
            // Outputs are served for as long as their job lives and the coordinator is there to need them.
            if self.draining && (self.attempts.is_empty() || self.session.is_none()) {
                break Ok(());
            }
        };
        self.stop().await;
        result
    }

    fn drain(&mut self) {
        if !std::mem::replace(&mut self.draining, true) {
            self.send(from_worker::Message::Draining(v1::Draining {}));
        }
    }

    async fn stop(mut self) {
        self.session_lost();
        self.background.close();
        // What is not deleted by then is swept by the next start.
        let _ = timeout(STOP_MAX, self.background.wait()).await;
    }

    fn session_lost(&mut self) {
        self.session = None;
        self.step(Event::SessionLost);
        self.peers = Arc::default();
    }

    /// One message of the coordinator.
    fn hear(&mut self, message: v1::ToWorker) {
        let attempt = |wire: Option<v1::AttemptId>| wire.and_then(|w| AttemptId::try_from(w).ok());
        match message.message {
            Some(to_worker::Message::Assign(assign)) => self.assigned(assign),
            Some(to_worker::Message::Revoke(v1::Revoke { attempt: wire })) => {
                attempt(wire).into_iter().for_each(|id| self.step(Event::Revoked(id)));
            }
            Some(to_worker::Message::Grant(v1::Grant { attempt: wire })) => {
                attempt(wire).into_iter().for_each(|id| self.step(Event::Granted(id)));
            }
            Some(to_worker::Message::DropJob(v1::DropJob { job })) => {
                if let Some(job) = job.and_then(|j| JobId::try_from(j).ok()) {
                    self.step(Event::JobDropped(job));
                }
            }
            Some(to_worker::Message::Drain(_)) => self.drain(),
            Some(to_worker::Message::CheckStaging(check)) => self.check_staging(check),
            // A newer coordinator's message, or a second greeting: nothing that could be answered.
            Some(to_worker::Message::Registered(_)) | None => {}
        }
    }

    fn assigned(&mut self, assign: v1::Assign) {
        for peer in assign.peers {
            if let Some(worker) = peer.worker.and_then(|w| WorkerId::try_from(w).ok()) {
                Arc::make_mut(&mut self.peers).insert(worker, peer.address);
            }
        }
        let Some(wire) = assign.task else { return };
        let named = wire.attempt.clone().and_then(|w| AttemptId::try_from(w).ok());
        let accepted = Task::try_from(wire).map_err(Failure::from).and_then(|task| {
            let id = task.attempt;
            if self.session.as_ref().is_none_or(|s| s.incarnation != id.incarnation) {
                return Err(Failure::new(Code::StaleAttempt, format!("attempt {id} is of another incarnation")));
            }
            if let Some(setup) = assign.setup {
                let setup = JobSetup::try_from(setup)?;
                let folder = self.parts.scratch.job(id.incarnation, setup.job);
                let job = Job { folder, executor: None, gone: Vec::new(), setup };
                self.jobs.entry(job.setup.job).or_insert(job);
            }
            match self.jobs.contains_key(&id.task.job) {
                true => Ok(task),
                false => Err(Failure::new(Code::BadRequest, format!("attempt {id} came without its job's setup"))),
            }
        });
        match (accepted, named) {
            (Ok(task), _) => self.step(Event::Assigned(Box::new(task))),
            (Err(failure), Some(id)) => self.report(Report::Failed(id, failure)),
            (Err(failure), None) => tracing::warn!("an assignment that names no attempt: {failure}"),
        }
    }

    fn check_staging(&mut self, check: v1::CheckStaging) {
        let Some(session) = &self.session else { return };
        let outgoing = session.outgoing.clone();
        self.background.spawn_blocking(move || {
            let request = check.request;
            let failure = check_shared(check).err().map(Into::into);
            let answer = v1::StagingChecked { request, failure };
            // If the session is over, so is the question.
            let _ = outgoing.send(v1::FromWorker { message: Some(from_worker::Message::StagingChecked(answer)) });
        });
    }

    fn step(&mut self, event: Event) {
        for action in self.attempts.step(event) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Stage(task) => self.stage(task),
            Action::StartExecutor { job, generation } => self.start_executor(job, generation),
            Action::Run { attempt, again } => self.run_task(attempt, again),
            Action::Cancel(id) => {
                self.tell(id.task.job, Command::Cancel(id));
                self.post_later(CANCEL_GRACE, Event::CancelOverdue(id));
            }
            Action::KillExecutor(job) => self.tell(job, Command::Kill),
            Action::RemoveInputs(id) => {
                if self.staged.remove(&id).is_some_and(|s| s.fetched) {
                    self.remove(self.parts.scratch.attempt(&id).inputs(), Vec::new(), Vec::new());
                }
            }
            Action::Serve(id) => self.parts.outputs.insert(id, self.parts.scratch.attempt(&id)),
            Action::Remove(id) => {
                self.parts.outputs.remove(&id);
                self.staged.remove(&id);
                let staging = self.stagings.remove(&id).into_iter().collect();
                self.remove(self.parts.scratch.attempt(&id).path().to_path_buf(), staging, Vec::new());
            }
            Action::Publish { attempt, sinks } => self.publish(attempt, sinks),
            Action::DropJob { job, at_once } => self.drop_job(job, at_once),
            Action::Report(report) => self.report(report),
        }
    }

    fn stage(&mut self, task: Box<Task>) {
        let id = task.attempt;
        let cancel = CancellationToken::new();
        let (staging, peers, post, cancelled) =
            (self.staging.clone(), self.peers.clone(), self.post.clone(), cancel.clone());
        let task = self.background.spawn(async move {
            // Whoever cancels has forgotten the attempt: nobody waits for an answer.
            let Some(staged) = cancelled.run_until_cancelled(staging.stage(&task, &peers)).await else { return };
            let _ = post.send(match staged {
                Ok(staged) => Mail::Staged(id, staged),
                Err(error) => Mail::Attempt(Event::StageFailed(id, error)),
            });
        });
        self.stagings.insert(id, StagingTask { cancel, task });
    }

    fn start_executor(&mut self, id: JobId, generation: u64) {
        let (Some(job), Some(session)) = (self.jobs.get_mut(&id), &self.session) else { return };
        let plan = plan(
            job.setup.clone(),
            job.folder.clone(),
            self.artifacts.clone(),
            session.connection.clone(),
            (self.parts.slots, self.parts.memory_bytes),
        );
        let post = self.post.clone();
        let events = move |event| {
            let _ = post.send(Mail::Attempt(event));
        };
        let log = self.parts.logs.open(id);
        let handle = supervise::start(id, generation, self.parts.spawner.clone(), log, plan, events);
        if let Some(last) = job.executor.replace(handle) {
            job.gone.retain(|h| !h.has_ended());
            job.gone.push(last);
        }
    }

    fn run_task(&mut self, id: AttemptId, again: bool) {
        self.stagings.remove(&id);
        let Some(task) = self.attempts.task(id) else { return };
        let folder = self.parts.scratch.attempt(&id).outputs();
        let run = v1::RunTask {
            task: Some(task.clone().into()),
            folder: path_to_bytes(&folder),
            segments: self.staged.get(&id).map(|s| s.segments.clone()).unwrap_or_default(),
            compress: self.parts.compress,
        };
        let run = Command::Run(id, Box::new(run));
        let Some(executor) = self.jobs.get(&id.task.job).and_then(|j| j.executor.as_ref()) else { return };
        if !again {
            return executor.tell(run);
        }
        let commands = executor.commands();
        self.background.spawn_blocking(move || {
            // The executor says what is wrong with the folder, if anything is.
            if let Err(e) = empty(&folder) {
                tracing::warn!("cannot empty {}: {e}", folder.display());
            }
            let _ = commands.send(run);
        });
    }

    fn publish(&mut self, id: AttemptId, sinks: Vec<(u32, u32)>) {
        let (Some(job), Some(session)) = (self.jobs.get(&id.task.job), &self.session) else { return };
        let staging = job.setup.staging.clone();
        let folder = self.parts.scratch.attempt(&id);
        let (lease, clock, post) = (session.lease.clone(), self.parts.clock, self.post.clone());
        self.background.spawn_blocking(move || {
            let published = match lease.has_run_out(clock.now()) {
                // The coordinator may have granted another attempt since.
                true => Err(Failure::new(Code::StaleAttempt, format!("the lease ran out before {id} was published"))),
                false => publish(id, &folder, &sinks, &staging),
            };
            let _ = post.send(Mail::Attempt(match published {
                Ok(()) => Event::Published(id),
                Err(failure) => Event::PublishFailed(id, failure),
            }));
        });
    }

    fn drop_job(&mut self, id: JobId, at_once: bool) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        if let Some(executor) = job.executor.take() {
            executor.tell(if at_once { Command::Kill } else { Command::Close });
            job.gone.push(executor);
        }
        self.parts.outputs.remove_job(id);
        self.parts.logs.ended(id);
        self.staged.retain(|a, _| a.task.job != id);
        let stagings = self.stagings.extract_if(|a, _| a.task.job == id).map(|(_, s)| s).collect();
        self.remove(job.folder, stagings, job.gone);
    }

    /// Deletes a folder once nobody writes into it any more.
    fn remove(&self, folder: PathBuf, stagings: Vec<StagingTask>, executors: Vec<executor::Handle>) {
        stagings.iter().for_each(|s| s.cancel.cancel());
        self.background.spawn(async move {
            for staging in stagings {
                let _ = staging.task.await;
            }
            for executor in executors {
                executor.ended().await;
            }
            let _ = tokio::task::spawn_blocking(move || match std::fs::remove_dir_all(&folder) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!("cannot delete {}: {e}", folder.display());
                }
                _ => {}
            })
            .await;
        });
    }

    fn tell(&self, job: JobId, command: Command) {
        if let Some(executor) = self.jobs.get(&job).and_then(|j| j.executor.as_ref()) {
            executor.tell(command);
        }
    }

    fn post_later(&self, delay: Duration, event: Event) {
        let post = self.post.clone();
        tokio::spawn(async move {
            sleep(delay).await;
            let _ = post.send(Mail::Attempt(event));
        });
    }

    fn report(&self, report: Report) {
        use from_worker::Message;
        self.send(match report {
            Report::Done(id, report) => {
                Message::Done(v1::AttemptDone { attempt: Some(id.into()), report: Some(report.into()) })
            }
            Report::Failed(id, failure) => {
                Message::Failed(v1::AttemptFailed { attempt: Some(id.into()), failure: Some(failure.into()) })
            }
            Report::Published(id) => Message::Published(v1::Published { attempt: Some(id.into()) }),
            Report::PublishFailed(id, failure) => {
                Message::PublishFailed(v1::PublishFailed { attempt: Some(id.into()), failure: Some(failure.into()) })
            }
            Report::SegmentLost { reader, segment, failure } => Message::SegmentLost(v1::SegmentLost {
                reader: Some(reader.into()),
                segment: Some(segment.into()),
                failure: Some(failure.into()),
            }),
        });
    }

    fn send(&self, message: from_worker::Message) {
        // Without a session there is nobody who waits for it.
        if let Some(session) = &self.session {
            let _ = session.outgoing.send(v1::FromWorker { message: Some(message) });
        }
    }
}

/// Everything that an executor of this job is started from.
async fn plan(
    setup: JobSetup,
    folder: PathBuf,
    artifacts: Arc<Artifacts>,
    coordinator: Connection,
    (threads, memory_bytes): (u32, u64),
) -> Result<executor::Plan, Failure> {
    let binary = artifacts.get(setup.binary, &coordinator).await?;
    let mut sides = Vec::with_capacity(setup.sides.len());
    for side in &setup.sides {
        sides.push(path_to_bytes(&artifacts.get(*side, &coordinator).await?));
    }
    let made = folder.clone();
    let prepared = tokio::task::spawn_blocking(move || {
        check_setup(&setup.staging)?;
        std::fs::create_dir_all(&made).map_err(|e| crate::error::disk_failure("make", &made, 0, &e))
    });
    prepared.await.unwrap_or_else(|e| Err(Failure::new(Code::Internal, e.to_string())))?;
    let message = v1::ExecutorSetup {
        protocol: windrow_proto::PROTOCOL_MAX,
        program: setup.program,
        params: setup.params,
        fingerprint: Some(setup.fingerprint.into()),
        sides,
        threads,
        memory_bytes,
    };
    Ok(executor::Plan { binary, folder, setup: message, fingerprint: setup.fingerprint })
}

/// Deletes what an executor left that died.
fn empty(folder: &std::path::Path) -> std::io::Result<()> {
    std::fs::remove_dir_all(folder)?;
    std::fs::create_dir(folder)
}
