//! One executor from start to end: prepared, started, ready, given tasks, ended. Each step is reported to the node as
//! an event.
//!
//! It decides nothing about attempts: `windrow-attempts` decides who is charged for an end. While the plan is made and while
//! the executor lives, its end and its commands are awaited at the same time, so neither a dead nor a silent executor
//! blocks anything. Commands wait while it is being forked (at most as long as earlier forks take), and for at most a
//! second after it has closed its socket; commands for a dead or killed executor are dropped.

use super::channel::{self, Receiver, Sender};
use super::exit;
use super::handover::HandOver;
use super::overdue::Overdue;
use super::place::look_at;
use super::process::Process;
use super::spawn::{Spawner, code_of};
use crate::artifacts::Executable;
use crate::job::Limits;
use crate::logs::SharedLog;
use crate::progress::Watch;
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use windrow_attempts::{Event, Exit};
use windrow_format::crumbs::Place;
use windrow_model::{AttemptId, Chunk, Code, Digest, Failure, JobId};
use windrow_proto::v1::{self, from_executor, to_executor};
use windrow_proto::{ConvertError, FrameError};
use windrow_store::StorageCalls;

/// Bound on the time until an executor has built its plan.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// From closing the socket to SIGKILL: a cancelled job must be over after two seconds, whatever its code does.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// Bound on reading the last frames of a dead executor.
const LAST_FRAMES: Duration = Duration::from_secs(1);
/// A killed process that still exists after this is stuck in the kernel.
const GONE_AFTER_KILL: Duration = Duration::from_secs(5);
const MEMORY_SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// The inputs for starting an executor.
#[derive(Debug)]
pub(crate) struct Plan {
    pub binary: Executable,
    /// Its working directory, which exists.
    pub folder: PathBuf,
    pub setup: v1::ExecutorSetup,
    pub fingerprint: Digest,
    pub limits: Limits,
    /// For looks at inputs, by `place::look_at`.
    pub looks: StorageCalls,
}

/// A command to an executor's supervisor.
#[derive(Debug)]
pub(crate) enum Command {
    /// With the chunk that the task reads, if it reads one.
    Run(AttemptId, Box<v1::RunTask>, Option<Box<Chunk>>),
    Cancel(AttemptId),
    Kill,
    /// Close the socket, which asks the executor to end, and kill it if it does not.
    Close,
}

/// A requested executor; dropping this kills it.
#[derive(Debug)]
pub(crate) struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<()>,
}

impl Handle {
    /// Passes a command on; it is dropped if the executor is gone.
    pub(crate) fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Whether the process is gone.
    pub(crate) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Completes when the process is gone.
    pub(crate) async fn ended(self) {
        // A panic of the task has been printed, and the process died with it.
        let _ = self.task.await;
    }
}

/// Starts an executor as soon as `plan` resolves, and reports everything that happens to it to `events`.
pub(crate) fn start(
    job: JobId,
    generation: u64,
    spawner: Spawner,
    log: SharedLog,
    watch: Watch,
    plan: impl Future<Output = Result<Plan, Failure>> + Send + 'static,
    events: impl Fn(Event) + Send + Sync + 'static,
) -> Handle {
    let (commands, queue) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        let (looks, events) = (StorageCalls::default(), Arc::new(events));
        let handed = HandOver::default();
        let mut supervisor =
            Supervisor { job, generation, log, watch, commands: queue, looks, events, handed, killed_by_worker: false };
        let (mut process, sender, receiver, mut overdue) = match supervisor.begin(spawner, plan).await {
            Ok(parts) => parts,
            Err(NotStarted { failure, killed }) => {
                return (supervisor.events)(Event::ExecutorNotStarted { job, generation, failure, killed });
            }
        };
        (supervisor.events)(Event::ExecutorReady { job, generation });
        let exit = supervisor.serve(&mut process, sender, receiver, &mut overdue).await;
        (supervisor.events)(Event::ExecutorEnded { job, generation, exit });
        // Its tasks continue elsewhere. Files that it may still write to are left alone until it is gone.
        process.gone().await;
    });
    Handle { commands, task }
}

struct NotStarted {
    failure: Failure,
    killed: bool,
}
impl From<Failure> for NotStarted {
    fn from(failure: Failure) -> Self {
        NotStarted { failure, killed: false }
    }
}

struct Supervisor<E> {
    job: JobId,
    generation: u64,
    log: SharedLog,
    watch: Watch,
    commands: mpsc::UnboundedReceiver<Command>,
    looks: StorageCalls,
    events: Arc<E>,
    /// The unanswered tasks.
    handed: HandOver,
    /// This worker killed it or asked it to end.
    killed_by_worker: bool,
}

