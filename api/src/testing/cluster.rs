//! A cluster of processes on this machine, for tests of whole programs.

use crate::error::{Error, Result};
use crate::run::windrow_program;
use crate::testing::files::Files;
use crate::testing::folder::Folder;
use crate::testing::process::Process;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use windrow_format::private;
use windrow_model::{Code, Escape};

/// A cluster that does not take jobs by then has failed to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Processes that have not stopped by then are killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// A program that runs longer has failed.
const RUN_TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes of a program's stderr that an error shows.
const STDERR_SHOWN: usize = 4096;

/// What `windrow up` prints before the URL when it takes jobs.
const READY: &str = "coordinator ";

/// A coordinator and worker processes on this machine, on loopback and with a folder and a token of their own. They end with this
/// value, also when a test panics, and with the process of the test in any case.
///
/// It needs the program `windrow`: in the folder of the test, in one of the two above it (`cargo build --workspace` puts it into
/// `target/debug`), or on `PATH`. Jobs run as programs of their own, as on any cluster: a test in the folder `tests` of a crate finds
/// the crate's program by `env!("CARGO_BIN_EXE_name")`.
///
/// ```no_run
/// use windrow::prelude::*;
/// use windrow::testing::{Cluster, Files};
/// # fn main() -> Result<()> {
/// let cluster = Cluster::start(2)?;
/// let files = Files::new().lines("in", ["a b", "a"]);
/// cluster.run(&files, "target/debug/wordcount", ["in", "--output", "out"])?;
/// assert_eq!(files.read(lines("out"))?, ["a\t2", "b\t1"]);
/// # Ok(())
/// # }
/// ```
pub struct Cluster {
    url: String,
    program: PathBuf,
    /// Dropped before the folder, which its processes use.
    _keeper: Keeper,
    folder: Folder,
}

/// The thread that has started the processes. The kernel stops them when it ends, in whatever way.
struct Keeper {
    /// Its drop stops the processes.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A panic of that thread has dropped its processes.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Cluster {
    /// Starts a coordinator and this many workers with one slot each, and waits until all have registered.
    ///
    /// # Errors
    /// `NO_CLIENT` if there is no program `windrow`; otherwise why the processes do not start.
    pub fn start(workers: u32) -> Result<Cluster> {
        let own = std::env::current_exe()?;
        let program = windrow_program::find_above(&own, &std::env::var_os("PATH").unwrap_or_default());
        let program = program.ok_or_else(|| {
            let message = format!(
                "a cluster for tests needs the program `windrow`, which is neither near {} nor on PATH",
                own.escaped()
            );
            Error::new(Code::NoClient, message)
        })?;
        Cluster::start_with(&program, workers)
    }

    /// The same with this program `windrow`.
    ///
    /// # Errors
    /// Why the processes do not start.
    pub fn start_with(program: &Path, workers: u32) -> Result<Cluster> {
        let folder = Folder::create()?;
        let stderr = folder.path().join("stderr");
        let mut command = isolated(program, folder.path());
        command.args(["up", "--slots", "1", "--memory", "64MiB", "--workers", &workers.to_string()]);
        command.arg("--data-dir").arg(folder.path().join("cluster"));
        command.args(["--die-with", &std::process::id().to_string()]);
        command.stdout(Stdio::piped()).stderr(private::create_new(&stderr)?);
        let (keeper, lines) = keep(command)?;
        match lines.recv_timeout(START_TIMEOUT) {
            Ok(Ok(line)) if line.starts_with(READY) => {
                let url = line[READY.len()..].to_string();
                Ok(Cluster { url, program: program.to_path_buf(), _keeper: keeper, folder })
            }
            ended => {
                drop(keeper);
                let what = match ended {
                    Ok(Err(e)) => e.to_string(),
                    Ok(Ok(_)) | Err(RecvTimeoutError::Disconnected) => "it has ended".to_string(),
                    Err(RecvTimeoutError::Timeout) => format!("it is not ready after {START_TIMEOUT:?}"),
                };
                let message = format!("{} starts no cluster: {what}{}", program.escaped(), shown(&end_of(&stderr)));
                Err(Error::new(Code::IoError, message))
            }
        }
    }

