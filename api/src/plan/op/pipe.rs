//! `pipe`: passes records as lines through a program in any language.

use crate::data::emitter::{Push, PushFn};
use crate::error::Error;
use crate::plan::chain::{Branch, Chain};
use crate::plan::records::Records;
use crate::report::warning::warn_once;
use crate::task::context::TaskCx;
use crate::task::culprit::Op;
use crate::task::failure::TaskResult;
use memchr::memchr;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, ioctl_fionread};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use windrow_model::environment::{EXECUTOR_VARIABLE, INHERITED_VARIABLES};
use windrow_model::{Code, Failure};

/// Bytes that may wait for the program before they are exchanged.
const PENDING_BYTES: usize = 64 << 10;
/// Time without output after which a process that holds the stdout of an ended command is killed.
const SILENT_MAX: Duration = Duration::from_secs(5);

impl Records<Vec<u8>> {
    /// Runs `command` with `/bin/sh`, once in each task: every record is a line on its stdin, every line of its stdout
    /// is a record. Its stderr is kept with the task's output. A program that ends with a status other than 0 fails the
    /// task; one that stops reading early does not. An empty command is `BAD_REQUEST` when the plan is built. It has few
    /// variables of its environment, the same ones everywhere (`windrow_model::environment`).
    ///
    /// The command has ended when its shell has. Background processes that hold its stdout are read as long as they
    /// write, and are killed with its process group after five seconds without a byte. If such a process has written
    /// since the shell ended and is killed, the task fails, because records would be missing: end such a command with
    /// `wait`.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn upper(lines: &Records<String>) -> Records<Vec<u8>> {
    ///     lines.map(|line, out| out.push(line.as_bytes())).pipe("tr a-z A-Z")
    /// }
    /// # assert_eq!(windrow::testing::run(["a", "b"], |l| upper(&l)).unwrap(), [b"A".to_vec(), b"B".to_vec()]);
    /// ```
    #[track_caller]
    pub fn pipe(&self, command: &str) -> Records<Vec<u8>> {
        let op = Op::here("pipe");
        self.flow.fingerprint(&["pipe", command]);
        if command.trim().is_empty() {
            self.flow.mistaken(Error::new(Code::BadRequest, "`pipe` has an empty command: was a variable not set?"));
        }
        let branches = self.branches.iter().map(|b| {
            let pipe = Pipe { before: b.chain.clone(), op, command: command.to_string() };
            Branch { has_places: false, ..b.then("pipe", Arc::new(pipe)) }
        });
        Records::new(&self.flow, branches.collect(), None)
    }
}

struct Pipe {
    before: Arc<dyn Chain<Vec<u8>>>,
    op: Op,
    command: String,
}

impl Chain<Vec<u8>> for Pipe {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<Vec<u8>>) -> TaskResult<()> {
        let at = format!("(`pipe` at {}:{})", self.op.at.file(), self.op.at.line());
        let failed = |e: std::io::Error| Failure::new(Code::UserError, format!("`{}`: {e} {at}", self.command));
        let mut program = PipedCommand::start(&self.command).map_err(|e| match is_exhausted(&e) {
            true => Failure::new(Code::IoError, format!("cannot start `{}`: {e} {at}", self.command)),
            false => failed(e),
        })?;
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
        if program.was_held {
            warn_once(&format!(
                "`{}` has ended, but a process that it has left in the background held its stdout and was silent for {} s: it was \
                 killed; end the command with `wait` {at}",
                self.command,
                SILENT_MAX.as_secs()
            ));
        }
        if status.success() {
            return Ok(());
        }
        Err(Failure::new(Code::UserError, format!("`{}` ended with {status} {at}", self.command)).into())
    }
}

/// Whether a process cannot be started for want of processes, descriptors or memory: the machine's fault, not the command's.
fn is_exhausted(e: &std::io::Error) -> bool {
    let errno = e.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE))
}

/// A running program. One thread writes its stdin and reads its stdout in turn, so that the two sides cannot deadlock,
/// and buffered bytes are bounded.
struct PipedCommand {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    to_write: Vec<u8>,
    partial: Vec<u8>,
    at_end: bool,
    /// Readable when the shell has ended.
    shell: OwnedFd,
    shell_ended: bool,
    waited: bool,
    /// What it had left in the background was killed.
    was_held: bool,
}

