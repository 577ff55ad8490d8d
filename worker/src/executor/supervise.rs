//! One executor from start to end: prepared, started, ready, given tasks, ended. Each step is reported to the node as
//! an event.
//!
//! It decides nothing about attempts: `windrow-attempts` decides who is charged for an end. While the plan is made and while
//! the executor lives, its end and its commands are awaited at the same time, so neither a dead nor a silent executor
//! blocks anything. Commands wait while it is being forked (at most as long as earlier forks take), and for at most a
//! second after it has closed its socket; commands for a dead or killed executor are dropped.

mod replies;
mod serving;

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
use replies::{check_ready, failure_of, protocol};
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use windrow_attempts::{Event, Exit};
use windrow_model::{AttemptId, Chunk, Code, Digest, Failure, JobId, TaskReport};
use windrow_proto::v1::{self, from_executor, to_executor};
use windrow_store::StorageCalls;

/// Bound on the time until an executor has built its plan.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// From closing the socket to SIGKILL: a cancelled job must be over after two seconds, whatever its code does.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// A killed process that still exists after this is stuck in the kernel.
const GONE_AFTER_KILL: Duration = Duration::from_secs(5);

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
    /// Tells it where outputs lie, before the first task that reads them.
    InPlace(Box<v1::OutputsInPlace>),
    /// With the chunk that the task reads, if it reads one.
    Run(AttemptId, Box<v1::RunTask>, Option<Box<Chunk>>),
    Cancel(AttemptId),
    Kill,
    /// Close the socket, which asks the executor to end, and kill it if it does not.
    Close,
}

/// What an executor does, for the node.
#[derive(Debug)]
pub(crate) enum Notice {
    /// An event of attempts as it is.
    Event(Event),
    /// An attempt is done. `spooled`: the outputs that lie in the executor's spool.
    Done { generation: u64, attempt: AttemptId, report: TaskReport, spooled: Vec<v1::Spooled> },
    /// An attempt has failed. `lost`: the output that it could not read, of an attempt whose incarnation is not known.
    Failed { generation: u64, attempt: AttemptId, failure: Failure, lost: Option<(AttemptId, u32)> },
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
    events: impl Fn(Notice) + Send + Sync + 'static,
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
                let event = Event::ExecutorNotStarted { job, generation, failure, killed };
                return (supervisor.events)(Notice::Event(event));
            }
        };
        (supervisor.events)(Notice::Event(Event::ExecutorReady { job, generation }));
        let exit = supervisor.serve(&mut process, sender, receiver, &mut overdue).await;
        (supervisor.events)(Notice::Event(Event::ExecutorEnded { job, generation, exit }));
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

impl<E: Fn(Notice) + Send + Sync + 'static> Supervisor<E> {
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
            failure.stderr_tail = self.log.lock().stderr_tail().into();
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
