//! Starting an executor: the job's binary as a child process with one Unix socket and nothing else.
//!
//! The child gets stdin from `/dev/null`, pipes as stdout and stderr, its end of the socket as file descriptor 3,
//! memory for crumbs (`windrow_format::crumbs`) as 4, itself as 5 if it is a script, an almost empty environment with a
//! mark (`descendants.rs`), its own session, no core dumps, and the kernel's promise to kill it when this worker dies.
//! That promise is tied to the *thread* that forked, so one thread forks all children and lives as long as the worker.
//! Where the worker may make control groups, the child is in one of its own (`group.rs`). Knows nothing of the frames
//! on the socket.

use super::crumb_file::{CrumbFile, CrumbFolder};
use super::descendants::{self, Mark, Marks};
use super::group::{Group, Groups};
use crate::artifacts::Executable;
use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::{Errno, FdFlags};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal};
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{io, thread};
use tokio::sync::oneshot;
use windrow_failpoint::failpoint;
use windrow_format::fill::fill;
use windrow_format::regular_file;
use windrow_format::resource_limit::is_resource_limit;
use windrow_model::environment::INHERITED_VARIABLES;
use windrow_model::{Code, Escape, Failure};

/// The hidden first argument that makes a job binary an executor.
pub(crate) const EXECUTOR_ARGUMENT: &str = "__windrow-executor";
/// The socket's number in the child.
const SOCKET_FD: RawFd = 3;
/// The crumbs' number in the child.
const CRUMBS_FD: RawFd = 4;
/// A script's number in the child, which its interpreter opens by name.
const SCRIPT_FD: RawFd = 5;
/// The child's ends are moved above the numbers that it overwrites.
const SPARE_FD: RawFd = 10;
/// Executors are killed first when the machine runs out of memory: the daemon must survive to report it.
const OOM_SCORE_ADJ: &str = "500";
/// The ELF header up to the machine number.
const ELF_HEADER_BYTES: usize = 20;
const BUSY_TRIES: u32 = 20;
const BUSY_WAIT: Duration = Duration::from_millis(5);

/// A running child process.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub child: Child,
    pub pid: Pid,
    /// The mark in its environment, which its descendants inherit.
    pub mark: Mark,
    pub memory_limit_bytes: Option<u64>,
    /// The control group of the child and its descendants, if there are groups.
    pub group: Option<Group>,
    /// Readable when the child has ended.
    pub pidfd: OwnedFd,
    pub socket: UnixStream,
    /// The current record of each of its threads.
    pub crumbs: CrumbFile,
    pub stdout: ChildStdout,
    pub stderr: ChildStderr,
}

/// Settings shared by all executors of a worker.
#[derive(Debug)]
pub(crate) struct Owner {
    pub marks: Marks,
    /// Private memory of one executor in bytes; mapped files do not count.
    pub memory_limit_bytes: Option<u64>,
    /// The folder of their crumb files.
    pub crumbs: CrumbFolder,
    /// Makes a control group for each, where possible.
    pub groups: Option<Groups>,
}

struct Request {
    binary: Executable,
    folder: PathBuf,
    answer: oneshot::Sender<Result<Spawned, Failure>>,
}

/// The thread that forks.
#[derive(Clone, Debug)]
pub(crate) struct Spawner(mpsc::Sender<Request>);

impl Spawner {
    /// Starts the thread. It ends, and every child with it, when the last clone is dropped.
    pub(crate) fn start(owner: Owner) -> io::Result<Spawner> {
        let (requests, queue) = mpsc::channel::<Request>();
        thread::Builder::new().name("spawner".into()).spawn(move || {
            for request in queue {
                let spawned = spawn(&request.binary, &request.folder, &owner);
                // The requester is gone. The child would run on if it were only dropped.
                if let Err(Ok(mut orphan)) = request.answer.send(spawned) {
                    let _ = orphan.child.kill();
                    let _ = orphan.child.wait();
                }
            }
        })?;
        Ok(Spawner(requests))
    }

    /// Starts `binary` as an executor that works in `folder`. Returns after the binary was executed, or could not be.
    pub(crate) async fn spawn(&self, binary: Executable, folder: PathBuf) -> Result<Spawned, Failure> {
        let gone = || Failure::new(Code::Interrupted, "the worker is stopping");
        let (answer, spawned) = oneshot::channel();
        self.0.send(Request { binary, folder, answer }).map_err(|_| gone())?;
        spawned.await.map_err(|_| gone())?
    }
}

fn spawn(binary: &Executable, folder: &Path, owner: &Owner) -> Result<Spawned, Failure> {
    let is_script = check_header(binary)?;
    let unbounded = |e: io::Error| Failure::new(code_of(&e), format!("cannot make a control group for a job: {e}"));
    let mut group = owner.groups.as_ref().map(Groups::make).transpose().map_err(unbounded)?;
    let mut tries = 0;
    loop {
        match try_spawn(binary, is_script, folder, owner, &mut group) {
            // The file was closed after it was written, but a child that another thread forked in that moment still
            // holds the writing end until its own exec.
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES => {
                tries += 1;
                thread::sleep(BUSY_WAIT);
            }
            other => return other.map_err(|e| exec_failure(&binary.path, &e)),
        }
    }
}

