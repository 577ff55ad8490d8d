//! `windrow` as the first process of a container.
//!
//! Process 1 inherits every orphaned process and must wait for each, otherwise they stay as zombies. Descendants of a
//! job's process may outlive it for a moment, so a worker as process 1 would collect zombies. Therefore a child does
//! the work; this process starts it, reaps, passes signals on, and exits with the child's code. The kernel then ends
//! the rest of the container.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Signals that are passed on to the child.
const PASSED_ON: [Signal; 6] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM, Signal::USR1, Signal::USR2];
/// Exit code of a process that was ended by a signal, plus the signal's number, as in a shell.
const SIGNALLED: u8 = 128;

/// Runs the same command in a child if this is process 1; `None` if it is not, or if no child can be started.
pub(crate) fn run() -> Option<ExitCode> {
    if getpid() != Pid::INIT {
        return None;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.and_then(|runtime| runtime.block_on(supervise()));
    ended.map(ExitCode::from).inspect_err(|e| eprintln!("windrow: works as process 1 itself: {e}")).ok()
}

/// The exit code of the child. Fails only before there is one.
async fn supervise() -> io::Result<u8> {
    // Before the child exists, so that no signal is missed.
    let mut ends = signal(SignalKind::child())?;
    let (pass_on, mut to_pass_on) = mpsc::unbounded_channel();
    for sent in PASSED_ON {
        let mut received = signal(SignalKind::from_raw(sent.as_raw()))?;
        let pass_on = pass_on.clone();
        tokio::spawn(async move { while received.recv().await.is_some() && pass_on.send(sent).is_ok() {} });
    }
    let child = Pid::from_child(&start()?);
    loop {
        while let Some((ended, status)) = next_ended() {
            if ended == child {
                return Ok(exit_code(status));
            }
        }
        tokio::select! {
            _ = ends.recv() => {}
            Some(sent) = to_pass_on.recv() => {
                // It may be ending; the next round handles that.
                let _ = kill_process(child, sent);
            }
        }
    }
}

fn start() -> io::Result<Child> {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| OsString::from("windrow"));
    Command::new(std::env::current_exe()?).arg0(name).args(arguments).spawn()
}

/// One process that has ended: the child or an inherited one.
fn next_ended() -> Option<(Pid, WaitStatus)> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Err(Errno::INTR) => {}
            ended => return ended.ok().flatten(),
        }
    }
}

fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().and_then(|code| u8::try_from(code).ok());
    let signal = || status.terminating_signal().and_then(|number| u8::try_from(number).ok());
    code.or_else(|| signal().map(|number| SIGNALLED.saturating_add(number))).unwrap_or(u8::MAX)
}
