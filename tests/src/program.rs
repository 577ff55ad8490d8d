//! Runs the real binaries, each in a process group of its own that never outlives the test.

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use windrow_model::Escape;

/// A process that runs longer hangs. A safety net, not a promise.
pub const HANGS_AFTER: Duration = Duration::from_secs(120);
/// A daemon is killed if it has not stopped by then.
const STOPS_WITHIN: Duration = Duration::from_secs(20);

/// A binary of this workspace, from the folder that this test was built into.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running process has an executable");
    let path = test.parent().and_then(Path::parent).expect("tests are built into target/PROFILE/deps").join(name);
    assert!(path.is_file(), "{} is missing: run `cargo build --workspace --bins` before the tests", path.escaped());
    path
}

/// A command without the caller's Windrow settings, with the state folder `home`.
pub fn command(name: &str, home: &Path) -> Command {
    isolated(Command::new(binary(name)), home)
}

/// The same for any program.
pub fn isolated(mut command: Command, home: &Path) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WINDROW_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_BACKTRACE").env("WINDROW_HOME", home).env("XDG_CONFIG_HOME", home.join("config"));
    command.stdin(Stdio::null()).process_group(0);
    command
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; absent after a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Panics with the process's output unless it ended with this code.
    #[track_caller]
    pub fn with(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }
    /// Panics with the process's output unless it succeeded.
    #[track_caller]
    pub fn ok(self) -> Ended {
        self.with(0)
    }
    /// Its stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}\nstderr: {}", self.stdout, self.stderr))
    }
    /// Panics unless stderr has exactly one error with this code, a hint, and each of these words.
    #[track_caller]
    pub fn shows_error(self, code: &str, words: &[&str]) -> Ended {
        let found = self.stderr.lines().filter(|line| line.contains("error") && line.contains(code)).count();
        assert_eq!(found, 1, "one {code} in: {}", self.stderr);
        assert!(self.stderr.contains("hint: "), "no hint in: {}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in: {}", self.stderr);
        }
        self
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ended {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary exists");
    let stdout = drain(child.stdout.take().expect("stdout is piped"));
    let stderr = drain(child.stderr.take().expect("stderr is piped"));
    let guard = Guard::new(&child);
    let status = child.wait().expect("a child can be waited for");
    drop(guard);
    let text = |bytes: JoinHandle<Vec<u8>>| String::from_utf8_lossy(&bytes.join().expect("a reader")).into_owned();
    Ended { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// Runs a job binary in its own process, in `folder`, without a cluster.
pub fn local<A: AsRef<OsStr>>(folder: &Path, name: &str, args: impl IntoIterator<Item = A>) -> Ended {
    run(command(name, folder).current_dir(folder).args(args))
}

fn drain(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // Bytes before a failure are kept.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// Kills a process group that hangs, unless it is dropped before.
struct Guard {
    over: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Guard {
    fn new(child: &Child) -> Guard {
        Guard::within(child, HANGS_AFTER)
    }
    fn within(child: &Child, limit: Duration) -> Guard {
        let group = Pid::from_child(child);
        let (over, ended) = channel::<()>();
        let thread = std::thread::spawn(move || {
            if ended.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                // The group may be gone.
                let _ = kill_process_group(group, Signal::KILL);
            }
        });
        Guard { over: Some(over), thread: Some(thread) }
    }
}
impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.over.take());
        self.thread.take().map(JoinHandle::join);
    }
}

/// A process that runs until it is stopped; killed with its group if the test fails.
pub struct Daemon {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    over: bool,
}