/// Whether it is a script. The C library hands every file that the kernel refuses to a shell; a binary for another
/// machine must not end there.
fn check_header(binary: &Executable) -> Result<bool, Failure> {
    let header = |file: &File| -> io::Result<Vec<u8>> {
        let mut bytes = [0; ELF_HEADER_BYTES];
        let read = fill(&mut bytes, |at, buf| file.read_at(buf, at))?;
        Ok(bytes[..read].to_vec())
    };
    let wrong = |what: &str| {
        Err(Failure::new(
            Code::ExecFailed,
            format!("cannot execute the job's binary {}: it is {what}", binary.path.escaped()),
        ))
    };
    let theirs = header(&binary.file).map_err(|e| exec_failure(&binary.path, &e))?;
    if theirs.starts_with(b"#!") {
        return Ok(true);
    }
    if !theirs.starts_with(b"\x7fELF") {
        return wrong("neither an ELF file nor a script");
    }
    // Class and byte order, then the machine. Without /proc there is nothing to compare with.
    let machine = |h: &[u8]| Some((h.get(4..6)?.to_vec(), h.get(18..20)?.to_vec()));
    match regular_file::open(Path::new("/proc/self/exe")).and_then(|own| header(&own)) {
        Ok(ours) if machine(&ours) != machine(&theirs) => wrong("for some other machine than this worker's"),
        _ => Ok(false),
    }
}

fn exec_failure(binary: &Path, e: &io::Error) -> Failure {
    let code = match e.raw_os_error().map(Errno::from_raw_os_error) {
        // The binary is at fault, and no worker can start it.
        Some(Errno::NOEXEC | Errno::LIBBAD | Errno::INVAL | Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => {
            Code::ExecFailed
        }
        // The worker's disk, mount or limits are at fault. Other workers may start it.
        _ => code_of(e),
    };
    let hint = match e.kind() {
        io::ErrorKind::NotFound => "; `ldd` on the binary shows which interpreter or library is missing here",
        // `fork` says so of processes and threads, also where a control group or the machine has the limit.
        io::ErrorKind::WouldBlock => "; this worker's user may have no more processes and threads (`ulimit -u`)",
        _ => "",
    };
    Failure::new(code, format!("cannot execute the job's binary {}: {e}{hint}", binary.escaped()))
}

/// The code for an error of the system at the start of a process: `RESOURCE_LIMIT` where the worker may have no more of
/// something, which is no fault of the task.
pub(super) fn code_of(e: &io::Error) -> Code {
    if is_resource_limit(e) { Code::ResourceLimit } else { Code::IoError }
}

fn try_spawn(
    binary: &Executable,
    is_script: bool,
    folder: &Path,
    owner: &Owner,
    group: &mut Option<Group>,
) -> io::Result<Spawned> {
    // While these exist, no descriptor that `Command` opens gets a number that the child overwrites.
    failpoint!("executor.spawn")?;
    let _placeholders =
        [SOCKET_FD, CRUMBS_FD, SCRIPT_FD].map(|number| rustix::io::fcntl_dupfd_cloexec(io::stderr(), number).ok());
    let (socket, childs_end) = UnixStream::pair()?;
    let childs_end = rustix::io::fcntl_dupfd_cloexec(&childs_end, SPARE_FD)?;
    let crumbs = owner.crumbs.make()?;
    let childs_crumbs = rustix::io::fcntl_dupfd_cloexec(crumbs.file(), SPARE_FD)?;
    let entrance = group.as_ref().map(Group::entrance).transpose()?;
    let enters = entrance.as_ref().map(AsRawFd::as_raw_fd);
    let memory_limit_bytes = owner.memory_limit_bytes;
    let parent = rustix::process::getpid();
    let mark = owner.marks.next();
    // The descriptor of the verified file, in case its path leads elsewhere by now. The interpreter of a script opens
    // it by the name of its descriptor, which stays open for that.
    let program = rustix::io::fcntl_dupfd_cloexec(&*binary.file, SPARE_FD)?;
    let is_nameable = Path::new("/proc/self/fd").exists();
    let mut command = match (is_nameable, is_script) {
        (true, true) => Command::new(format!("/proc/self/fd/{SCRIPT_FD}")),
        (true, false) => Command::new(format!("/proc/self/fd/{}", program.as_raw_fd())),
        (false, _) => Command::new(&binary.path),
    };
    let mut inherited = [(childs_end.as_raw_fd(), SOCKET_FD), (childs_crumbs.as_raw_fd(), CRUMBS_FD)].to_vec();
    inherited.extend(is_script.then_some((program.as_raw_fd(), SCRIPT_FD)));
    command
        .arg0(&binary.path)
        .arg(EXECUTOR_ARGUMENT)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env_clear()
        .envs(windrow_failpoint::inherited(INHERITED_VARIABLES))
        .env(descendants::VARIABLE, mark.value());
    // SAFETY: the closure runs between fork and exec in a child of a process with threads: `prepare` makes system calls
    // only, takes no lock and allocates nothing. Inherited descriptors are open there, because their owners outlive spawn.
    unsafe { command.pre_exec(move || prepare(&inherited, enters, parent, memory_limit_bytes)) };
    let mut child = command.spawn()?;
    drop((childs_end, childs_crumbs, entrance, program));
    let taken = child.stdout.take().zip(child.stderr.take());
    let (stdout, stderr) = taken.expect("both streams were asked for as pipes");
    let pid = Pid::from_child(&child);
    // A child that has already ended keeps its number until it is waited for. Failing here would leak it.
    let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(pidfd) => pidfd,
        Err(e) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(e.into());
        }
    };
    // Any process may raise its score; without /proc it stays as it is.
    let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), OOM_SCORE_ADJ);
    Ok(Spawned { child, pid, mark, memory_limit_bytes, group: group.take(), pidfd, socket, crumbs, stdout, stderr })
}

