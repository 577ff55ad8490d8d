//! One executor as an operating system process: its output is read, its end is awaited, and it is killed with its
//! descendants.
//!
//! A process stays a zombie until it is waited for, so its number and that of its group cannot be reused while this
//! file sends signals. Knows nothing of tasks or frames.

use super::crumb_file::CrumbFile;
use super::descendants::{self, Mark};
use super::exit::MemoryWatch;
use super::group::Group;
use super::pidfd::PidFd;
use super::spawn::Spawned;
use crate::logs::{SharedLog, Stream};
use rustix::process::{Pid, Signal};
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use windrow_format::crumbs;
use windrow_format::regular_file;
use windrow_model::AttemptId;

/// Bound on reading the remaining output after the end.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Bytes read from a pipe before others get a turn.
const DRAIN_BYTES: usize = 256 << 10;

/// A child that has not been waited for.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    mark: Mark,
    pidfd: PidFd,
    taps: [Arc<Tap>; 2],
    readers: Vec<JoinHandle<()>>,
    pub memory: MemoryWatch,
    crumbs: CrumbFile,
    group: Option<Group>,
    reaped: bool,
}

impl Process {
    /// Takes over a child; its output goes to `log`. The socket is given back.
    pub(crate) fn new(spawned: Spawned, log: &SharedLog) -> io::Result<(Process, std::os::unix::net::UnixStream)> {
        let Spawned { child, pid, mark, memory_limit_bytes, group, pidfd, socket, crumbs, stdout, stderr } = spawned;
        let guard = KillOnDrop(Some(child));
        let taps = [
            Arc::new(Tap::new(stdout.into(), Stream::Stdout, log)?),
            Arc::new(Tap::new(stderr.into(), Stream::Stderr, log)?),
        ];
        let pidfd = PidFd::new(pidfd)?;
        let readers = taps.iter().map(|tap| tokio::spawn(tap.clone().drive())).collect();
        let child = guard.defuse();
        let memory = MemoryWatch::start(memory_limit_bytes);
        Ok((Process { child, pid, mark, pidfd, taps, readers, memory, crumbs, group, reaped: false }, socket))
    }

    /// Completes when the process has ended, without waiting for it as a parent. Cancel-safe.
    pub(crate) async fn exited(&self) -> io::Result<()> {
        self.pidfd.ended().await
    }

    /// Kills it and its process group; [`finish`](Self::finish) finds descendants outside of the group.
    pub(crate) fn kill(&self) {
        if !self.reaped {
            // The group is missing only if the child never got as far as exec; then there is nothing to kill.
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        }
    }

    /// Reads the pipes now, so that output written before a message is also logged before it.
    pub(crate) fn drain_output(&self) {
        for tap in &self.taps {
            let _ = tap.drain();
        }
    }

    /// Samples its memory.
    pub(crate) fn sample_memory(&mut self) {
        self.memory.sample(self.pid);
    }

    /// The limit, if it could not start a process because there were too many. Not after [`finish`](Self::finish).
    pub(crate) fn was_full(&self) -> Option<u32> {
        self.group.as_ref()?.was_full()
    }

    /// Which attempt and record brought it down, if its own threads noted it. Valid after the end.
    pub(crate) fn last_crumb(&self) -> Option<(AttemptId, Option<crumbs::Place>)> {
        crumbs::read_region(self.crumbs.file()).ok().flatten()?.at
    }

    /// The current positions of its threads.
    pub(crate) fn crumbs_now(&self) -> Vec<crumbs::Now> {
        crumbs::read_now(self.crumbs.file()).unwrap_or_default()
    }

    /// Whether its threads note their positions.
    pub(crate) fn leaves_crumbs(&self) -> bool {
        self.crumbs.is_in_use()
    }

    /// Whether a signal has stopped it.
    pub(crate) fn is_stopped(&self) -> bool {
        let stat = regular_file::read_note(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
    }

    /// Its process id, for messages.
    pub(crate) fn id(&self) -> Pid {
        self.pid
    }

    /// Thaws a frozen control group that it is in.
    pub(crate) async fn thaw(&self) {
        if !self.reaped {
            let pid = self.pid;
            let _ = tokio::task::spawn_blocking(move || super::hierarchy::thaw(pid)).await;
        }
    }

    /// Completes when the process has been waited for, however long that takes.
    pub(crate) async fn gone(&mut self) {
        if !self.reaped
            && let Err(e) = self.finish().await
        {
            tracing::warn!("cannot wait for process {}: {e}", self.pid);
        }
    }

    /// Waits for the end, kills remaining descendants, and reads the last output.
    pub(crate) async fn finish(&mut self) -> io::Result<ExitStatus> {
        let status = loop {
            self.exited().await?;
            // Descendants are killed first, while the numbers of group and session cannot be reused.
            self.kill();
            let (pid, mark, group) = (self.pid, self.mark.clone(), self.group.take());
            let killing = tokio::task::spawn_blocking(move || {
                group.iter().for_each(Group::kill);
                descendants::kill(pid, &mark);
                group
            });
            self.group = killing.await.ok().flatten();
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            tokio::task::yield_now().await;
        };
        self.reaped = true;
        if let Some(group) = self.group.take() {
            let _ = tokio::task::spawn_blocking(move || group.remove()).await;
        }
        let readers = std::mem::take(&mut self.readers);
        let all = async {
            for reader in &mut readers.into_iter() {
                let _ = reader.await;
            }
        };
        // A descendant that was not found may hold the pipe open for ever.
        let _ = tokio::time::timeout(LAST_WORDS, all).await;
        Ok(status)
    }
}

impl Drop for Process {
    /// The supervisor is gone (the runtime stops): the process must not outlive it.
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
            self.group.iter().for_each(Group::kill);
            descendants::kill(self.pid, &self.mark);
            let _ = self.child.wait();
        }
        for reader in &self.readers {
            reader.abort();
        }
    }
}

/// Between fork and a complete [`Process`].
struct KillOnDrop(Option<Child>);

impl KillOnDrop {
    fn defuse(mut self) -> Child {
        self.0.take().expect("taken only here, and this consumes the guard")
    }
}
impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One pipe into the log. It is read under the log's lock, so that two readers keep the order.
#[derive(Debug)]
struct Tap {
    pipe: pipe::Receiver,
    stream: Stream,
    log: SharedLog,
}

impl Tap {
    fn new(fd: OwnedFd, stream: Stream, log: &SharedLog) -> io::Result<Tap> {
        Ok(Tap { pipe: pipe::Receiver::from_owned_fd(fd)?, stream, log: log.clone() })
    }

    /// Reads the available bytes; true at the end of the pipe.
    fn drain(&self) -> io::Result<bool> {
        let mut buffer = [0; 16 << 10];
        let mut log = self.log.lock();
        let mut left = DRAIN_BYTES;
        while left > 0 {
            match self.pipe.try_read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(n) => {
                    log.append(self.stream, &buffer[..n]);
                    left = left.saturating_sub(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(false)
    }

    async fn drive(self: Arc<Self>) {
        while self.pipe.readable().await.is_ok() {
            // An error of a pipe counts as its end.
            if self.drain().unwrap_or(true) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}