impl PipedCommand {
    fn start(command: &str) -> std::io::Result<PipedCommand> {
        let mut shell = Command::new("/bin/sh");
        // A process group of its own, by which all processes that it starts can be killed.
        shell.args(["-c", command]).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let inherited = INHERITED_VARIABLES.into_iter().chain([EXECUTOR_VARIABLE]);
        shell.env_clear().envs(windrow_failpoint::inherited(inherited));
        let mut child = shell.spawn()?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).inspect_err(|_| {
            let _ = child.kill();
            let _ = child.wait();
        })?;
        let missing = || std::io::Error::other("a pipe is missing");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        for fd in [stdin.as_fd(), stdout.as_fd()] {
            fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?;
        }
        Ok(PipedCommand {
            child,
            stdin: Some(stdin),
            stdout,
            to_write: Vec::new(),
            partial: Vec::new(),
            at_end: false,
            shell: pidfd,
            shell_ended: false,
            waited: false,
            was_held: false,
        })
    }

    /// Writes until at most `keep` bytes wait, and reads output meanwhile.
    fn exchange(&mut self, keep: usize, sink: &mut dyn Push<Vec<u8>>) -> std::io::Result<()> {
        let mut written = 0;
        while self.to_write.len() - written > keep {
            let Some(stdin) = &self.stdin else { break };
            let mut fds = vec![PollFd::new(stdin, PollFlags::OUT), PollFd::new(&self.shell, PollFlags::IN)];
            if !self.at_end {
                fds.push(PollFd::new(&self.stdout, PollFlags::IN));
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready.get(2) == Some(&true) {
                self.read(sink)?;
            }
            if ready[1] && !ready[0] {
                // A background process may hold the pipe without reading it.
                self.stdin = None;
            }
            if let (true, Some(stdin)) = (ready[0], &self.stdin) {
                match rustix::io::write(stdin, &self.to_write[written..]) {
                    Ok(n) => written += n,
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    // A program may stop reading early.
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

    /// Reads once and passes whole lines on. Returns the number of bytes.
    fn read(&mut self, sink: &mut dyn Push<Vec<u8>>) -> std::io::Result<usize> {
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
                return Ok(n);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(0)
    }

    /// Closes stdin, reads the rest, and waits for the program.
    fn finish(&mut self, sink: &mut dyn Push<Vec<u8>>) -> std::io::Result<std::process::ExitStatus> {
        self.stdin = None;
        while !self.at_end && !self.shell_ended {
            let mut fds = [PollFd::new(&self.stdout, PollFlags::IN), PollFd::new(&self.shell, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) => {
                    let [output, shell] = fds.map(|fd| !fd.revents().is_empty());
                    self.shell_ended = shell;
                    if output {
                        self.read(sink)?;
                    }
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.read_rest(sink)?;
        if !self.partial.is_empty() {
            sink.push(&self.partial);
        }
        self.waited = true;
        self.child.wait()
    }

    /// Reads the output after the shell has ended; all writers have ended too, unless a background process is left.
    fn read_rest(&mut self, sink: &mut dyn Push<Vec<u8>>) -> std::io::Result<()> {
        // Bytes in the pipe now may be the shell's own.
        let mut left_by_shell = ioctl_fionread(&self.stdout)?;
        let mut written_since = false;
        let mut deadline = Instant::now() + SILENT_MAX;
        while !self.at_end {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = Timespec::try_from(left).unwrap_or_default();
            let mut output = [PollFd::new(&self.stdout, PollFlags::IN)];
            match poll(&mut output, Some(&wait)) {
                Ok(0) => {
                    self.kill_group();
                    self.was_held = true;
                    let killed = "it has ended, but a background process holds its stdout, wrote to \
                                  it, and was silent for 5 s: end the command with `wait`";
                    return if written_since { Err(std::io::Error::other(killed)) } else { Ok(()) };
                }
                Ok(_) => {
                    let n = self.read(sink)? as u64;
                    written_since |= n > left_by_shell;
                    left_by_shell = left_by_shell.saturating_sub(n);
                    deadline = Instant::now() + SILENT_MAX;
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// The group has the shell's process id, and the shell is not waited for yet, so no other group has it.
    fn kill_group(&self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
    }
}

impl Drop for PipedCommand {
    fn drop(&mut self) {
        // After `finish` another process may have the id.
        if !self.waited {
            self.kill_group();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::INHERITED_VARIABLES;
    use crate::testing::run;

    fn piped(command: &str) -> crate::Result<Vec<Vec<u8>>> {
        run(["a", "b"], |lines| lines.map(|line: &str, out| out.push(line.as_bytes())).pipe(command))
    }

    #[test]
    fn background_process_that_holds_stdout_ends_with_its_command() {
        let marker = format!("windrow-{}", crate::run::job_id::new_job_id().unwrap().0.simple());
        let command = format!("sh -c 'sleep 1000; : {marker}' & cat");
        assert_eq!(piped(&command).unwrap(), [b"a".to_vec(), b"b".to_vec()]);
        let left = std::process::Command::new("pgrep").args(["-f", &marker]).output();
        assert!(left.is_ok_and(|found| found.stdout.is_empty()), "the process group is killed");
    }

    #[test]
    fn command_has_only_the_inherited_variables() {
        assert!(std::env::vars_os().any(|(name, _)| name == "CARGO_MANIFEST_DIR"), "a variable to leave out");
        let lines = piped("cat > /dev/null; env | sed 's/=.*//'").unwrap();
        let of_the_shell = ["PWD", "OLDPWD", "SHLVL", "_"];
        for name in lines.iter().map(|line| str::from_utf8(line).unwrap()) {
            assert!(INHERITED_VARIABLES.contains(&name) || of_the_shell.contains(&name), "{name}");
        }
        assert!(lines.contains(&b"PATH".to_vec()));
    }

    #[test]
    fn late_lines_of_a_background_process_are_read() {
        let lines = piped("(sleep 0.3; echo late) & cat").unwrap();
        assert_eq!(lines, [b"a".to_vec(), b"b".to_vec(), b"late".to_vec()]);
    }

    #[test]
    fn background_writer_that_is_killed_fails_the_task() {
        let error = piped("(sleep 0.3; echo late; sleep 1000) & cat").unwrap_err();
        assert!(error.to_string().contains("background process"), "{error}");
    }

    #[test]
    fn background_reader_of_stdin_does_not_block_an_ended_command() {
        let many = vec!["0123456789abcdef0123456789abcdef"; 20_000];
        // The process holds the reading end and never reads.
        let all = run(many, |lines| {
            lines
                .map(|line: &str, out| out.push(line.as_bytes()))
                .pipe("exec 9<&0; sleep 20 <&9 >/dev/null 2>&1 & exit 0")
        });
        assert_eq!(all.unwrap(), Vec::<Vec<u8>>::new());
    }
}