/// Runs in the child, before exec: group, session, limits, descriptors, and death with the parent. Only system calls.
fn prepare(
    inherited: &[(RawFd, RawFd)],
    group: Option<RawFd>,
    parent: Pid,
    memory_limit_bytes: Option<u64>,
) -> io::Result<()> {
    if let Some(entrance) = group {
        // SAFETY: the descriptor is open; see the call.
        rustix::io::write(unsafe { BorrowedFd::borrow_raw(entrance) }, b"0")?;
    }
    rustix::process::setsid()?;
    // A core dump of a process with gigabytes would fill the disk of a worker.
    lower(Resource::Core, 0)?;
    if let Some(bytes) = memory_limit_bytes {
        lower(Resource::Data, bytes)?;
    }
    for &(from, number) in inherited {
        // SAFETY: the descriptor is open; see the call.
        let from = unsafe { BorrowedFd::borrow_raw(from) };
        // SAFETY: after fork this process has one thread, so no other code uses the number; `forget` below keeps it open.
        // Whether it was open before makes no difference to dup2.
        let mut to = unsafe { OwnedFd::from_raw_fd(number) };
        let copied = rustix::io::dup2(from, &mut to);
        std::mem::forget(to);
        copied?;
    }
    close_on_exec_above(inherited.iter().map(|(_, number)| *number).max().unwrap_or(2))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the promise was made.
    if rustix::process::getppid() != Some(parent) {
        return Err(rustix::io::Errno::SRCH.into());
    }
    Ok(())
}

fn lower(resource: Resource, limit: u64) -> io::Result<()> {
    let hard = rustix::process::getrlimit(resource).maximum.map_or(limit, |hard| hard.min(limit));
    Ok(rustix::process::setrlimit(resource, Rlimit { current: Some(hard), maximum: Some(hard) })?)
}

/// This process opens everything close-on-exec, but it may have inherited more from its own parent.
fn close_on_exec_above(last: RawFd) -> io::Result<()> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 2048];
    let folder = match rustix::fs::open(c"/proc/self/fd", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
        Ok(folder) => folder,
        // Without /proc: the usual maximum of a process.
        Err(_) => {
            (last + 1..1024).for_each(close_on_exec);
            return Ok(());
        }
    };
    let mut entries = RawDir::new(folder.as_fd(), &mut buffer);
    while let Some(entry) = entries.next() {
        let name = entry?;
        let digits = name.file_name().to_bytes();
        if digits.iter().all(u8::is_ascii_digit) {
            let number = digits.iter().fold(0 as RawFd, |n, d| n.wrapping_mul(10).wrapping_add((d - b'0') as RawFd));
            if number > last {
                close_on_exec(number);
            }
        }
    }
    Ok(())
}

fn close_on_exec(number: RawFd) {
    // SAFETY: only a flag of the descriptor is set; if it is not open, the system says so and nothing happens.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    let _ = rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_broken_binary_fails_its_job() {
        let code = |errno: Errno| exec_failure(Path::new("binary"), &errno.into()).code;
        for errno in [Errno::NOEXEC, Errno::NOENT, Errno::LIBBAD] {
            assert_eq!(code(errno), Code::ExecFailed, "{errno}");
        }
        let full = exec_failure(Path::new("binary"), &Errno::AGAIN.into());
        assert!(full.message.contains("`ulimit -u`"), "{full}");
        // A bad disk, a mount without execution.
        for errno in [Errno::IO, Errno::ACCESS, Errno::STALE] {
            assert_eq!(code(errno), Code::IoError, "{errno}");
        }
        // Limits of the machine, the user or the process.
        for errno in [Errno::NFILE, Errno::MFILE, Errno::AGAIN, Errno::NOMEM] {
            assert_eq!(code(errno), Code::ResourceLimit, "{errno}");
        }
    }
}
