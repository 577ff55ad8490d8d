//! `pipe`: records through a program of any language, as lines.

use crate::chain::Chain;
use crate::context::{TaskCx, TaskResult};
use crate::emitter::{Push, PushFn};
use crate::records::Records;
use memchr::memchr;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use windrow_model::{Code, Failure};

/// Bytes that wait for the program before it is looked at again.
const PENDING_BYTES: usize = 64 << 10;

impl Records<Vec<u8>> {
    /// Runs `command` with `/bin/sh`, once in each task: every record is a line on its stdin, every line of its stdout a
    /// record. What it writes to stderr is kept with the task's output. A program that ends with another status than 0
    /// fails the task; one that stops reading early does not.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn upper(lines: &Records<String>) -> Records<Vec<u8>> {
    ///     lines.map(|line, out| out.push(line.as_bytes())).pipe("tr a-z A-Z")
    /// }
    /// # assert_eq!(windrow::testing::run(["a", "b"], |l| upper(&l)).unwrap(), [b"A".to_vec(), b"B".to_vec()]);
    /// ```
    pub fn pipe(&self, command: &str) -> Records<Vec<u8>> {
        self.flow.fingerprint(&["pipe", command]);
        let branches = self.branches.iter().map(|b| {
            let pipe = Pipe { before: b.chain.clone(), command: command.to_string() };
            b.then("pipe", Arc::new(pipe))
        });
        Records::new(&self.flow, branches.collect(), None)
    }
}

struct Pipe {
    before: Arc<dyn Chain<Vec<u8>>>,
    command: String,
}

impl Chain<Vec<u8>> for Pipe {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<Vec<u8>>) -> TaskResult<()> {
        let failed = |e: std::io::Error| Failure::new(Code::UserError, format!("`{}`: {e}", self.command));
        let mut program = Program::start(&self.command).map_err(failed)?;
        let mut trouble = false;
        self.before.run(
            cx,
            &mut PushFn::<Vec<u8>, _>::new(|line: &[u8]| {
                program.to_write.extend_from_slice(line);
                program.to_write.push(b'\n');
                if program.to_write.len() < PENDING_BYTES || trouble {
                    return;
                }
                if let Err(e) = program.exchange(PENDING_BYTES / 2, sink) {
                    cx.fail(failed(e));
                    trouble = true;
                }
            }),
        )?;
        cx.outcome()?;
        program.exchange(0, sink).map_err(failed)?;
        let status = program.finish(sink).map_err(failed)?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::new(Code::UserError, format!("`{}` ended with {status}", self.command)).into())
    }
}

/// A running program. Its stdin is fed and its stdout drained by turns, on one thread, so that neither side can wait for
/// the other for ever, and what waits in between is bounded.
struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    to_write: Vec<u8>,
    partial: Vec<u8>,
    at_end: bool,
}

impl Program {
    fn start(command: &str) -> std::io::Result<Program> {
        let mut shell = Command::new("/bin/sh");
        let mut child = shell.args(["-c", command]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let missing = || std::io::Error::other("a pipe is missing");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        for fd in [stdin.as_fd(), stdout.as_fd()] {
            fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?;
        }
        Ok(Program { child, stdin: Some(stdin), stdout, to_write: Vec::new(), partial: Vec::new(), at_end: false })
    }

    /// Writes until no more than `keep` bytes wait, and reads whatever comes meanwhile.
    fn exchange(&mut self, keep: usize, sink: &mut dyn Push<Vec<u8>>) -> std::io::Result<()> {
        let mut written = 0;
        while self.to_write.len() - written > keep {
            let Some(stdin) = &self.stdin else { break };
            let mut fds = vec![PollFd::new(stdin, PollFlags::OUT)];
            if !self.at_end {
                fds.push(PollFd::new(&self.stdout, PollFlags::IN));
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready.get(1) == Some(&true) {
                self.read(sink)?;
            }
            if let (true, Some(stdin)) = (ready[0], &self.stdin) {
                match rustix::io::write(stdin, &self.to_write[written..]) {
                    Ok(n) => written += n,
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    // The program reads no more: that is its right.
                    Err(Errno::PIPE) => {
                        self.stdin = None;
                        written = self.to_write.len();
                    }
                    Err(e) => return Err(e.into()),
                }
            }
        }
        if self.stdin.is_none() {
            written = self.to_write.len();
        }
        self.to_write.drain(..written);
        Ok(())
    }

    /// One read; whole lines go on.
    fn read(&mut self, sink: &mut dyn Push<Vec<u8>>) -> std::io::Result<()> {
        let mut buffer = [0u8; 64 << 10];
        match rustix::io::read(&self.stdout, &mut buffer[..]) {
            Ok(0) => self.at_end = true,
            Ok(n) => {
                let mut bytes = &buffer[..n];
                while let Some(end) = memchr(b'\n', bytes) {
                    if self.partial.is_empty() {
                        sink.push(&bytes[..end]);
                    } else {
                        self.partial.extend_from_slice(&bytes[..end]);
                        sink.push(&self.partial);
                        self.partial.clear();
                    }
                    bytes = &bytes[end + 1..];
                }
                self.partial.extend_from_slice(bytes);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    /// Closes stdin, reads the rest, and waits.
    fn finish(&mut self, sink: &mut dyn Push<Vec<u8>>) -> std::io::Result<std::process::ExitStatus> {
        self.stdin = None;
        while !self.at_end {
            match poll(&mut [PollFd::new(&self.stdout, PollFlags::IN)], None) {
                Ok(_) => self.read(sink)?,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        if !self.partial.is_empty() {
            sink.push(&self.partial);
        }
        self.child.wait()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // After `finish` the child is gone already and both calls do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
