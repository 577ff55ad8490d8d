//! The executor, a child process of a worker: receives frames, runs engine tasks, and sends frames.
//!
//! It communicates over an inherited socket (file descriptor 3), holds no credentials and opens no connection. It ends
//! when the socket is closed.

mod edge_inputs;
mod fetched;
mod order;
mod placed;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::plan::flow::Flow;
use crate::run::registry::Registry;
use crate::run::task_run::StageTable;
use crate::run::threads::{Threads, thread_code};
use order::Order;
use placed::Tables;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::BufReader;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use windrow_engine::Memory;
use windrow_format::quota::Quota;
use windrow_format::spool::Spool;
use windrow_model::{AttemptId, Code, Digest, Failure};
use windrow_proto::frame::{read_frame, write_frame};
use windrow_proto::v1::{self, from_executor, to_executor};

/// Version of the frames that this executor speaks.
const PROTOCOL: u32 = windrow_proto::PROTOCOL_MAX;

type Replies = Arc<Mutex<UnixStream>>;

/// Serves the worker until it closes the socket.
pub(crate) fn run(registry: &Registry) -> ExitCode {
    // SAFETY: the worker starts this mode with its socket as file descriptor 3, which no other code in this process
    // owns or knows, because `main` does this first.
    let socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(3) });
    // SAFETY: the same for file descriptor 4, memory that the worker reads after this process has died.
    let crumbs = unsafe { OwnedFd::from_raw_fd(4) };
    if let Err(e) = windrow_engine::blame::install(&crumbs) {
        eprintln!("windrow executor: a crash will be reported without its record: {e}");
    }
    drop(crumbs);
    if let Err(e) = windrow_engine::file_limit::survive() {
        eprintln!("windrow executor: a limit on the size of files will end this process: {e}");
    }
    match serve(registry, socket) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("windrow executor: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Set to cancel an attempt; its thread checks it between records.
type Cancelled = Arc<AtomicBool>;

/// What all tasks of this process use.
struct Process {
    stages: StageTable,
    memory: Arc<Memory>,
    /// Takes small outputs of all tasks.
    spool: Option<Arc<Spool>>,
    /// Outputs of other tasks that are read where they are.
    tables: Tables,
}

fn serve(registry: &Registry, socket: UnixStream) -> Result<()> {
    let replies: Replies = Arc::new(Mutex::new(socket.try_clone()?));
    let mut socket = BufReader::new(socket);
    let Some(v1::ToExecutor { message: Some(to_executor::Message::Setup(setup)) }) = read_frame(&mut socket)? else {
        return Err(Error::new(Code::ExecutorProtocol, "the worker did not begin with a setup"));
    };
    let threads = (setup.threads as usize).max(1);
    let quota_bytes = match setup.scratch_quota_bytes {
        0 => u64::MAX,
        bytes => bytes,
    };
    let stages = match build(registry, &setup) {
        Ok(stages) => stages,
        Err(e) => {
            let failure = Some(e.into_failure().into());
            return send(&replies, from_executor::Message::SetupFailed(v1::SetupFailed { failure }));
        }
    };
    let fingerprint = Some(stages.plan.fingerprint.into());
    let process = Arc::new(Process {
        stages,
        memory: Memory::of_process(setup.memory_bytes, threads),
        spool: (!setup.spool.is_empty()).then(|| Arc::new(Spool::new(path_of(&setup.spool)))),
        tables: Tables::new(setup.memory_bytes),
    });
    let running: Arc<Mutex<HashMap<AttemptId, Cancelled>>> = Arc::default();
    // Before it is ready: a missing thread is no fault of a task.
    let pool = Threads::start(threads, {
        let (running, replies, process) = (running.clone(), replies.clone(), process.clone());
        move |(order, cancelled): (Order, Cancelled)| {
            let attempt = order.attempt();
            let quota = Quota::new(quota_bytes).enter();
            let answer = order.execute(&process, &cancelled);
            drop(quota);
            lock(&running).remove(&attempt);
            if send(&replies, answer).is_err() {
                // The worker has gone, so this process must end.
                std::process::exit(1);
            }
        }
    });
    let pool = match pool {
        Ok(pool) => pool,
        Err(e) => {
            let what = format!("cannot start {threads} threads for tasks: {e}");
            let failure = Some(Failure::new(thread_code(&e), what).into());
            return send(&replies, from_executor::Message::SetupFailed(v1::SetupFailed { failure }));
        }
    };
    send(&replies, from_executor::Message::Ready(v1::ExecutorReady { protocol: PROTOCOL, fingerprint }))?;

    while let Some(v1::ToExecutor { message }) = read_frame(&mut socket)? {
        match message {
            Some(to_executor::Message::Run(run)) => {
                let order = Order::new(run, &process.tables)?;
                let cancelled = Cancelled::default();
                lock(&running).insert(order.attempt(), cancelled.clone());
                pool.run((order, cancelled));
            }
            Some(to_executor::Message::InPlace(outputs)) => process.tables.put(outputs, &process.stages.plan)?,
            Some(to_executor::Message::Cancel(cancel)) => {
                let attempt: AttemptId = cancel.attempt.unwrap_or_default().try_into().map_err(bad)?;
                if let Some(cancelled) = lock(&running).get(&attempt) {
                    cancelled.store(true, Ordering::Relaxed);
                }
            }
            _ => return Err(Error::new(Code::ExecutorProtocol, "an unexpected message from the worker")),
        }
    }
    // The worker closed the socket: running tasks are not wanted any more.
    std::process::exit(0)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic of user code is caught before it could poison a lock, and no state is left half changed.
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

fn send(replies: &Replies, message: from_executor::Message) -> Result<()> {
    Ok(write_frame(&mut *lock(replies), &v1::FromExecutor { message: Some(message) })?)
}

/// The error of a frame that is refused.
fn bad(e: impl std::fmt::Display) -> Error {
    Error::new(Code::ExecutorProtocol, e.to_string())
}

fn build(registry: &Registry, setup: &v1::ExecutorSetup) -> Result<StageTable> {
    if setup.protocol != PROTOCOL {
        let message = format!("the worker speaks executor protocol {}, this binary {PROTOCOL}", setup.protocol);
        return Err(Error::new(Code::VersionMismatch, message));
    }
    let job = registry.make(&setup.program, &setup.params)?;
    let sides = setup.sides.iter().map(|path| path_of(path)).collect();
    let flow = Flow::new(PathBuf::from("/"), false, Some(sides));
    job.plan(&flow)?;
    let built = flow.build()?;
    let expected: Digest = setup.fingerprint.clone().unwrap_or_default().try_into().map_err(bad)?;
    if built.plan.fingerprint != expected {
        let message =
            format!("the plan's fingerprint was {expected} at submit, and is {} here", built.plan.fingerprint);
        return Err(Error::new(Code::PlanMismatch, message));
    }
    Ok(StageTable { plan: built.plan, functions: built.functions, counters: built.counters })
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