    /// The URL of the coordinator, for `--cluster`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs a program with a job or a driver on this cluster, in the folder of `files`, and returns its stdout. `args` are those of
    /// the program, without `--cluster`.
    ///
    /// # Errors
    /// The end of the program's stderr if it fails, with the code of the job's failure, or if it runs for five minutes.
    pub fn run(
        &self,
        files: &Files,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<String> {
        let program = std::path::absolute(Path::new(program.as_ref()))?;
        let mut command = self.isolated(&program);
        command.current_dir(files.folder()?).args(args).args(["--cluster", &self.url]);
        self.outcome(command)
    }

    /// Runs `windrow` with these arguments as the user of this cluster, and returns its stdout.
    ///
    /// # Errors
    /// As of [`run`](Self::run).
    pub fn windrow(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        let mut command = self.isolated(&self.program);
        command.args(args).env("WINDROW_COORDINATOR", &self.url);
        self.outcome(command)
    }

    /// A command as the user of this cluster. A program without a client finds `windrow` on its path.
    fn isolated(&self, program: &Path) -> Command {
        let mut command = isolated(program, self.folder.path());
        let own = self.program.parent().map(Path::to_path_buf);
        let path = std::env::var_os("PATH").unwrap_or_default();
        if let Ok(path) = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path))) {
            command.env("PATH", path);
        }
        command
    }

    fn outcome(&self, mut command: Command) -> Result<String> {
        let streams = Folder::create()?;
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| streams.path().join(name));
        command.stdout(private::create_new(&stdout)?).stderr(private::create_new(&stderr)?);
        let name = command.get_program().to_owned();
        let ended = Process::start(&mut command)?.ends_within(RUN_TIMEOUT)?;
        if ended.is_some_and(|status| status.success()) {
            return Ok(std::fs::read_to_string(&stdout)?);
        }
        let how = ended.map_or_else(|| format!("runs for {RUN_TIMEOUT:?}"), |status| format!("ended with {status}"));
        let stderr = end_of(&stderr);
        Err(Error::new(code_of(&stderr), format!("{} {how}{}", name.escaped(), shown(&stderr))))
    }
}

/// A command without the Windrow settings of the caller, with a home below `folder`.
fn isolated(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    let ours = |name: &OsString| name.to_string_lossy().starts_with("WINDROW_");
    std::env::vars_os().filter(|(name, _)| ours(name)).for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.env("WINDROW_HOME", folder.join("home")).env("XDG_CONFIG_HOME", folder.join("config"));
    command.stdin(Stdio::null());
    command
}

/// Starts a process on a thread of its own, which stops it when the keeper is dropped. Returns the lines of its stdout: the first one,
/// and then nothing until it ends.
fn keep(mut command: Command) -> Result<(Keeper, Receiver<io::Result<String>>)> {
    let (stop, stopped) = channel::<()>();
    let (put, lines) = channel();
    let started = put.clone();
    let keeping = move || {
        let mut process = match Process::start(&mut command) {
            Ok(process) => process,
            // The starter may have given up.
            Err(e) => return drop(started.send(Err(io::Error::other(e.to_string())))),
        };
        drop(started);
        if let Some(stdout) = process.child().stdout.take() {
            // It ends with the process.
            thread::spawn(move || {
                let mut stdout = BufReader::new(stdout);
                let mut line = String::new();
                let read = stdout.read_line(&mut line).map(|_| line.trim_end().to_string());
                let _ = put.send(read);
                let _ = io::copy(&mut stdout, &mut io::sink());
            });
        }
        // Ends when the keeper is dropped.
        let _ = stopped.recv();
        process.stop(STOP_TIMEOUT);
    };
    let thread = thread::Builder::new().name("test-cluster".to_string()).spawn(keeping)?;
    Ok((Keeper { stop: Some(stop), thread: Some(thread) }, lines))
}

/// The end of a file with a program's stderr.
fn end_of(path: &Path) -> String {
    let text = File::open(path).and_then(io::read_to_string).unwrap_or_default();
    let start = text.len().saturating_sub(STDERR_SHOWN);
    text[text.ceil_char_boundary(start)..].trim_end().to_string()
}

/// It as the end of a message.
fn shown(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!(": {}", stderr.escaped_lines()) }
}

/// The code of a failure that a program has reported: `error CODE: message`.
fn code_of(stderr: &str) -> Code {
    let mut named = stderr.lines().filter_map(|line| line.strip_prefix("error ")?.split_once(':')?.0.parse().ok());
    named.next_back().unwrap_or(Code::UserError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_needs_a_program_that_starts_one() {
        let failed = |program: &str| Cluster::start_with(Path::new(program), 2).err().unwrap().to_string();
        let message = failed("/no/such/windrow");
        assert!(message.contains("/no/such/windrow") && message.contains("cannot start"), "{message}");
        let message = failed("/bin/false");
        assert!(message.contains("it has ended"), "{message}");
    }

    #[test]
    fn code_of_a_failed_program_is_found() {
        assert_eq!(code_of("job job-1\nerror OUTPUT_EXISTS: out exists\n  hint: x"), Code::OutputExists);
        assert_eq!(code_of("what"), Code::UserError);
    }
}