impl<E: Fn(Event) + Send + Sync + 'static> Supervisor<E> {
    /// Until the executor is ready.
    async fn begin(
        &mut self,
        spawner: Spawner,
        plan: impl Future<Output = Result<Plan, Failure>>,
    ) -> Result<(Process, Sender, Receiver, Overdue), NotStarted> {
        let mut plan = pin!(plan);
        let plan = loop {
            tokio::select! {
                plan = &mut plan => break plan?,
                command = self.commands.recv() => if ends(command.as_ref()) { return Err(cancelled().into()) },
            }
        };
        self.looks = plan.looks;
        let system = |e: std::io::Error| Failure::new(code_of(&e), format!("cannot watch the job's process: {e}"));
        let spawned = spawner.spawn(plan.binary, plan.folder).await?;
        let (mut process, socket) = Process::new(spawned, &self.log).map_err(system)?;
        let (sender, mut receiver) = channel::open(socket).map_err(system)?;
        let setup = v1::ToExecutor { message: Some(to_executor::Message::Setup(plan.setup)) };
        sender.send(&setup).map_err(|e| Failure::new(Code::BadRequest, format!("the job's setup: {e}")))?;
        let deadline = Instant::now() + READY_TIMEOUT;
        let failure = loop {
            tokio::select! {
                // Its messages come before its end, which may be there at the same time.
                biased;
                message = receiver.next() => match message.map(|m| m.and_then(|m| m.message)) {
                    Ok(Some(from_executor::Message::Ready(ready))) => match check_ready(ready, plan.fingerprint) {
                        Ok(()) => return Ok((process, sender, receiver, Overdue::new(plan.limits))),
                        Err(failure) => break Some(failure),
                    },
                    Ok(Some(from_executor::Message::SetupFailed(v1::SetupFailed { failure }))) => {
                        break Some(or_full(process.was_full(), failure_of(failure)));
                    }
                    Ok(Some(_)) => break Some(protocol("it reports on a task before it is ready")),
                    // It closed the socket: its exit status has the reason, unless it does not exit.
                    Ok(None) => match timeout(CLOSE_GRACE, process.exited()).await {
                        Ok(_) => break None,
                        Err(_) => break Some(protocol("it closed its socket instead of getting ready")),
                    },
                    Err(e) => break Some(protocol(&e.to_string())),
                },
                _ = process.exited() => break None,
                command = self.commands.recv() => if ends(command.as_ref()) {
                    self.killed_by_worker = true;
                    break Some(cancelled());
                },
                () = sleep_until(deadline) => {
                    let message = format!("the job's process was not ready after {} s", READY_TIMEOUT.as_secs());
                    break Some(Failure::new(Code::TaskTimeout, message));
                }
            }
        };
        if failure.is_some() {
            process.kill();
        }
        let exit = self.explain(&mut process, false).await;
        Err(match failure {
            Some(failure) => NotStarted { failure: self.with_stderr(failure), killed: false },
            None => NotStarted { killed: !exit.self_inflicted && !exit.killed_by_worker, failure: exit.failure },
        })
    }

    /// From ready to the end.
    async fn serve(
        &mut self,
        process: &mut Process,
        sender: Sender,
        mut receiver: Receiver,
        overdue: &mut Overdue,
    ) -> Exit {
        let mut sender = Some(sender);
        let mut close_by: Option<Instant> = None;
        let mut sample = interval_at(Instant::now() + MEMORY_SAMPLE_EVERY, MEMORY_SAMPLE_EVERY);
        sample.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stuck = false;
        let wrong: Option<Failure> = loop {
            tokio::select! {
                biased;
                message = receiver.next() => match self.hear(process, message) {
                    Ok(true) => {}
                    Ok(false) => match timeout(CLOSE_GRACE, process.exited()).await {
                        Ok(_) => break None,
                        Err(_) if self.killed_by_worker => break None,
                        Err(_) => break Some(protocol("it closed its socket but did not exit")),
                    },
                    Err(failure) => break Some(failure),
                },
                _ = process.exited() => {
                    // Messages that it sent before it died still count. No other process may hold its end of the socket
                    // open.
                    process.kill();
                    while let Ok(message) = timeout(LAST_FRAMES, receiver.next()).await {
                        if !matches!(self.hear(process, message), Ok(true)) {
                            break;
                        }
                    }
                    break None;
                }
                command = self.commands.recv() => match (command, &sender) {
                    (Some(Command::Run(attempt, run, chunk)), Some(sender)) => {
                        self.watch.begin(attempt, chunk.map(|chunk| *chunk));
                        self.handed.given(attempt);
                        self.log.lock().started(attempt);
                        let message = v1::ToExecutor { message: Some(to_executor::Message::Run(*run)) };
                        if let Err(e) = sender.send(&message) {
                            let failure = Failure::new(Code::BadRequest, format!("the task of attempt {attempt}: {e}"));
                            (self.events)(self.task_failed(attempt, failure, None));
                        }
                    }
                    (Some(Command::Cancel(attempt)), Some(sender)) => {
                        let cancel = v1::CancelTask { attempt: Some(attempt.into()) };
                        let message = v1::ToExecutor { message: Some(to_executor::Message::Cancel(cancel)) };
                        sender.send(&message).expect("two ids are shorter than a frame's limit");
                    }
                    (Some(Command::Run(..) | Command::Cancel(_)), None) => {}
                    (Some(Command::Close), _) => {
                        self.killed_by_worker = true;
                        sender = None;
                        close_by = Some(Instant::now() + CLOSE_GRACE);
                    }
                    (Some(Command::Kill) | None, _) => {
                        self.killed_by_worker = true;
                        break None;
                    }
                },
                () = sleep_until(close_by.unwrap_or_else(Instant::now)), if close_by.is_some() => break None,
                _ = sample.tick() => {
                    process.sample_memory();
                    if let Some(limit) = process.was_full() {
                        break Some(too_many_processes(limit, ""));
                    }
                    let threads = process.crumbs_now();
                    self.watch.look(&threads);
                    if let Some(idle) = self.handed.look(&threads, || process.is_stopped()).filter(|_| process.leaves_crumbs()) {
                        stuck = true;
                        break Some(idle);
                    }
                    for (attempt, failure, place) in overdue.look(std::time::Instant::now(), threads) {
                        self.tell_overdue(attempt, self.with_stderr(failure), place);
                    }
                }
            }
        };
        // It is dead, or is to be killed.
        if wrong.is_some() || self.killed_by_worker {
            process.kill();
        }
        let exit = self.explain(process, true).await;
        match wrong {
            Some(failure) if stuck => Exit {
                failure: self.with_stderr(failure),
                self_inflicted: false,
                killed_by_worker: true,
                guilty: None,
                stuck,
            },
            Some(failure) => Exit {
                failure: self.with_stderr(failure),
                self_inflicted: true,
                killed_by_worker: false,
                guilty: None,
                stuck: false,
            },
            None => exit,
        }
    }

    /// Handles one message; false at the end of the stream.
    fn hear(
        &mut self,
        process: &Process,
        message: Result<Option<v1::FromExecutor>, FrameError>,
    ) -> Result<bool, Failure> {
        let broken = |e: ConvertError| protocol(&e.to_string());
        let event = match message.map_err(|e| protocol(&e.to_string()))? {
            None => return Ok(false),
            Some(message) => match message.message {
                Some(from_executor::Message::Done(done)) => Event::TaskDone {
                    generation: self.generation,
                    attempt: attempt_of(done.attempt)?,
                    report: done.report.unwrap_or_default().try_into().map_err(broken)?,
                },
                Some(from_executor::Message::Failed(failed)) => {
                    process.drain_output();
                    let position = failed.segment.map(|s| (s.input, s.index));
                    let failure = or_full(process.was_full(), failure_of(failed.failure));
                    self.task_failed(attempt_of(failed.attempt)?, failure, position)
                }
                _ => return Err(protocol("it says something that only a starting executor says")),
            },
        };
        if let Event::TaskDone { attempt, .. } | Event::TaskFailed { attempt, .. } = &event {
            self.watch.end(*attempt);
            self.handed.over(*attempt);
        }
        (self.events)(event);
        Ok(true)
    }

    fn task_failed(&self, attempt: AttemptId, failure: Failure, segment: Option<(u32, u32)>) -> Event {
        Event::TaskFailed { generation: self.generation, attempt, failure: self.with_stderr(failure), segment }
    }

    /// The record is looked up first, without blocking the executor.
    fn tell_overdue(&self, attempt: AttemptId, mut failure: Failure, place: Option<Place>) {
        let (events, looks, generation) = (self.events.clone(), self.looks.clone(), self.generation);
        tokio::spawn(async move {
            if let Some(place) = place {
                failure.place = Some(look_at(place, &looks).await.record);
            }
            events(Event::TaskOverdue { generation, attempt, failure });
        });
    }

    async fn explain(&self, process: &mut Process, was_ready: bool) -> Exit {
        let full = process.was_full().filter(|_| !self.killed_by_worker);
        let status = match timeout(GONE_AFTER_KILL, process.finish()).await {
            Ok(status) => status,
            Err(_) => {
                // It is dead or was killed. A frozen control group keeps even killed processes.
                process.thaw().await;
                match timeout(GONE_AFTER_KILL, process.finish()).await {
                    Ok(status) => status,
                    Err(_) => return self.stays(process),
                }
            }
        };
        match status {
            Ok(status) => {
                let stderr = self.log.lock().stderr_tail();
                let exit = exit::explain(status, was_ready, self.killed_by_worker, &process.memory, stderr);
                let exit = Exit { failure: or_full(full, exit.failure), ..exit };
                match process.last_crumb() {
                    Some((attempt, Some(place))) => exit::blame(exit, attempt, Some(look_at(place, &self.looks).await)),
                    Some((attempt, None)) => exit::blame(exit, attempt, None),
                    None => exit,
                }
            }
            Err(e) => {
                let message = format!("cannot wait for the process of {}: {e}", self.job);
                Exit {
                    failure: Failure::new(Code::IoError, message),
                    self_inflicted: false,
                    killed_by_worker: self.killed_by_worker,
                    guilty: None,
                    stuck: false,
                }
            }
        }
    }

    /// A thread of the process waits in the kernel, for example for storage that does not answer.
    fn stays(&self, process: &Process) -> Exit {
        let message = format!("the job's process {} was killed and does not end: it waits in the kernel", process.id());
        tracing::warn!(job = %self.job, "{message}");
        let failure = self.with_stderr(Failure::new(Code::ExecutorCrashed, message));
        Exit { failure, self_inflicted: false, killed_by_worker: self.killed_by_worker, guilty: None, stuck: false }
    }

    fn with_stderr(&self, mut failure: Failure) -> Failure {
        if failure.stderr_tail.is_empty() {
            failure.stderr_tail = self.log.lock().stderr_tail();
        }
        failure
    }
}

