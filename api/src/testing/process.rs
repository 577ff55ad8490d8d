//! Child processes of a test: each has a deadline, and none outlives its owner.

use crate::error::{Error, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};
use windrow_model::{Code, Escape};

/// Time between two looks at a running process.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A process that is killed when this value is dropped.
pub(super) struct Process {
    child: Child,
    /// How it has ended.
    ended: Option<ExitStatus>,
}

impl Process {
    /// # Errors
    /// `IO_ERROR`: the program does not start.
    pub(super) fn start(command: &mut Command) -> Result<Process> {
        let program = command.get_program().to_owned();
        let failed = |e| Error::new(Code::IoError, format!("cannot start {}: {e}", program.escaped()));
        Ok(Process { child: command.spawn().map_err(failed)?, ended: None })
    }

    /// The child, whose streams may be taken.
    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits until the process has ended, but not longer than this.
    pub(super) fn ends_within(&mut self, time: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + time;
        while self.ended.is_none() {
            self.ended = self.child.try_wait()?;
            if self.ended.is_none() {
                if Instant::now() >= deadline {
                    break;
                }
                thread::sleep(LOOK_EVERY);
            }
        }
        Ok(self.ended)
    }

    /// Asks the process to stop, and kills it if it has not within this time.
    pub(super) fn stop(mut self, time: Duration) {
        if self.ended.is_none() {
            let pid = Pid::from_child(&self.child);
            // If it has ended meanwhile, it is waited for below.
            let _ = kill_process(pid, Signal::TERM);
            let _ = self.ends_within(time);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