impl Daemon {
    /// Starts it.
    pub fn start(command: &mut Command) -> Daemon {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary exists");
        let stdout = child.stdout.take().map(BufReader::new);
        Daemon { child, stdout, over: false }
    }
    /// Waits for its next line, which begins with `word`, and returns the rest.
    #[track_caller]
    pub fn read_line(&mut self, word: &str) -> String {
        self.read_line_if_it_starts(word).unwrap_or_else(|| panic!("it ended without `{word}`"))
    }
    /// The same; `None` if the process ends instead.
    #[track_caller]
    pub fn read_line_if_it_starts(&mut self, word: &str) -> Option<String> {
        let _guard = Guard::new(&self.child);
        let mut line = String::new();
        self.stdout.as_mut().expect("stdout is piped").read_line(&mut line).expect("stdout is text");
        let rest = |line: &str| line.trim_end().strip_prefix(word).map(|rest| rest.trim().to_string());
        (!line.is_empty()).then(|| rest(&line).unwrap_or_else(|| panic!("no `{word}`: {line:?}")))
    }
    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) {
        // The process may be gone.
        let _ = rustix::process::kill_process(Pid::from_child(&self.child), signal);
    }
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
    /// The exit code if it has ended by itself, absent after a signal.
    pub fn has_ended(&mut self) -> Option<Option<i32>> {
        let ended = self.child.try_wait().expect("a child can be waited for");
        self.over |= ended.is_some();
        ended.map(|status| status.code())
    }
    /// Stops it with SIGTERM. Returns its exit code; absent if it had to be killed.
    pub fn stop(mut self) -> Option<i32> {
        // A process that has only just been started would die of the signal.
        let start = Instant::now();
        while !self.over && !self.catches(Signal::TERM) && start.elapsed() < STOPS_WITHIN {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.end(Signal::TERM)
    }
    /// Whether it handles this signal by now, or has ended.
    fn catches(&self, signal: Signal) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigCgt:")?.trim(), 16).ok());
        status.contains("State:\tZ") || caught.is_none_or(|caught| caught >> (signal.as_raw() - 1) & 1 == 1)
    }
    /// Kills it at once.
    pub fn kill(mut self) {
        self.end(Signal::KILL);
    }
    fn end(&mut self, signal: Signal) -> Option<i32> {
        self.over = true;
        let _ = rustix::process::kill_process(Pid::from_child(&self.child), signal);
        let _guard = Guard::within(&self.child, STOPS_WITHIN);
        self.child.wait().ok().and_then(|status| status.code())
    }
}
impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.over {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Waits for a condition on other processes.
#[track_caller]
pub fn eventually(what: &str, happened: impl FnMut() -> bool) {
    assert!(happens(happened), "never: {what}");
}

/// The same; false if the condition does not hold after a time that only a hang exceeds.
pub fn happens(mut happened: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        match happened() {
            true => return true,
            false if start.elapsed() > HANGS_AFTER => return false,
            false => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Executables of processes that lie below a folder: the executors of the workers there.
pub fn processes_below(folder: &Path) -> Vec<PathBuf> {
    below(folder).into_iter().map(|(_, exe)| exe).collect()
}

/// Resident memory of a process.
pub fn resident_bytes(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("it runs");
    let pages: u64 = text.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number of pages");
    pages * rustix::param::page_size() as u64
}

/// Number of running processes with this text in their arguments.
pub fn processes_with(text: &str) -> usize {
    pids_with(text).len()
}

/// Their process ids.
pub fn pids_with(text: &str) -> Vec<Pid> {
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    let holds = |arguments: &[u8]| arguments.windows(text.len()).any(|window| window == text.as_bytes());
    let process = |entry: std::fs::DirEntry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        std::fs::read(entry.path().join("cmdline")).is_ok_and(|arguments| holds(&arguments)).then_some(pid)
    };
    all.flatten().filter_map(process).collect()
}

/// Process ids of [`processes_below`].
pub fn pids_below(folder: &Path) -> Vec<Pid> {
    below(folder).into_iter().map(|(pid, _)| pid).collect()
}

fn below(folder: &Path) -> Vec<(Pid, PathBuf)> {
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    let process = |entry: std::fs::DirEntry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        Some((pid, std::fs::read_link(entry.path().join("exe")).ok()?))
    };
    all.flatten().filter_map(process).filter(|(_, exe)| exe.starts_with(folder)).collect()
}