/// Whether a command, or the end of commands, means that the executor is no longer wanted.
fn ends(command: Option<&Command>) -> bool {
    matches!(command, None | Some(Command::Kill | Command::Close))
}

fn cancelled() -> Failure {
    Failure::new(Code::Cancelled, "the job's process was not needed any more")
}

/// The failure of a job's processes after one could not be started because of their number.
fn or_full(limit: Option<u32>, failure: Failure) -> Failure {
    match limit {
        Some(limit) => {
            let too_many = too_many_processes(limit, &format!(": {}", failure.message));
            Failure { code: too_many.code, message: too_many.message, ..failure }
        }
        None => failure,
    }
}

fn too_many_processes(limit: u32, then: &str) -> Failure {
    let message = format!(
        "the job's process and all that it has started are {limit} processes and threads, and may not be more{then}"
    );
    Failure::new(Code::TooManyProcesses, message)
}

fn protocol(what: &str) -> Failure {
    Failure::new(Code::ExecutorProtocol, format!("the job's process broke the agreed protocol: {what}"))
}

fn attempt_of(wire: Option<v1::AttemptId>) -> Result<AttemptId, Failure> {
    let wire = wire.ok_or_else(|| protocol("it reports without naming the attempt"))?;
    wire.try_into().map_err(|e: ConvertError| protocol(&e.to_string()))
}

fn failure_of(wire: Option<v1::Failure>) -> Failure {
    match wire.map(Failure::try_from) {
        Some(Ok(failure)) => failure,
        Some(Err(e)) => protocol(&e.to_string()),
        None => protocol("it reports a failure without saying which"),
    }
}

fn check_ready(ready: v1::ExecutorReady, expected: Digest) -> Result<(), Failure> {
    let range = windrow_proto::PROTOCOL_MIN..=windrow_proto::PROTOCOL_MAX;
    if !range.contains(&ready.protocol) {
        let message = format!(
            "the job's binary speaks protocol {}, this worker {} to {}",
            ready.protocol,
            range.start(),
            range.end()
        );
        return Err(Failure::new(Code::VersionMismatch, message));
    }
    let wire = ready.fingerprint.ok_or_else(|| protocol("it is ready without a fingerprint"))?;
    let found = Digest::try_from(wire).map_err(|e| protocol(&e.to_string()))?;
    if found != expected {
        let message = format!("the job's process made another plan ({found}) than the one submitted ({expected})");
        return Err(Failure::new(Code::PlanMismatch, message));
    }
    Ok(())
}
